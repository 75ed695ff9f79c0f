"""A user's own model of another family goes the same way as a DenseNet: packed, predicted with, explained."""

import io
from pathlib import Path

import keras
import numpy as np
import pytest

from heatdrop import images
from heatdrop.bench.subjects import radiographs
from heatdrop.explaining.explainer import Explainer
from heatdrop.model import packing
from heatdrop.model.classifier import Classifier, model_input
from heatdrop.vocabulary import ExplanationSettings

LABELS = ("BACTERIAL", "NORMAL", "VIRAL")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Transfer learning as tutorials write it: a MobileNet as one layer, a head behind it."""
    keras.utils.set_random_seed(2)
    base = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(64, 64, 3), pooling="avg")
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    # Without training, a signal would not come through its layers; now they are normalised by what they see.
    base(radiographs((64, 64), 4, "scale01"), training=True)
    return keras.Sequential([keras.Input((64, 64, 3)), base, keras.layers.Dense(3, activation="softmax")])


@pytest.mark.slow
def test_a_model_of_another_family_is_packed_predicts_as_keras_does_and_is_explained(
    tmp_path: Path, chest_jpeg: Path, model: keras.Model
) -> None:
    bundle = packing.pack(model, tmp_path / "own", name="own", labels=LABELS, preprocess_as="scale01")
    data = chest_jpeg.read_bytes()
    image = images.decode(data, at_least=bundle.size)
    inputs = model_input(image, bundle)[None]

    predictions = Classifier(bundle).classify(image)
    explanation = Explainer(bundle, ExplanationSettings(top=1, samples=0)).explain(data, predictions)

    expected = dict(zip(LABELS, model(inputs, training=False).numpy()[0], strict=True))
    assert {p.label: p.score for p in predictions} == pytest.approx(expected, abs=1e-4)
    with np.load(io.BytesIO(explanation.heatmaps[0].maps[1])) as maps:
        found = maps["mean_abs"]
    wanted = plain_gradient(model, inputs, LABELS.index(predictions[0].label))
    # A ReLU that rounding puts on its other side moves the gradient by up to 4 % in either implementation.
    assert np.linalg.norm(found - wanted) < 0.06 * np.linalg.norm(wanted)


def plain_gradient(model: keras.Model, inputs: np.ndarray, index: int) -> np.ndarray:
    """|d logit / d input|, the maximum over channels, by TensorFlow alone."""
    import tensorflow as tf

    base, dense = model.layers
    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = (tf.matmul(base(x, training=False), dense.kernel) + dense.bias)[:, index]
    return np.abs(tape.gradient(score, x).numpy())[0].max(-1)
