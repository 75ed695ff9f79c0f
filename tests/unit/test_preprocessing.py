"""The input of a model is made exactly as it was made when the model was trained."""

import json
from pathlib import Path

import numpy as np
import pytest
from keras import applications

from heatdrop import images
from heatdrop.errors import InvalidBundle, InvalidRequest
from heatdrop.model.preprocessing import CONVENTIONS, Preprocessing, preprocess, read_preprocessing

LIBRARIES = {
    "densenet": applications.densenet.preprocess_input,
    "imagenet": applications.resnet.preprocess_input,
    "scale01": lambda x: x / np.float32(255),
    "none": lambda x: x,
    # torchvision's Normalize behind ToTensor, Keras's mode "tf", torchxrayvision.datasets.normalize of 8 bits.
    "torchvision": lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    "plusminus1": applications.mobilenet.preprocess_input,
    "torchxrayvision": lambda x: (2 * (x / 255) - 1.0) * 1024,
    "raw": lambda x: x,
}


@pytest.fixture(scope="module")
def colour(radiographs: Path):
    """(2, 224, 224, 3): two radiographs whose channels differ and hold every value from 0 to 255."""
    chest = images.resize(images.decode((radiographs / "RG1_J2KI.dcm").read_bytes()).pixels, (224, 224))
    leg = images.resize(images.decode((radiographs / "RG3_J2KI.dcm").read_bytes()).pixels, (224, 224))
    mixed = np.stack([np.dstack([chest[..., 0], leg[..., 0], 255 - chest[..., 0]]), leg])
    mixed[0, :16, :16] = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    return mixed


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_each_convention_equals_that_of_its_library(colour, convention) -> None:
    expected = LIBRARIES[convention](colour.astype(np.float32))
    np.testing.assert_allclose(preprocess(colour, convention), expected, rtol=2e-7, atol=2e-6)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_one_image_and_a_batch_give_the_same_input(colour, convention) -> None:
    batch = preprocess(colour, convention)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    assert np.array_equal(np.stack([preprocess(image, convention) for image in colour]), batch)


def test_the_pixels_are_left_as_they_were(colour) -> None:
    before = colour.copy()
    for convention in CONVENTIONS:
        preprocess(colour, convention)[...] = 0
    assert np.array_equal(colour, before)


def test_an_unknown_convention_is_refused_with_those_there_are(colour) -> None:
    with pytest.raises(InvalidRequest, match=r"'caffe'.*densenet, imagenet, scale01, none"):
        preprocess(colour, "caffe")


@pytest.mark.parametrize("how", ["luma", "mean"])
def test_a_grey_image_keeps_its_shades_in_one_channel(how) -> None:
    shades = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=-1)

    found = preprocess(shades, Preprocessing(grey=how), channels=1)

    np.testing.assert_array_equal(found, shades[..., :1].astype(np.float32))


def test_colour_becomes_grey_as_the_convention_says(colour) -> None:
    from PIL import Image

    pillow = np.asarray(Image.fromarray(colour[0]).convert("L"), np.float32)[..., None]
    np.testing.assert_array_equal(preprocess(colour[0], "raw", channels=1), pillow)
    mean = (2 * (colour[0] / 255) - 1.0).mean(axis=-1, keepdims=True) * 1024
    np.testing.assert_allclose(preprocess(colour[0], "torchxrayvision", channels=1), mean, atol=1e-3)


def test_numbers_for_three_channels_are_refused_for_one(colour) -> None:
    with pytest.raises(InvalidRequest, match="numbers for three channels; the model takes 1"):
        preprocess(colour, "torchvision", channels=1)


def test_a_preprocessing_is_read_from_a_json_file(tmp_path: Path, colour) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps({"divide_by": 255, "mean": [0.1, 0.2, 0.3], "deviation": [0.5], "order": "bgr"}))

    found = preprocess(colour, read_preprocessing(str(file)))

    expected = (colour[..., ::-1].astype(np.float32) / 255 - [0.1, 0.2, 0.3]) / 0.5
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "cannot be read"),
        ("[]", "is no preprocessing"),
        ('{"scale": 2}', "scale"),
        ('{"mean": [1, 2]}', "mean has 2 numbers"),
        ('{"deviation": [0]}', "deviation"),
        ('{"divide_by": 0}', "divide_by"),
        ('{"crop": 2}', "crop"),
        ('{"fit": "squeeze"}', "'stretch', 'crop' or 'letterbox'"),
        ('{"mean": [NaN]}', "mean"),
    ],
)
def test_a_file_that_is_no_preprocessing_is_refused_by_what_is_wrong(tmp_path: Path, content, problem) -> None:
    (tmp_path / "own.json").write_text(content)

    with pytest.raises(InvalidBundle, match=problem) as caught:
        read_preprocessing(str(tmp_path / "own.json"))

    assert "\n" not in str(caught.value)
