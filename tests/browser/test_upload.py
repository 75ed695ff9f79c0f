"""Files dropped into the page are sent, and followed until each is final."""

from pathlib import Path

import pytest
from tests.browser.conftest import Page
from tests.browser.fake_api import FakeApi, Known

DROP = """
const data = new DataTransfer();
for (const [name, size] of arguments[0]) data.items.add(new File([new Uint8Array(size)], name));
for (const kind of ["dragenter", "dragover", "drop"]) {
  const event = new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
  document.querySelector("#grid").dispatchEvent(event);
}
"""


def test_a_picked_file_is_sent_whole_and_seen_in_each_of_its_states(
    page: Page, api: FakeApi, chest: Known, chest_dicom: Path
) -> None:
    page.open()
    page.says(".notice", "No images yet")
    page.browser.find_element("id", "files").send_keys(str(chest_dicom))
    page.says(".upload-status", "stored, not yet seen")
    ((key, content),) = api.uploads.items()
    assert content == chest_dicom.read_bytes()
    image_id = api.receive(key)
    page.says(".upload .badge", "Received")
    page.says(".card .badge", "Received")
    api.classify(image_id, chest)
    page.says(".upload .badge", "Classified")
    page.shoot("upload-classified")
    api.explain(image_id, chest)
    page.says(".upload .badge", "Explained")
    page.says(".card .badge", "Explained")
    best = chest.predictions[0]
    assert f"{best.label} {best.score:.3f}" in page.text(".upload-status")
    assert "Explained" in page.js("return document.querySelector('#announcer').textContent")
    page.one("a.upload-name").click()
    page.one(".stage-canvas")


def test_files_dropped_on_the_page_are_sent_and_each_ends_its_own_way(page: Page, api: FakeApi, chest: Known) -> None:
    page.open()
    page.says(".notice", "No images yet")
    page.js(DROP, [["a.dcm", 10], ["b.png", 2_000_000], ["c", 30], ["d.jpg", 40], ["e.tif", 50]])
    page.until(lambda: len(api.uploads) == 5, "all files in the store")
    sizes = {key.rsplit("/")[-1]: len(content) for key, content in api.uploads.items()}
    assert sizes == {"a.dcm": 10, "b.png": 2_000_000, "c": 30, "d.jpg": 40, "e.tif": 50}
    ids = {key.rsplit("/")[-1]: api.receive(key) for key in api.uploads}
    api.explain(ids["a.dcm"], chest)
    api.end(ids["b.png"], "REJECTED", "The PNG is cut short; export and upload it again.")
    api.end(ids["c"], "FAILED", "the heatmaps could not be made (ResourceExhaustedError)")
    page.says(".upload", "The PNG is cut short")
    page.says(".upload", "ResourceExhaustedError")
    page.says(".upload", "Explained")
    assert len(page.all(".upload")) == 5
    page.shoot("upload-many")
    page.until(lambda: len(page.all(".card")) == 5, "all of them in the gallery")


@pytest.mark.complains("422")
def test_a_file_that_the_api_does_not_take_says_why(page: Page, api: FakeApi, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    page.open()
    page.browser.find_element("id", "files").send_keys(str(text))
    page.says(".upload-failed", "Text is no image")
    page.shoot("upload-refused")
    assert api.uploads == {}
