"""tf-keras-vis: the mean of |g|, one eager forward and backward pass a sample and class."""

from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
from tf_keras_vis.utils.scores import CategoricalScore

from heatdrop.bench.peers import Explain


def load(folder: Path) -> Explain:
    """Explain logits, as Heatdrop does by default."""
    saliency = Saliency(
        keras.models.load_model(folder / "model.keras", compile=False), model_modifier=ReplaceToLinear(), clone=True
    )

    def explain(image: Any, classes: list[int], samples: int, sigma: float, noise: Any) -> Any:
        def normal(mean: float, scale: Any, shape: Any) -> Any:
            return np.asarray(scale) * noise[:, None]

        level = sigma / float(image.max() - image.min())
        maps = []
        for index in classes:
            drawn = np.random.normal if noise is None else normal
            with mock.patch("numpy.random.normal", drawn):
                found = saliency(
                    CategoricalScore(index),
                    image[None],
                    smooth_samples=samples,
                    smooth_noise=level,
                    normalize_map=False,
                )
            maps.append(np.asarray(found)[0])
        return np.stack(maps)

    return explain
