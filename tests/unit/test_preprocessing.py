"""The input of a model is made exactly as Keras made it when the model was trained."""

from pathlib import Path

import numpy as np
import pytest
from keras import applications

from heatdrop import images
from heatdrop.errors import InvalidRequest
from heatdrop.model.preprocessing import CONVENTIONS, preprocess

KERAS = {
    "densenet": applications.densenet.preprocess_input,
    "imagenet": applications.resnet.preprocess_input,
    "scale01": lambda x: x / np.float32(255),
    "none": lambda x: x,
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
def test_each_convention_equals_that_of_keras(colour, convention) -> None:
    expected = KERAS[convention](colour.astype(np.float32))
    np.testing.assert_allclose(preprocess(colour, convention), expected, rtol=0, atol=2e-6)


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
