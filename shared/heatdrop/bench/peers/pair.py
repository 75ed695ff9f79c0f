"""PAIR ``saliency``: GetSmoothedMask(magnitude=True) is the mean of g squared, one pass a sample and class."""

from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import saliency.core as pair
import tensorflow as tf

from heatdrop.bench.peers import Explain
from heatdrop.bench.peers.logits import logits_model


def load(folder: Path) -> Explain:
    """The library leaves computing gradients to its user; here a compiled function does."""
    logits = logits_model(keras.models.load_model(folder / "model.keras", compile=False))
    method = pair.GradientSaliency()

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def gradient(x: Any, index: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = tf.gather(logits(x, training=False), index, axis=1)
        return tape.gradient(score, x)

    def call_model(x: Any, call_model_args: Any = None, expected_keys: Any = None) -> Any:
        found = gradient(tf.constant(x, tf.float32), tf.constant(call_model_args["class"]))
        return {pair.INPUT_OUTPUT_GRADIENTS: found.numpy()}

    def explain(image: Any, classes: list[int], samples: int, sigma: float, noise: Any) -> Any:
        maps = []
        for index in classes:
            given = None if noise is None else iter(noise)

            def normal(mean: float, scale: Any, shape: Any, given: Any = given) -> Any:
                return scale * next(given)

            drawn = np.random.normal if noise is None else normal
            with mock.patch("numpy.random.normal", drawn):
                found = method.GetSmoothedMask(
                    image,
                    call_model,
                    {"class": index},
                    stdev_spread=sigma / float(image.max() - image.min()),
                    nsamples=samples,
                    magnitude=True,
                )
            maps.append(found.max(axis=-1))
        return np.stack(maps)

    return explain
