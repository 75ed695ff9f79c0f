"""Is every raster file shown as a second reader, or whoever wrote it, says? ``make test-formats`` prints the counts.

Where it is known what was written, that decides, and else Pillow, which decodes nothing inside Heatdrop. What differs
by more than 2 of 255, or is refused here and shown there, must have its reason in ``REASONS``.
"""

import io
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tests.formats.made_rasters import Made, all_made, over_black, spread

from heatdrop.errors import RejectedImage
from heatdrop.images import decode

TOLERANCE = 2.0
REASONS = {
    r"JPEG .*, no end marker": "the file was cut by two bytes, and is refused with these words",
    r"TIFF by Pillow LAB": "CIE L*a*b* is refused by name: whether it is signed, and its white, differ between writers",
    r"TIFF by Pillow I;16B, BigTIFF": "Pillow 13 writes 0 for where the strip lies",
    r"TIFF by Pillow YCbCr (lzma|zstd)": "refused by name: OpenCV, which undoes the subsampling, knows neither code",
    r"TIFF by Pillow 1 tiff_raw_16": "code 32771 is refused by name: nobody writes it",
    r"TIFF .*, (png|jpegxl), tile": "PNG and JPEG XL inside TIFF are tifffile's own, and refused by name",
}
"""The name of a file -> why it may differ or be refused."""


def by_pillow(data: bytes) -> NDArray[Any] | None:
    """What Pillow shows, by the rules of ``docs/formats.md``; None where it shows nothing."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as opened:
            warnings.simplefilter("ignore")
            opened.load()
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                values = np.asarray(image)
                return np.dstack([spread(values) if np.ptp(values) else np.zeros(values.shape)] * 3)
            if image.has_transparency_data:
                values = np.asarray(image.convert("RGBA"))
                return over_black(values[..., :3], values[..., 3])
            return np.asarray(image.convert("RGB"))
    except Exception:  # Pillow raises whatever comes of a file that it cannot read.
        return None


def differs(shown: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Whether two pictures differ by more than rounding and two ways of undoing a lossy code explain."""
    return shown.shape != expected.shape or bool(np.abs(shown.astype(float) - expected).max() > TOLERANCE)


def compare(files: Iterable[Made]) -> tuple[Counter[str], list[str]]:
    """Counts, and a line for each difference and refusal."""
    counts: Counter[str] = Counter()
    found = []
    for file in files:
        counts["files"] += 1
        second = by_pillow(file.data)
        expected = second if file.shown is None else file.shown
        if file.shown is not None:
            counts["Pillow refuses"] += second is None
            counts["Pillow differs"] += second is not None and differs(second, file.shown)
        try:
            shown = decode(file.data).pixels
        except RejectedImage as error:
            counts["refusals" if expected is not None else "refused by both"] += 1
            if expected is not None:
                found.append(f"{file.name}: {error}")
            continue
        if expected is None:
            found.append(f"{file.name}: shown, and Pillow shows nothing")
        elif differs(shown, expected):
            counts["differences"] += 1
            found.append(f"{file.name}: differs")
    return counts, found


def without_reason(found: Iterable[str]) -> list[str]:
    return [line for line in found if not any(re.match(name, line) for name in REASONS)]


def installed() -> Iterable[Made]:
    """The pictures that installed packages bring along."""
    for path in sorted(Path(sysconfig.get_path("purelib")).rglob("*")):
        if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"} and path.is_file():
            yield Made(path.name, path.read_bytes())


@pytest.mark.formats
def test_every_raster_file_is_shown_as_another_reader_shows_it() -> None:
    counts, found = compare(all_made())
    print(dict(counts), *found, sep="\n")
    assert not without_reason(found)
    unused = [name for name in REASONS if not any(re.match(name, line) for line in found)]
    assert not unused, "these reasons are for nothing any more"


@pytest.mark.formats
def test_pictures_of_installed_packages_are_shown_as_another_reader_shows_them() -> None:
    counts, found = compare(installed())
    print(dict(counts), *found, sep="\n")
    assert not [line for line in found if "several pages" not in line]


def test_every_ninth_raster_file_is_shown_as_another_reader_shows_it() -> None:
    counts, found = compare(islice(all_made(), 0, None, 9))
    assert counts["files"] > 100
    assert not without_reason(found)
