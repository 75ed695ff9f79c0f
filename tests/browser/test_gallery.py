"""The gallery: what it shows, how it is narrowed, walked through and kept up to date."""

import pytest
from selenium.webdriver.common.keys import Keys
from tests.browser.conftest import HOSTILE, Page
from tests.browser.fake_api import FakeApi, Known


@pytest.fixture
def ward(api: FakeApi, chest: Known) -> list[str]:
    """Images in every state, oldest first."""
    ids = [api.receive(f"ward-{n % 2}/chest-{n}.dcm") for n in range(6)]
    for image_id in ids[:3]:
        api.explain(image_id, chest)
    api.classify(ids[3], chest)
    api.end(ids[4], "REJECTED", "The JPEG is cut short; export and upload it again.")
    return ids


def names(page: Page) -> list[str]:
    return [card.text for card in page.all(".card-name")]


def shows(page: Page, *expected: str) -> None:
    page.until(lambda: names(page) == list(expected), f"the images {expected}")


def test_images_are_shown_newest_first_with_their_state_and_best_class(
    page: Page, ward: list[str], chest: Known
) -> None:
    page.open()
    shows(page, *(f"chest-{n}.dcm" for n in (5, 4, 3, 2, 1, 0)))
    states = [badge.text for badge in page.all(".card .badge")]
    assert states == ["Received", "Rejected", "Classified", "Explained", "Explained", "Explained"]
    best = chest.predictions[0]
    assert page.all(".card")[2].text.split("\n")[1:3] == [best.label, f"{best.score:.3f}"]
    assert "cut short" in page.all(".card")[1].text
    page.until(lambda: page.js("return [...document.images].every(i => i.naturalWidth > 0)"), "thumbnails")
    assert "not a medical device" in page.text(".foot")
    for scheme in ("dark", "light"):
        page.look(1280, 860, scheme)
        page.shoot(f"gallery-{scheme}")


def test_filters_narrow_the_gallery_and_live_in_the_address(
    page: Page, api: FakeApi, ward: list[str], chest: Known
) -> None:
    page.open()
    shows(page, *(f"chest-{n}.dcm" for n in (5, 4, 3, 2, 1, 0)))
    page.set("[name=state]", "EXPLAINED")
    shows(page, "chest-2.dcm", "chest-1.dcm", "chest-0.dcm")
    assert "state=EXPLAINED" in page.browser.current_url
    page.one("[name=prefix]").send_keys("ward-0/")
    shows(page, "chest-2.dcm", "chest-0.dcm")
    page.set("[name=label]", chest.predictions[0].label)
    shows(page, "chest-2.dcm", "chest-0.dcm")
    page.shoot("gallery-filtered")
    page.set("[name=label]", chest.predictions[1].label)
    page.says(".notice", "Nothing fits these filters")
    page.shoot("gallery-nothing-fits")
    page.browser.back()
    shows(page, "chest-2.dcm", "chest-0.dcm")
    page.one("[name=clear]").click()
    shows(page, *(f"chest-{n}.dcm" for n in (5, 4, 3, 2, 1, 0)))
    page.set("[name=min_score]", "0.05")
    shows(page, *(f"chest-{n}.dcm" for n in (3, 2, 1, 0)))
    page.set("[name=since]", "1h")
    shows(page, *(f"chest-{n}.dcm" for n in (3, 2, 1, 0)))


def test_a_gallery_without_images_invites_the_first(page: Page) -> None:
    page.open()
    page.says(".notice", "No images yet")
    page.shoot("gallery-empty")


def test_more_images_come_as_one_asks_even_behind_empty_pages(page: Page, api: FakeApi) -> None:
    api.page, api.empty_pages = 5, 3
    for n in range(40):
        api.end(api.receive(f"{n}.png"), "REJECTED", "The PNG is cut short; export and upload it again.")
    page.look(1280, 500)
    page.open()
    page.until(lambda: len(names(page)) >= 12, "a screen full of images")
    page.until(lambda: page.js("scrollTo(0, 1e6)") or len(names(page)) == 40, "all images, by scrolling")
    assert names(page) == [f"{n}.png" for n in reversed(range(40))]
    assert not page.one("#grid").find_elements("css selector", "[aria-busy]")


