"""One image: the canvas is drawn from the raw maps, and everything beside it changes what is seen."""

import io
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from selenium.webdriver.common.keys import Keys
from tests.browser.conftest import Page, apart, as_pixels
from tests.browser.fake_api import FakeApi, Known


@pytest.fixture
def shown(page: Page, api: FakeApi, chest: Known) -> str:
    """The page with one explained image on it, with the look that a first visit has."""
    image_id = api.receive("ward-3/chest.dcm")
    api.explain(image_id, chest)
    page.open()
    page.js("localStorage.clear()")
    page.open(f"#/images/{image_id}")
    page.one(".choices")
    return image_id


def arrays_of(known: Known, place: int = 0) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(known.explanation.heatmaps[place].maps[1])) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_the_canvas_shows_what_the_overlay_does(page: Page, shown: str, chest: Known) -> None:
    picture = as_pixels(chest.explanation.picture[1])
    viridis = page.pixels()
    assert viridis.shape == picture.shape
    page.set("[name=colours]", "jet")
    for place in range(3):
        page.click(".score input", place)
        label = chest.predictions[place].label
        page.until(lambda: label in page.one(".stage-canvas").get_attribute("aria-label"), "the class")  # noqa: B023
        overlay = as_pixels(chest.explanation.heatmaps[place].overlay[1])
        # The two libraries' jets and roundings differ a little.
        assert apart(page.pixels(), overlay) < 1.0 < apart(overlay, picture)
    page.click("[name=shown]")
    assert np.array_equal(page.pixels(), picture)


def test_sliders_change_the_pixels(page: Page, shown: str, chest: Known) -> None:
    picture, strong = as_pixels(chest.explanation.picture[1]), page.pixels()
    page.set("[name=opacity]", "0.4")
    weak = page.pixels()
    assert 0 < apart(weak, picture) < apart(strong, picture)
    page.set("[name=opacity]", "0")
    assert np.array_equal(page.pixels(), picture)
    page.set("[name=opacity]", "0.8")
    page.set("[name=threshold]", "0.5")
    cut = page.pixels()
    touched, before = (cut != picture).any(2), (strong != picture).any(2)
    assert 0 < touched.sum() < before.sum()
    # Above the threshold nothing has changed, below it is the picture.
    assert np.array_equal(cut[touched], strong[touched])
    page.shoot("image-threshold")


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_it_is_seen_in_both_schemes(page: Page, shown: str, scheme: str) -> None:
    page.look(1280, 860, scheme)
    page.pixels()
    page.shoot(f"image-{scheme}")
    page.js("for (const details of document.querySelectorAll('details')) details.open = true")
    page.shoot(f"image-{scheme}-whole", whole=True)
    assert "not a medical device" in page.text(".foot")


def test_every_estimator_and_the_standard_error_can_be_seen(page: Page, shown: str, chest: Known) -> None:
    arrays = arrays_of(chest)
    names = ["mean_abs", "signed", "squared", "variance", "standard_error"]
    assert [radio.get_attribute("value") for radio in page.all(".choices input")] == names
    seen = []
    for name in names:
        page.choose_layer(name)
        greatest = float(np.percentile(arrays[name], 99.5))
        legend = page.all(".legend span")[1].text.lstrip("≥ ")
        assert float(legend) == pytest.approx(greatest, rel=0.01), name
        seen.append(page.pixels())
    assert all(apart(one, other) > 0 for i, one in enumerate(seen) for other in seen[:i])
    assert "Of Mean |g|" in page.text(".choices + .hint")
    page.shoot("image-standard-error")
    errors, values = arrays["standard_error"].astype(float), arrays["mean_abs"].astype(float)
    relative = np.linalg.norm(errors) / np.linalg.norm(values)
    page.says(".panel", f"{relative * 100:.1f} %")


def test_the_value_under_the_pointer_is_the_one_in_the_file(page: Page, shown: str, chest: Known) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(page.browser).move_to_element(page.one(".stage-canvas")).perform()
    page.until(lambda: page.text(".readout").startswith("row"), "a value")
    words = page.text(".readout").replace(",", "").replace(":", "").split()
    row, column, value, error = int(words[1]), int(words[3]), float(words[4]), float(words[6])
    arrays = arrays_of(chest)
    height, width = arrays["mean_abs"].shape
    assert (row, column) == (pytest.approx(height / 2, abs=1), pytest.approx(width / 2, abs=1))
    assert value == pytest.approx(arrays["mean_abs"][row, column], rel=0.01)
    assert error == pytest.approx(arrays["standard_error"][row, column], rel=0.01)


