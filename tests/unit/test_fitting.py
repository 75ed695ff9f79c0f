"""An image of any shape becomes the input, and its map is drawn where the input lies in the image."""

import numpy as np
import pytest
from PIL import Image

from heatdrop.explaining.rendering import overlaid
from heatdrop.model.fitting import WHOLE, Place, fitted, needed_size, place_of, resized
from heatdrop.model.preprocessing import Preprocessing

CROP = Preprocessing(fit="crop", crop=0.875, resize="antialias")
LETTERBOX = Preprocessing(fit="letterbox", border=9)
SHAPES = [(40, 40), (37, 91), (120, 50), (8, 8), (33, 32)]
SIZES = [(28, 28), (24, 40)]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", ["area", "bilinear", "antialias"])
def test_every_image_fits(fit, shape, size, resize) -> None:
    how = Preprocessing(fit=fit, resize=resize, crop=0.9)

    assert fitted(noise(*shape), size, how).shape == (*size, 3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", [(20, 30), (64, 70), (37, 12)])
def test_antialiased_resizing_is_that_of_pillow(shape, target) -> None:
    pixels = noise(*shape)
    pillow = np.asarray(Image.fromarray(pixels).resize(target[::-1], Image.Resampling.BILINEAR), np.int64)

    found = resized(pixels, target, Preprocessing(resize="antialias")).astype(np.int64)

    assert np.abs(found - pillow).max() <= 1


@pytest.mark.parametrize("shape", [(300, 400), (401, 299), (256, 256)])
def test_cropping_is_that_of_torchvision(shape) -> None:
    """Resize(256, antialias=True) and CenterCrop(224), by torchvision's own arithmetic."""
    short, long = sorted(shape)
    longer = int(256 * long / short)
    rows, columns = (256, longer) if shape[0] <= shape[1] else (longer, 256)
    pixels = noise(*shape)
    pillow = np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR), np.int64)
    top, left = round((rows - 224) / 2.0), round((columns - 224) / 2.0)

    found = fitted(pixels, (224, 224), CROP).astype(np.int64)

    assert np.abs(found - pillow[top : top + 224, left : left + 224]).max() <= 1


def test_a_letterbox_keeps_the_shape_and_has_a_border() -> None:
    framed = fitted(np.full((50, 100, 3), 200, np.uint8), (40, 40), LETTERBOX)

    assert (framed[:10] == 9).all()
    assert (framed[10:30] == 200).all()
    assert (framed[30:] == 9).all()


def test_an_image_is_decoded_large_enough_to_be_cropped() -> None:
    assert needed_size((224, 224), CROP) == (256, 256)
    assert needed_size((224, 224), LETTERBOX) == (224, 224)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", [CROP, LETTERBOX])
def test_the_place_of_the_input_has_its_proportions(shape, how) -> None:
    place = place_of(shape, (28, 28), how)

    height, width = (place.bottom - place.top) * shape[0], (place.right - place.left) * shape[1]
    assert height == pytest.approx(width, rel=0.06)
    assert (place.top <= 0 or place.left <= 0) if how is LETTERBOX else (place.top >= 0 and place.left >= 0)


def test_stretching_takes_the_whole_image() -> None:
    assert place_of((10, 20), (28, 28), Preprocessing()) is WHOLE


@pytest.mark.parametrize("how", [Preprocessing(fit="crop", crop=0.5), LETTERBOX])
@pytest.mark.parametrize("spot", [(30, 60), (38, 75)])
def test_a_map_is_drawn_where_the_model_saw_it(how, spot) -> None:
    """A white spot in the image, taken for the map as the model sees it, is coloured where it was."""
    pixels = np.zeros((80, 120, 3), np.uint8)
    pixels[spot[0] - 4 : spot[0] + 4, spot[1] - 4 : spot[1] + 4] = 255
    size = (64, 64)
    seen = fitted(pixels, size, how).astype(np.float32)[..., 0]
    seen = np.where(seen > 100, 1.0, 0.0).astype(np.float32)

    drawn = overlaid(np.zeros_like(pixels), seen, place_of((80, 120), size, how)).astype(np.int64).sum(axis=-1)

    rows, columns = np.nonzero(drawn > 100)
    assert rows.mean() == pytest.approx(spot[0] - 0.5, abs=1)
    assert columns.mean() == pytest.approx(spot[1] - 0.5, abs=1)


def test_outside_of_its_place_the_image_stays_as_it_is() -> None:
    pixels = noise(80, 120)
    raw = np.random.default_rng(0).random((64, 64), np.float32)

    drawn = overlaid(pixels, raw, Place(0.25, 0.25, 0.75, 0.75))

    np.testing.assert_array_equal(drawn[:18], pixels[:18])
    np.testing.assert_array_equal(drawn[:, 92:], pixels[:, 92:])
    assert (drawn[30:50, 40:80] != pixels[30:50, 40:80]).any()
