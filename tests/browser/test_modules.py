"""The page's readers of NumPy's files, against NumPy itself, and its policy against what it forbids."""

import base64
import io
import zipfile
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from tests.browser.conftest import Page

from heatdrop.explaining.rendering import _laid_out, normalise
from heatdrop.model.fitting import WHOLE, Place

READ = """
const values = ({ data, text }) => text ?? [...data].map(Number);
const [content, done] = arguments;
const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
import("/static/npz.js").then(({ readNpz }) => readNpz(bytes.buffer)).then(
  (arrays) => done({ ok: [...arrays].map(([name, found]) => [name, found.shape, values(found)]) }),
  (problem) => done({ bad: problem.message }),
);
"""


def read(page: Page, content: bytes) -> Any:
    page.open()
    return page.browser.execute_async_script(READ, base64.b64encode(content).decode())


def saved(save: Any = np.savez_compressed, **arrays: Any) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "deflated"])
def test_numpys_files_are_read_as_numpy_reads_them(page: Page, save: Any) -> None:
    arrays = {
        "single": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
        "double": np.array([[1e-300, -2.5e300]]),
        "whole": np.array([-(2**40), 7]),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(3.5),
        "text": np.array('{"label": "肺炎 \U0001fac1 <b>"}'),
    }
    found = {name: (shape, value) for name, shape, value in read(page, saved(save, **arrays))["ok"]}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        shape, value = found[name]
        assert shape == list(array.shape), name
        assert value == (str(array) if name == "text" else array.ravel().tolist()), name


def damaged() -> dict[str, bytes]:
    whole = saved(a=np.arange(1000.0))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", b"x" * 100)
    start = whole.index(b"\x00", 60)
    return {
        "nothing": b"",
        "no zip": b"x" * 1000,
        "cut short": whole[:-30],
        "bent": whole[:start] + b"\xff" * 40 + whole[start + 40 :],
        "packed otherwise": stream.getvalue(),
        "big-endian": saved(a=np.arange(3, dtype=">f4")),
    }


@pytest.mark.parametrize("kind", damaged())
def test_a_file_that_cannot_be_read_says_so(page: Page, kind: str) -> None:
    assert "maps file" in read(page, damaged()[kind]).get("bad", "")


STRENGTHS = """
const [values, shape, size, place, done] = arguments;
import("/static/heat.js").then(({ rangeOf, strengths }) =>
  done([...strengths(Float32Array.from(values), shape, rangeOf(values), size, place)]));
"""


@pytest.mark.parametrize(
    "place", [WHOLE, Place(0.2, 0.25, 0.9, 0.75), Place(-0.3, 0, 1.3, 1), Place(0, -0.1, 1, 1.4)], ids=str
)
def test_a_map_lies_where_the_overlay_has_it(page: Page, place: Place) -> None:
    raw = np.random.default_rng(3).random((6, 8), np.float32)
    page.open()
    found = page.browser.execute_async_script(STRENGTHS, raw.ravel().tolist(), [6, 8], [40, 60], asdict(place))

    wanted = _laid_out(normalise(raw, 99.5), (40, 60), place)
    np.testing.assert_allclose(np.reshape(found, (40, 60)), wanted, atol=0.02)


@pytest.mark.complains("Content Security Policy|TrustedHTML|Trusted Type")
def test_the_browser_itself_forbids_scripts_styles_and_strangers(page: Page) -> None:
    page.open()
    page.one(".notice")
    script = """
    const done = arguments[0], broken = [];
    document.addEventListener("securitypolicyviolation", (event) => broken.push(event.effectiveDirective));
    try { document.body.innerHTML = "<b>x</b>" } catch (error) { broken.push("innerHTML") }
    const image = new Image();
    image.src = "data:image/gif;base64,R0lGODlhAQABAAAAACw=";
    fetch("http://127.0.0.1:9/").catch(() => setTimeout(() => done(broken), 200));
    """
    broken = page.browser.execute_async_script(script)
    assert {"innerHTML", "img-src", "connect-src"} <= set(broken)
    page.requests()