def test_a_look_is_kept_from_visit_to_visit(page: Page, shown: str) -> None:
    page.set("[name=colours]", "magma")
    page.set("[name=opacity]", "0.55")
    page.open(f"#/images/{shown}")
    page.one(".choices")
    assert page.one("[name=colours]").get_attribute("value") == "magma"
    assert page.one("[name=opacity]").get_attribute("value") == "0.55"
    page.js("localStorage.clear()")


def test_the_first_look_is_a_colour_map_that_everybody_can_read(page: Page, shown: str) -> None:
    choice = page.one("[name=colours]")
    assert choice.get_attribute("value") == "viridis"
    options = {option.get_attribute("value"): option.text for option in page.all("[name=colours] option")}
    assert options.keys() == {"viridis", "cividis", "magma", "gray", "jet"}
    assert [name for name, text in options.items() if "colour-blind safe" not in text] == ["jet"]


def test_single_keys_do_what_the_controls_do(page: Page, shown: str, chest: Known) -> None:
    before = page.pixels()
    page.press("h")
    assert np.array_equal(page.pixels(), as_pixels(chest.explanation.picture[1]))
    page.press("h", "c")
    assert page.one("[name=colours]").get_attribute("value") == "cividis"
    page.press("[", "[", ".")
    assert page.one("[name=opacity]").get_attribute("value") == "0.7"
    assert page.one("[name=threshold]").get_attribute("value") == "0.05"
    page.press("e")
    assert page.all(".choices :checked")[0].get_attribute("value") == "signed"
    page.press("2")
    page.until(lambda: page.all(".score input")[1].is_selected(), "the second class")
    assert apart(page.pixels(), before) > 0
    # In a field, letters are letters and arrows move the thumb.
    slider = page.one("[name=opacity]")
    slider.send_keys(Keys.ARROW_LEFT)
    assert slider.get_attribute("value") == "0.69"
    assert page.text("h1") == "chest.dcm"
    page.js("localStorage.clear()")


def test_arrows_go_to_the_images_before_and_after(page: Page, api: FakeApi, chest: Known) -> None:
    ids = [api.receive(f"{n}.dcm") for n in range(3)]
    for image_id in ids:
        api.explain(image_id, chest)
    page.open()
    page.until(lambda: len(page.all(".card")) == 3, "the gallery")
    page.open(f"#/images/{ids[1]}")
    page.one(".choices")
    page.until(lambda: page.one("[aria-label='Newer image']").get_attribute("href"), "its neighbours")
    page.press(Keys.ARROW_LEFT)
    page.says("h1", "2.dcm")
    page.press(Keys.ARROW_RIGHT)
    page.says("h1", "1.dcm")
    page.press(Keys.ARROW_RIGHT)
    page.says("h1", "0.dcm")


def test_provenance_certificate_and_warnings_are_told(page: Page, shown: str, chest: Known) -> None:
    page.says(".checks", "Repeatability: failed")
    page.says(".notice-warn", "near the border")
    page.click("details.panel > summary")
    facts = page.text("details.panel[open]")
    for expected in (shown, "ward-3/chest.dcm", "stratified", "mean_abs", chest.model.version, "Predict"):
        assert expected in facts


def test_a_model_without_a_certificate_is_said_to_have_none(page: Page, api: FakeApi, chest: Known) -> None:
    api.models = []
    image_id = api.receive("a.dcm")
    api.explain(image_id, chest)
    page.open(f"#/images/{image_id}")
    said = json.loads(str(arrays_of(chest)["provenance"]))["certificate"]["mean_abs"]
    page.says(".panel", said[0].upper() + said[1:])


def test_the_certificate_is_that_of_the_map_on_the_screen(page: Page, shown: str) -> None:
    page.says(".grade", "Failed")
    page.choose_layer("signed")
    page.says(".panel", "Not measured for this kind of map")
    assert not page.all(".grade")
    page.choose_layer("mean_abs")
    page.says(".grade", "Failed")


