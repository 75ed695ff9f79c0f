"""Maps become pictures that show what is in them, and files that hold all of it."""

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from heatdrop import images
from heatdrop.explaining import rendering
from heatdrop.explaining.rendering import OVERLAY_SIDE, figure, maps_file, normalise, note, overlaid, picture


@pytest.fixture(scope="module")
def chest(radiographs: Path):
    """(1955, 1841, 3) uint8."""
    return images.decode((radiographs / "RG1_J2KI.dcm").read_bytes()).pixels


@pytest.fixture(scope="module")
def seen(chest):
    return images.resize(chest, (64, 64))


def spot(row: float, column: float, side: int = 64):
    rows, columns = np.mgrid[:side, :side]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 40).astype(np.float32)


def overlay(pixels, raw) -> bytes:
    return picture(overlaid(pixels, raw))


def as_pixels(png: bytes):
    """(H, W, 3) RGB."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def halves(png: bytes):
    """The input and the map of a figure, without titles and margins."""
    pixels = as_pixels(png)
    height, width = pixels.shape[:2]
    inked = (pixels < 250).any(2)
    found = []
    for part in (slice(0, width // 2), slice(width // 2, width)):
        columns = np.flatnonzero(inked[height // 2, part]) + part.start
        middle = (columns[0] + columns[-1]) // 2
        side = columns[-1] - columns[0] + 1
        rows = np.flatnonzero(inked[:, columns[0] + 3])
        rows = rows[(rows > height // 2 - side) & (rows < height // 2 + side)]
        assert columns[0] < middle
        found.append(pixels[rows[0] : rows[0] + side, columns[0] : columns[-1] + 1])
    return found


def test_a_map_is_scaled_from_its_least_to_its_greatest_value() -> None:
    scaled = normalise(np.array([[2, 3], [4, 6]], np.float32))
    np.testing.assert_allclose(scaled, [[0, 0.25], [0.5, 1]])


def test_a_few_great_values_are_clipped_at_the_percentile() -> None:
    raw = np.tile(np.linspace(0, 1, 1000, dtype=np.float32), (10, 1))
    raw[0, 0] = 1e6
    assert np.median(normalise(raw, 99.5)) == pytest.approx(0.5, abs=0.01)
    assert np.median(normalise(raw)) < 1e-5


@pytest.mark.parametrize(
    "raw",
    [
        np.zeros((8, 8), np.float32),
        np.full((8, 8), 0.3, np.float32),
        np.full((8, 8), np.nan, np.float32),
        np.full((8, 8), 0.1, np.float32) + np.linspace(0, 2e-8, 64, dtype=np.float32).reshape(8, 8),
    ],
    ids=["zeros", "constant", "nan", "rounding"],
)
def test_a_map_without_signal_becomes_zeros_and_leaves_the_image_as_it_is(raw, seen) -> None:
    assert not normalise(raw).any()
    assert np.array_equal(as_pixels(overlay(seen, raw)), seen)


def test_a_faint_map_with_signal_is_shown_in_full() -> None:
    assert normalise(spot(20, 20) * np.float32(1e-20)).max() == 1


def test_a_map_of_one_pixel_is_shown(seen) -> None:
    raw = np.zeros((64, 64), np.float32)
    raw[30, 40] = 1
    shown = as_pixels(overlay(seen, raw))
    assert not np.array_equal(shown[30, 40], seen[30, 40])
    assert shown[30, 40, 0] > shown[30, 40, 2] + 60


def test_the_overlay_is_red_where_the_map_is_strongest_and_the_image_where_it_is_weak(chest) -> None:
    shown = as_pixels(overlay(chest, spot(16, 48)))
    height, width = shown.shape[:2]
    hot = shown[round(16.5 / 64 * height), round(48.5 / 64 * width)].astype(int)
    assert hot[0] > hot[1] + 60
    assert hot[0] > hot[2] + 60
    red = shown[..., 0].astype(int) - shown[..., 2]
    row, column = np.unravel_index(cv2.blur(red.astype(np.float32), (9, 9)).argmax(), red.shape)
    assert (row / height, column / width) == (pytest.approx(16.5 / 64, abs=0.05), pytest.approx(48.5 / 64, abs=0.05))
    lower = slice(height // 2, None)
    assert np.abs(shown[lower].astype(int) - images.resize(chest, (height, width))[lower]).max() <= 1


def test_an_image_in_colour_keeps_its_colours(seen) -> None:
    coloured = seen.copy()
    coloured[..., 2] //= 3
    assert np.array_equal(as_pixels(overlay(coloured, np.zeros((64, 64), np.float32))), coloured)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1955, 1841), (768, 723)),
        ((64, 64), (64, 64)),
        ((768, 768), (768, 768)),
        ((3, 3000), (1, 768)),
        ((2000, 1), (768, 1)),
        ((1, 1), (1, 1)),
    ],
)
def test_an_overlay_has_the_proportions_of_its_image_and_at_most_the_display_side(size, expected) -> None:
    shown = as_pixels(overlay(np.zeros((*size, 3), np.uint8), spot(16, 48)))
    assert shown.shape[:2] == expected
    assert max(expected) <= OVERLAY_SIDE


def test_the_figure_shows_the_input_as_it_is_beside_the_map(seen) -> None:
    left, _ = halves(figure(seen, spot(16, 48), "NORMAL", 0.5))
    side = left.shape[0]
    expected = cv2.resize(seen, (side, side), interpolation=cv2.INTER_NEAREST)
    # The edges of the enlarged pixels may fall one screen pixel apart.
    assert np.median(np.abs(left.astype(int) - expected)) == 0
    assert np.corrcoef(left.ravel(), expected.ravel())[0, 1] > 0.98


def test_the_map_of_the_figure_is_red_where_it_is_strongest_and_blue_where_it_is_weak(seen) -> None:
    _, right = halves(figure(seen, spot(16, 48), "NORMAL", 0.5))
    side = right.shape[0]
    hot, cold = right[round(side * 16.5 / 64), round(side * 48.5 / 64)].astype(int), right[-5, 5].astype(int)
    assert hot[0] > hot[1] + 60
    assert hot[0] > hot[2] + 60
    assert cold[2] > cold[0] + 60


def test_the_map_of_a_figure_without_signal_is_of_one_colour_but_for_the_words(seen) -> None:
    _, right = halves(figure(seen, np.full((64, 64), 7, np.float32), "NORMAL", 0.5))
    right = right[3:-3, 3:-3].reshape(-1, 3)
    colours, counts = np.unique(right, axis=0, return_counts=True)
    assert counts.max() > 0.97 * len(right)
    assert len(colours) > 1  # "no signal" is written on it


LABELS = ["$", "$x_1$", "$\\frac{", "a/b", "..", "肺炎 ünï", "\x00\x1b[31m\n\t", "W" * 300, " ", "🫁", "%s {0}"]


@pytest.mark.parametrize("label", LABELS)
def test_no_label_breaks_the_figure_or_moves_its_pictures(seen, label: str) -> None:
    plain = halves(figure(seen, spot(16, 48), "NORMAL", 0.5))
    for part, expected in zip(halves(figure(seen, spot(16, 48), label, 0.5)), plain, strict=True):
        assert part.shape == expected.shape


def test_a_long_label_leaves_the_score_inside_the_figure(seen) -> None:
    pixels = as_pixels(figure(seen, spot(16, 48), "W" * 300, 0.5))
    assert (pixels[:, -2:] == 255).all()
    assert not np.array_equal(pixels, as_pixels(figure(seen, spot(16, 48), "W" * 300, 0.6)))


@pytest.mark.parametrize("size", [(400, 40), (40, 400), (64, 64)], ids=["tall", "wide", "square"])
def test_the_note_below_the_figure_stands_clear_of_its_pictures(size) -> None:
    dark, raw = np.zeros((*size, 3), np.uint8), np.ones(size, np.float32)
    raw[0, 0] = 0
    noted, bare = (as_pixels(figure(dark, raw, "NORMAL", 0.5, note)).astype(int) for note in ("every word of it", ""))
    written = (noted != bare).any(axis=(1, 2))
    assert written.any()
    assert (bare[written] == 255).all()


def test_a_long_note_makes_the_figure_higher_and_moves_nothing(seen) -> None:
    text = "a sentence of many words " * 20
    lines = note(text).splitlines()
    assert " ".join(lines) == text.strip()
    assert len(lines) > 2
    short, long = (as_pixels(figure(seen, spot(16, 48), "NORMAL", 0.5, said)) for said in (lines[0], note(text)))
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] - short.shape[0] == 16 * (len(lines) - 1)
    assert np.array_equal(long[: len(short)], short)
    for number in range(len(lines) - 1):
        top = len(short) + 16 * number
        written = long[top : top + 16].min(axis=(0, 2)) < 200
        assert written.any(), "nothing is written there"
        assert not written[[0, -1]].any(), "the line is too long"


def test_figures_and_overlays_of_the_same_map_are_the_same_bytes(seen) -> None:
    raw = spot(16, 48)
    assert figure(seen, raw, "a", 0.5) == figure(seen, raw, "a", 0.5)
    assert overlay(seen, raw) == overlay(seen, raw)


def test_rendering_leaves_image_and_map_as_they_were(seen) -> None:
    raw, pixels = spot(16, 48), seen.copy()
    overlay(pixels, raw)
    figure(pixels, raw, "a", 0.5)
    assert np.array_equal(raw, spot(16, 48))
    assert np.array_equal(pixels, seen)


def test_the_npz_holds_the_raw_map_and_where_it_comes_from() -> None:
    raw = spot(16, 48) * 1e-7 - 3
    data = maps_file({"mean_abs": raw}, {"label": "肺炎 $x$", "seed": 2**53 - 1, "nested": {"b": 1, "a": [1]}})
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert set(arrays.files) == {"mean_abs", "provenance"}
        assert arrays["mean_abs"].dtype == np.float32
        assert np.array_equal(arrays["mean_abs"], raw)
        provenance = json.loads(str(arrays["provenance"]))
    assert provenance == {"label": "肺炎 $x$", "seed": 2**53 - 1, "nested": {"b": 1, "a": [1]}}


def test_equal_content_gives_equal_npz_bytes_at_any_time() -> None:
    raw = spot(16, 48)
    first = maps_file({"a": raw, "b": raw * 2}, {"x": 1, "y": 2})
    assert maps_file({"b": raw * 2, "a": raw.copy()}, {"y": 2, "x": 1}) == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert maps_file({"a": raw, "b": raw * 2}, {"x": 1, "y": 3}) != first


def test_a_picture_that_opencv_cannot_write_is_an_error_and_no_empty_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering.cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(RuntimeError, match="PNG"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32))
