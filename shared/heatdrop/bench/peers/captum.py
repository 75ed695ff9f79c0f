"""Captum: NoiseTunnel of Saliency, the mean of |g|, batched, one call for each class. Needs no TensorFlow."""

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from captum.attr import NoiseTunnel, Saliency

from heatdrop.bench.peers import Explain
from heatdrop.bench.peers.torch_densenet import DenseNet

BATCH = 5


def load(folder: Path) -> Explain:
    """The same DenseNet in torch, its weights carried over and frozen."""
    with np.load(folder / "weights.npz") as weights:
        model = DenseNet(dict(weights)).eval().requires_grad_(False)
    tunnel = NoiseTunnel(Saliency(model))

    def explain(image: Any, classes: list[int], samples: int, sigma: float, noise: Any) -> Any:
        x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        maps = []
        for index in classes:
            given = None if noise is None else iter(noise.transpose(0, 3, 1, 2))

            def normal(mean: Any, deviation: Any, given: Any = given) -> Any:
                drawn = np.stack([next(given) for _ in range(len(deviation))])
                return deviation * torch.from_numpy(drawn)

            with mock.patch("torch.normal", torch.normal if noise is None else normal):
                found = tunnel.attribute(
                    x, nt_samples=samples, nt_samples_batch_size=BATCH, stdevs=float(sigma), target=index
                )
            maps.append(found[0].detach().numpy().max(axis=0))
        return np.stack(maps)

    return explain
