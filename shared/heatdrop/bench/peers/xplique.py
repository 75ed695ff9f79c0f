"""Xplique: the signed mean of the gradients, batched, one call for each class."""

from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from xplique.attributions import SmoothGrad
from xplique.attributions.gradient_statistics.gradient_statistic import GradientStatistic

from heatdrop.bench.peers import Explain
from heatdrop.bench.peers.logits import logits_model

BATCH = 5


def load(folder: Path) -> Explain:
    """Explain logits, without reducing channels, so that their maximum can be taken as in Heatdrop."""
    logits = logits_model(keras.models.load_model(folder / "model.keras", compile=False))
    outputs = logits.output_shape[-1]
    explainers: dict[tuple[int, float], SmoothGrad] = {}

    def explain(image: Any, classes: list[int], samples: int, sigma: float, noise: Any) -> Any:
        explainer = explainers.setdefault(
            (samples, sigma), SmoothGrad(logits, batch_size=BATCH, reducer=None, nb_samples=samples, noise=sigma)
        )
        maps = []
        for index in classes:
            target = tf.one_hot([index], outputs)
            if noise is None:
                found = explainer.explain(image[None], target)
            else:
                with mock.patch.object(GradientStatistic, "_perturb_samples", staticmethod(_given(noise))):
                    found = explainer.explain(image[None], target)
            maps.append(np.abs(np.asarray(found)[0]).max(axis=-1))
        return np.stack(maps)

    return explain


def _given(noise: Any) -> Any:
    position = 0

    def perturb(inputs: Any, count: int, sigma: float) -> Any:
        nonlocal position
        position += count
        return tf.repeat(inputs, count, axis=0) + sigma * noise[position - count : position]

    return perturb
