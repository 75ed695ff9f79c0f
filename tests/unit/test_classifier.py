"""Predictions through LiteRT are those of the Keras model, on real radiographs."""

from pathlib import Path

import keras
import numpy as np
import pytest

from heatdrop import images
from heatdrop.model import packing
from heatdrop.model.bundle import Bundle
from heatdrop.model.classifier import Classifier, model_input, rank
from heatdrop.model.preprocessing import preprocess


@pytest.fixture(scope="module")
def pictures(radiographs: Path) -> list[images.DecodedImage]:
    """Two radiographs, whole, upside down, and a quarter of each."""
    found = []
    for name in ("RG1_J2KI.dcm", "RG3_J2KI.dcm"):
        pixels = images.decode((radiographs / name).read_bytes()).pixels
        for view in (pixels, pixels[::-1], pixels[:700, :900], pixels[-600:, -500:]):
            found.append(images.DecodedImage(np.ascontiguousarray(view), "PNG", view.shape[1], view.shape[0]))
    return found


def sensitive_model(outputs: int, activation: str) -> keras.Model:
    """A small network whose scores differ much from image to image."""
    keras.utils.set_random_seed(outputs)
    inputs = keras.Input((48, 40, 3))
    x = keras.layers.Conv2D(8, 5, strides=2, activation="relu")(inputs)
    x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(outputs, activation=activation)(x))
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 20)
    return model


def scores_of(classifier: Classifier, picture: images.DecodedImage) -> list[float]:
    found = {p.label: p.score for p in classifier.classify(picture)}
    return [found[label] for label in classifier.bundle.labels]


def test_litert_predicts_what_keras_predicts_for_a_densenet(small_bundle: Bundle, small_model, pictures) -> None:
    classifier = Classifier(small_bundle)
    inputs = np.stack([model_input(picture, small_bundle) for picture in pictures])
    expected = small_model(inputs, training=False).numpy()
    found = np.array([scores_of(classifier, picture) for picture in pictures])
    assert np.ptp(expected, axis=0).min() > 1e-3  # or any scores would do
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_litert_predicts_what_keras_predicts_when_scores_are_extreme(tmp_path: Path, pictures) -> None:
    model = sensitive_model(5, "softmax")
    bundle = packing.pack(model, tmp_path / "b", name="m", labels=list("abcde"), preprocess_as="imagenet")
    classifier = Classifier(bundle)
    inputs = np.stack([preprocess(images.resize(p.pixels, (48, 40)), "imagenet") for p in pictures])
    expected = model(inputs, training=False).numpy()
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose([scores_of(classifier, p) for p in pictures], expected, rtol=0, atol=1e-4)


def test_one_sigmoid_unit_gives_two_classes_that_add_up_to_one(tmp_path: Path, pictures) -> None:
    model = sensitive_model(1, "sigmoid")
    bundle = packing.pack(model, tmp_path / "b", name="m", labels=["ILL", "WELL"], preprocess_as="densenet")
    classifier = Classifier(bundle)
    for picture in pictures:
        second = float(model(model_input(picture, bundle)[None], training=False)[0, 0])
        ill, well = scores_of(classifier, picture)
        assert well == pytest.approx(second, abs=1e-4)
        assert ill + well == pytest.approx(1, abs=1e-6)
        assert [p.label for p in classifier.classify(picture)] == (["WELL", "ILL"] if well > ill else ["ILL", "WELL"])


def test_a_prediction_does_not_depend_on_what_was_predicted_before(small_bundle: Bundle, pictures) -> None:
    once = [Classifier(small_bundle).classify(picture) for picture in pictures[:3]]
    classifier = Classifier(small_bundle, threads=1)
    for _ in range(2):
        again = [classifier.classify(picture) for picture in reversed(pictures[:3])]
        for first, second in zip(once, reversed(again), strict=True):
            assert [p.label for p in first] == [p.label for p in second]
            np.testing.assert_allclose([p.score for p in first], [p.score for p in second], rtol=0, atol=1e-6)


def test_classes_come_best_first_and_equal_ones_in_the_order_of_the_labels() -> None:
    ranked = rank(("a", "b", "c", "d"), np.array([0.2, 0.4, 0.2, 0.2], np.float32))
    assert [p.label for p in ranked] == ["b", "a", "c", "d"]


def test_a_score_that_rounding_took_beyond_a_probability_is_one() -> None:
    ranked = rank(("a", "b"), np.array([-1e-8, 1 + 1e-7], np.float32))
    assert [(p.label, p.score) for p in ranked] == [("b", 1.0), ("a", 0.0)]


def test_the_model_sees_the_whole_image_shrunk_by_averaging(small_bundle: Bundle, pictures) -> None:
    expected = preprocess(images.resize(pictures[0].pixels, (64, 64)), "densenet")
    assert np.array_equal(model_input(pictures[0], small_bundle), expected)