def test_the_arrow_keys_walk_through_the_gallery_and_enter_opens(page: Page, ward: list[str]) -> None:
    page.open()
    shows(page, *(f"chest-{n}.dcm" for n in (5, 4, 3, 2, 1, 0)))

    def focused() -> str:
        return page.js("return document.activeElement.querySelector('.card-name')?.textContent")

    page.press(Keys.ARROW_RIGHT)
    assert focused() == "chest-5.dcm"
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert focused() == "chest-3.dcm"
    page.shoot("gallery-focus")
    columns = page.js("return new Set([...document.querySelectorAll('.card')].map(c => c.offsetLeft)).size")
    page.press(Keys.HOME, Keys.ARROW_DOWN)
    assert focused() == f"chest-{5 - columns}.dcm"
    assert page.js("return document.querySelectorAll('.card[tabindex=\"0\"]').length") == 1
    page.press(Keys.END, Keys.ENTER)
    page.says("h1", "chest-0.dcm")
    page.press(Keys.ESCAPE)
    shows(page, *(f"chest-{n}.dcm" for n in (5, 4, 3, 2, 1, 0)))
    page.until(lambda: focused() == "chest-0.dcm", "the focus where it was")


def test_a_question_mark_lists_the_keys_which_can_be_switched_off(page: Page) -> None:
    page.open()
    page.press("/")
    assert page.js("return document.activeElement.name") == "prefix"
    page.press("?", Keys.ESCAPE)
    assert page.all("dialog") == []
    page.press("?")
    assert "next colour map" in page.text("dialog")
    page.shoot("keyboard")
    page.one("dialog [type=checkbox]").click()
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.all("dialog"), "the dialog to close")
    page.press("?")
    assert page.all("dialog") == []
    page.one("#help").click()
    page.one("dialog [type=checkbox]").click()
    page.press(Keys.ESCAPE)


@pytest.mark.complains("503")
def test_an_api_that_fails_is_said_and_asked_again(page: Page, api: FakeApi, ward: list[str]) -> None:
    api.broken = True
    page.open()
    page.says(".notice-bad", "Try again in a minute.")
    page.says(".connection", "no API")
    page.shoot("gallery-error")
    api.broken = False
    page.one(".notice-bad button").click()
    shows(page, *(f"chest-{n}.dcm" for n in (5, 4, 3, 2, 1, 0)))


def test_labels_and_keys_full_of_markup_are_shown_as_text_and_run_nothing(
    page: Page, api: FakeApi, hostile: Known
) -> None:
    key = 'ward/"><img src=x onerror="document.title=2"><script>document.title=3</script>'
    api.labels = list(HOSTILE)
    image_id = api.receive(key)
    api.explain(image_id, hostile)
    page.open()
    page.says(".card-label", hostile.predictions[0].label)
    page.until(lambda: page.js("return document.querySelector('.card img')?.naturalWidth > 0"), "the thumbnail")
    assert [option.text for option in page.all("[name=label] option")] == ["Any", *HOSTILE]
    page.all(".card")[0].click()
    page.says(".score-label", HOSTILE[0])
    for place in range(3):
        page.click(".score input", place)
        label = hostile.predictions[place].label
        page.until(lambda: label in page.one(".stage-canvas").get_attribute("aria-label"), "the class to change")  # noqa: B023
    page.click("summary")
    assert key in page.text(".facts")
    page.shoot("markup-as-text", whole=True)
    assert page.browser.title.startswith("script>")
    own = "return document.querySelectorAll('main script, main b, img[src$=\"/x\"], [onerror], [onclick]').length"
    assert page.js(own) == 0
