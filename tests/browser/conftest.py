"""A headless Chromium before the viewer, before a fake API over real artefacts."""

import base64
import copy
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.browser.fake_api import FakeApi, Known
from werkzeug.serving import make_server

from heatdrop import images
from heatdrop.explaining.explainer import Explainer
from heatdrop.images import Limits
from heatdrop.model import default
from heatdrop.model.bundle import Bundle
from heatdrop.model.certificate import Certificate, Check, MapKind
from heatdrop.model.classifier import Classifier
from heatdrop.viewer.server import Viewer
from heatdrop.vocabulary import ExplanationSettings

selenium = pytest.importorskip("selenium", reason="make test-browser installs selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

ROOT = Path(__file__).parents[2]
logging.getLogger("werkzeug").setLevel(logging.ERROR)

SHOTS = ROOT / "out" / "browser"
HOSTILE = ('<img src=x onerror="document.title=1">', "<b>NORMAL</b>&amp;", "../../肺炎")

CHECKS = (
    Check(name="randomisation", grade="passed", statement="Maps change when the model's layers are shuffled."),
    Check(name="perturbation", grade="limited", statement="Edges in the picture move the score as much."),
    Check(name="repeatability", grade="failed", statement="Two maps of one image agree less than is asked for."),
)
MEASURED = {"measured_on": "2026-11-24", "images": 40, "seconds": 0.4, "behind_best": (0.1, 0.05, 0.15)}
# The maps of the explainer below, and LayerCAM's, which are said to be the most faithful.
CERTIFICATE = Certificate.of(
    MapKind.of(ExplanationSettings(samples=5)),
    CHECKS,
    alarms=("Most maps point at one spot near the border: look at what is written there.",),
    faithfulness=(0.1, 0.05, 0.15),
    **MEASURED,
)
LAYERCAM = Certificate.of(
    MapKind.of(ExplanationSettings(method="layercam")), CHECKS[:1], faithfulness=(0.2, 0.15, 0.25), **MEASURED
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The chest X-ray model."""
    return default.open_default() or default.build_default()


@pytest.fixture(scope="session")
def explainer(bundle: Bundle) -> Explainer:
    """SmoothGrad of the chest X-ray model, compiled once: few samples, since it is not the maps that are tested."""
    return Explainer(bundle, ExplanationSettings(samples=5))


@pytest.fixture(scope="session")
def chest(explainer: Explainer, chest_dicom: Path) -> Known:
    """RG1 and its heatmaps by SmoothGrad."""
    return explained(explainer, chest_dicom)


@pytest.fixture(scope="session")
def by_cam(bundle: Bundle, chest_dicom: Path) -> Known:
    """RG1 by LayerCAM: maps files without a standard error."""
    return explained(Explainer(bundle, ExplanationSettings(method="layercam")), chest_dicom)


@pytest.fixture(scope="session")
def hostile(explainer: Explainer, chest_dicom: Path) -> Known:
    """RG1 by a model whose labels are markup and paths."""
    other = copy.copy(explainer)
    other.bundle = explainer.bundle.model_copy(update={"labels": HOSTILE})
    return explained(other, chest_dicom)


def explained(explainer: Explainer, file: Path) -> Known:
    data = file.read_bytes()
    predictions = Classifier(explainer.bundle).classify(images.decode(data, limits=Limits()))
    return Known(predictions, explainer.explain(data, predictions), explainer.bundle.model)


@pytest.fixture
def api(bundle: Bundle) -> Iterator[FakeApi]:
    fake = FakeApi(labels=list(bundle.labels))
    fake.models = [
        bundle.model.model_dump()
        | {"certificates": [known.model_dump(mode="json") for known in (CERTIFICATE, LAYERCAM)]}
    ]
    yield fake
    fake.close()


@pytest.fixture
def origin(api: FakeApi) -> Iterator[str]:
    """Where the viewer is."""
    server = make_server("127.0.0.1", 0, Viewer(api.url), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.fail("chromium and chromedriver are missing; `make test-browser` installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


def as_pixels(png: bytes) -> NDArray[np.uint8]:
    """A PNG as (H, W, 3) RGB."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The mean difference of two pictures, in grey levels."""
    return float(np.abs(one.astype(int) - other).mean())


class Page:
    """The viewer in the browser, as a person uses it."""

    def __init__(self, browser: webdriver.Chrome, origin: str) -> None:
        self.browser, self.origin = browser, origin
        self.look(1280, 860)

    def look(self, width: int, height: int, scheme: str = "dark", touch: bool = False) -> None:
        """Choose window and colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if touch else 1, "mobile": touch}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, address: str = "") -> None:
        self.browser.get("about:blank")
        self.browser.get(f"{self.origin}/{address}")

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """The element, once it is there and seen."""
        return self.until(lambda: next((e for e in self.all(selector) if e.is_displayed()), None), selector)

    def click(self, selector: str, place: int = 0) -> None:
        """Scroll to one of the elements and click it."""
        element = self.until(lambda: self.all(selector)[place], f"{selector} {place}")
        self.js("arguments[0].scrollIntoView({ block: 'center' })", element)
        element.click()

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def says(self, selector: str, text: str) -> None:
        """Wait until ``text`` stands in one of the elements."""
        self.until(lambda: any(text in element.text for element in self.all(selector)), f"{selector} with {text!r}")

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 15) -> Any:
        wait = WebDriverWait(self.browser, seconds, poll_frequency=0.05, ignored_exceptions=[Exception])
        return wait.until(lambda _: condition(), f"waited for {what}")

    def js(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.browser).send_keys(*keys).perform()

    def set(self, selector: str, value: str) -> None:
        """Move a slider or choose an option as a person would: with the event that follows."""
        script = "arguments[0].value = arguments[1]; for (const kind of ['input', 'change'])"
        script += "arguments[0].dispatchEvent(new Event(kind, {bubbles: true}))"
        self.js(script, self.one(selector), value)

    def choose_layer(self, name: str) -> None:
        """Choose one of the layers of the map."""
        self.js("arguments[0].click()", self.browser.find_element("css selector", f'.choices [value="{name}"]'))

    def pixels(self) -> NDArray[np.uint8]:
        """The canvas as (H, W, 3) RGB, once it has been painted."""
        script = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => "
        script += "done(document.querySelector('.stage-canvas').toDataURL('image/png'))))"
        png = base64.b64decode(self.browser.execute_async_script(script).split(",")[1])
        return as_pixels(png)

    def shoot(self, name: str, whole: bool = False) -> Path:
        """Keep a screenshot, of the whole page if asked, under out/browser/."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        script = "return Promise.all([...document.images].filter(i => !i.complete && i.loading != 'lazy')"
        self.js(f"{script}.map(i => new Promise(r => i.onload = i.onerror = r)))")
        # What sticks to the window's end would lie across the middle of a whole page.
        self.js("document.querySelector('.foot').style.position = arguments[0] ? 'static' : ''", whole)
        answer = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        found = []
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return [url for url in found if not re.match(r"(about|data|chrome):", url)]

    def complaints(self) -> list[str]:
        """What the browser's console objects to: policy violations, errors."""
        return [
            entry["message"] for entry in self.browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")
        ]


@contextmanager
def seen(browser: webdriver.Chrome, origin: str, allowed: str = "(?!)") -> Iterator[Page]:
    """The page, with nothing kept of what was seen before; whatever it does, it asks nobody else and breaks no rule.

    ``allowed`` is a pattern of what the browser's console may complain about.
    """
    opened = Page(browser, origin)
    opened.requests(), opened.complaints()
    yield opened
    foreign = [url for url in opened.requests() if not url.startswith((f"{origin}/", f"blob:{origin}/"))]
    assert foreign == []
    assert [message for message in opened.complaints() if not re.search(allowed, message)] == []


@pytest.fixture
def page(chromium: webdriver.Chrome, origin: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page before the fake API."""
    allowed = request.node.get_closest_marker("complains")
    with seen(chromium, origin, *(allowed.args if allowed else ())) as opened:
        yield opened
