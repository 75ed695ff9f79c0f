"""The viewer before the real local cloud: a radiograph is dropped into the page and comes back explained."""

import base64
import io
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from selenium import webdriver
from tests.browser.conftest import Page, apart, as_pixels, seen
from tests.integration.served import Served, serve

from heatdrop.model.bundle import Bundle
from heatdrop.model.certificate import MapKind, find_certificate
from heatdrop.vocabulary import ExplanationSettings

DROP = """
const bytes = Uint8Array.from(atob(arguments[1]), (letter) => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[0]));
for (const kind of ["dragenter", "dragover", "drop"]) {
  const event = new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  document.querySelector("#grid").dispatchEvent(event);
}
"""
NAMES = ("mean_abs", "signed", "squared", "variance", "standard_error")


@pytest.fixture(scope="module")
def served(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The chest X-ray model in the local cloud; few samples, since it is not the maps that are tested."""
    with serve(tmp_path_factory.mktemp("serve"), "--samples", "5", "--dicom") as served:
        yield served


@pytest.fixture(scope="module")
def link(served: Served) -> tuple[str, str]:
    """Where the viewer is, and what its printed link has behind that: its key."""
    found = re.search(r"^Viewer +(http://127\.0\.0\.1:\d+)/(\?token=\S+)$", served.printed, re.MULTILINE)
    assert found, served.printed
    return found[1], found[2]


@pytest.fixture
def page(chromium: webdriver.Chrome, link: tuple[str, str]) -> Iterator[Page]:
    with seen(chromium, link[0]) as opened:
        yield opened


def artefact(served: Served, image: dict[str, Any], label: str, name: str) -> bytes:
    """A file of the image's best explanation, past the viewer."""
    link = served.get(f"/images/{image['image_id']}/heatmaps/{quote(label)}?artefact={name}")
    with urllib.request.urlopen(link["url"], timeout=60) as answer:
        return answer.read()


def shoot_everywhere(page: Page, name: str) -> None:
    """Desktop and phone, dark and light; the whole page, with everything unfolded."""
    for scheme in ("dark", "light"):
        for device, width, height in (("desktop", 1280, 860), ("phone", 390, 844)):
            page.look(width, height, scheme, touch=device == "phone")
            page.js("scrollTo(0, 0)")
            page.shoot(f"{name}-{device}-{scheme}")
            page.shoot(f"{name}-{device}-{scheme}-whole", whole=True)
            assert page.js("return document.documentElement.scrollWidth") <= width
    page.look(1280, 860)


def test_a_radiograph_dropped_into_the_page_comes_back_explained(
    page: Page, served: Served, link: tuple[str, str], bundle: Bundle, chest_dicom: Path
) -> None:
    page.open(link[1])
    page.js("localStorage.clear()")
    page.says(".notice", "No images yet")
    page.js(DROP, "chest.dcm", base64.b64encode(chest_dicom.read_bytes()).decode())
    page.until(lambda: page.text(".upload .badge") == "Explained", "the explanation", seconds=400)
    page.says(".card .badge", "Explained")
    page.says("#connection", "connected")
    shoot_everywhere(page, "real-gallery")

    (listed,) = served.get("/images")["images"]
    image = served.get(f"/images/{listed['image_id']}")
    page.click("a.upload-name")
    page.one(".choices")
    picture = as_pixels(_picture(served, image))
    assert page.pixels().shape == picture.shape

    # Scores and classes are the record's; the canvas is the overlay that was stored.
    rows = [(row.text.split("\n")[0], row.text.split("\n")[1]) for row in page.all(".score")]
    assert rows == [(p["label"], f"{p['score']:.3f}") for p in image["predictions"]]
    page.set("[name=colours]", "jet")
    for place, prediction in enumerate(image["predictions"]):
        page.click(".score input", place)
        label = prediction["label"]
        page.until(lambda: label in page.one(".stage-canvas").get_attribute("aria-label"), label)  # noqa: B023
        overlay = as_pixels(artefact(served, image, label, "overlay"))
        assert apart(page.pixels(), overlay) < 1.0 < apart(overlay, picture)
    page.set("[name=colours]", "viridis")
    page.click(".score input", 0)

    check_layers(page, served, image)
    check_facts(page, served, image, bundle)
    page.js("for (const details of document.querySelectorAll('details')) details.open = true")
    shoot_everywhere(page, "real-image")


def check_layers(page: Page, served: Served, image: dict[str, Any]) -> None:
    """Each estimator and the standard error is another picture, scaled as its map in the file is."""
    maps = artefact(served, image, image["predictions"][0]["label"], "maps")
    with np.load(io.BytesIO(maps)) as arrays:
        pictures = []
        for name in NAMES:
            page.choose_layer(name)
            legend = page.all(".legend span")[1].text.lstrip("≥ ")
            assert float(legend) == pytest.approx(float(np.percentile(arrays[name], 99.5)), rel=0.01), name
            pictures.append(page.pixels())
        errors, values = (arrays[name].astype(float) for name in ("standard_error", "mean_abs"))
    assert all(apart(one, other) > 0 for i, one in enumerate(pictures) for other in pictures[:i])
    page.shoot("real-image-standard-error")
    page.says(".panel", f"{np.linalg.norm(errors) / np.linalg.norm(values) * 100:.1f} %")
    page.choose_layer("mean_abs")


def check_facts(page: Page, served: Served, image: dict[str, Any], bundle: Bundle) -> None:
    """The model's certificate, where the image comes from and how its maps were made, its files."""
    kind = MapKind.of(ExplanationSettings())
    certificate = find_certificate(bundle.description.certificates, kind)
    assert certificate is not None
    (model,) = served.get("/models")["models"]
    assert model["certificates"] == [known.model_dump(mode="json") for known in bundle.description.certificates]
    page.says(".panel", f"Measured on {certificate.images} images on")
    page.says(".panel", certificate.sentence)
    assert image["trust"] == certificate.summary
    for check in certificate.checks:
        page.says(".checks", f"{check.name.capitalize()}: {check.grade}")
        page.says(".checks", check.statement)
    page.click("summary")
    page.says("details[open]", "AUC macro")
    page.click("details.panel > summary")
    facts = page.all("details[open]")[1].text
    for expected in (image["image_id"], image["key"], "stratified", "mean_abs", bundle.model.version, "Predict"):
        assert expected in facts
    links = {link.text: link.get_attribute("href") for link in page.all(".buttons a")}
    assert links.keys() == {"Overlay", "Figure", "Raw maps", "DICOM", "Picture"}
    script = (
        "fetch(arguments[0]).then(r => r.arrayBuffer()).then(b => arguments[1]([...new Uint8Array(b.slice(128, 132))]))"
    )
    assert bytes(page.browser.execute_async_script(script, links["DICOM"])) == b"DICM"
    assert "not a medical device" in page.text(".foot")


def _picture(served: Served, image: dict[str, Any]) -> bytes:
    link = served.get(f"/images/{image['image_id']}/picture")
    with urllib.request.urlopen(link["url"], timeout=60) as answer:
        return answer.read()