def test_the_most_faithful_kind_of_map_stands_first_and_becomes_what_is_asked_for(page: Page, shown: str) -> None:
    page.js("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    page.says(".kinds tbody tr", "LayerCAM")
    page.click(".kinds tbody button")
    page.says(".kinds tbody button", "Default")
    page.browser.refresh()
    method = "return document.querySelector('.again select[name=method]')?.value"
    page.until(lambda: page.js(method) == "layercam", "the method that was chosen")


def test_downloads_lead_to_the_files_themselves(page: Page, shown: str, chest: Known) -> None:
    links = {link.text: link.get_attribute("href") for link in page.all(".buttons a")}
    script = "fetch(arguments[0]).then(r => r.arrayBuffer()).then(b => arguments[1]([...new Uint8Array(b)]))"
    heatmap = chest.explanation.heatmaps[0]
    expected = {"Raw maps": heatmap.maps[1], "Overlay": heatmap.overlay[1], "Picture": chest.explanation.picture[1]}
    for name, content in expected.items():
        assert bytes(page.browser.execute_async_script(script, links[name])) == content, name
    assert links.keys() == {*expected, "Figure"}


def test_another_explanation_is_asked_for_followed_and_seen(
    page: Page, api: FakeApi, shown: str, by_cam: Known
) -> None:
    first = page.pixels()
    page.click("summary", 1)
    page.set("[name=method]", "layercam")
    assert not page.one("[name=samples]").is_enabled()
    page.click(".again [type=submit]")
    page.says(".again", "Asked for")
    assert api.wishes == [{"classes": [p.label for p in by_cam.predictions], "method": "layercam"}]
    page.says(".explanation", "LayerCAM")
    assert not page.all("[name=explanation]")[1].is_enabled()
    page.shoot("again-waiting", whole=True)
    api.finish_explanation(shown, by_cam.explanation)
    page.until(lambda: page.all("[name=explanation]")[1].is_enabled(), "the explanation")
    page.click("[name=explanation]", 1)
    page.until(lambda: page.all(".choices :checked")[0].get_attribute("value") == "layercam", "its maps")
    assert len(page.all(".choices input")) == 1
    assert apart(page.pixels(), first) > 1
    page.shoot("again-layercam")
    page.click("[name=explanation]", 0)
    page.until(lambda: len(page.all(".choices input")) == 5, "the first again")
    assert apart(page.pixels(), first) == 0


def test_an_image_on_its_way_is_followed_until_it_is_explained(page: Page, api: FakeApi, chest: Known) -> None:
    image_id = api.receive("a.dcm")
    page.open(f"#/images/{image_id}")
    page.says(".notice", "waiting for prediction")
    api.classify(image_id, chest)
    page.says(".notice", "heatmaps are being made")
    page.says(".notice", chest.predictions[0].label)
    page.shoot("image-on-its-way")
    api.explain(image_id, chest)
    page.one(".stage-canvas")


@pytest.mark.parametrize("state", ["REJECTED", "FAILED"])
def test_an_image_that_ended_early_says_why_and_what_to_do(page: Page, api: FakeApi, state: str) -> None:
    image_id = api.receive("a.dcm")
    api.end(image_id, state, "This is <b>why</b>.")
    page.open(f"#/images/{image_id}")
    page.says(".notice", "This is <b>why</b>.")
    assert "rop it again" in page.text(".notice .hint")
    page.shoot(f"image-{state.lower()}")


@pytest.mark.complains("404")
def test_an_image_that_is_not_there_is_said_not_to_be(page: Page) -> None:
    page.open(f"#/images/{'f' * 32}")
    page.says(".notice-bad", "There is no image")
    page.shoot("image-unknown")


@pytest.mark.complains("404")
def test_maps_that_were_deleted_are_said_to_be_and_other_classes_still_shown(
    page: Page, api: FakeApi, shown: str, chest: Known
) -> None:
    del api.files[api.images[shown]["heatmaps"][1]["maps"]]
    page.click(".score input", 1)
    page.says(".notice-bad", "deleted")
    page.click(".score input", 2)
    page.until(lambda: not page.all(".notice-bad"), "the notice to go")
    assert chest.predictions[2].label in page.one(".stage-canvas").get_attribute("aria-label")


def test_nothing_is_wider_than_a_small_phone(page: Page, api: FakeApi, hostile: Known) -> None:
    page.look(320, 640, touch=True)
    image_id = api.receive("a-very-long-name-without-any-space-in-it-at-all-" * 3 + ".dcm")
    api.explain(image_id, hostile)
    for address in ("", f"#/images/{image_id}"):
        page.open(address)
        page.one(".choices" if address else ".card img")
        page.js("for (const details of document.querySelectorAll('details')) details.open = true")
        assert page.js("return document.documentElement.scrollWidth") <= 320
        page.shoot(f"phone-{'image' if address else 'gallery'}")
    page.shoot("phone-image-whole", whole=True)
    page.look(320, 640, "light", touch=True)
    page.shoot("phone-image-light")


def test_motion_stops_for_those_who_ask(page: Page, api: FakeApi) -> None:
    image_id = api.receive("a.dcm")
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.open(f"#/images/{image_id}")
    page.one(".step-next")
    assert page.js("return document.getAnimations().length") == 0
