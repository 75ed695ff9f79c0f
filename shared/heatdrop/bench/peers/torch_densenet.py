"""A DenseNet in torch that computes the same as a Keras DenseNet, from that one's weights."""

import json
from typing import Any

import numpy as np
import torch
from torch.nn import functional

# Keras's DenseNets, and the normalisation of single images in Heatdrop's own.
_EPSILON = 1.001e-5
_STANDARDISE_EPSILON = 1e-4


class DenseNet(torch.nn.Module):  # type: ignore[misc]
    """(B, 3, H, W) to logits (B, classes)."""

    def __init__(self, weights: dict[str, Any]) -> None:
        """Take the arrays of ``subjects.layer_weights``."""
        super().__init__()
        description = json.loads(str(weights.pop("description")))
        self.blocks: list[int] = description["blocks"]
        self.standardise: bool = description["standardise"]
        self.head: str = description["head"]
        for name, values in weights.items():
            if name.endswith("/kernel") and values.ndim == 4:
                values = values.transpose(3, 2, 0, 1)
            self.register_buffer(name.replace("/", "__"), torch.from_numpy(np.ascontiguousarray(values)))

    def _weight(self, layer: str, name: str) -> Any:
        return getattr(self, f"{layer}__{name}")

    def _normalise(self, x: Any, layer: str) -> Any:
        mean, variance = self._weight(layer, "moving_mean"), self._weight(layer, "moving_variance")
        scale, shift = self._weight(layer, "gamma"), self._weight(layer, "beta")
        return functional.batch_norm(x, mean, variance, scale, shift, False, 0.0, _EPSILON)

    def _convolve(self, x: Any, layer: str, stride: int = 1, padding: int = 0) -> Any:
        return functional.conv2d(x, self._weight(layer, "kernel"), None, stride, padding)

    def _dense_layer(self, x: Any, name: str) -> Any:
        y = self._convolve(functional.relu(self._normalise(x, f"{name}_0_bn")), f"{name}_1_conv")
        y = self._convolve(functional.relu(self._normalise(y, f"{name}_1_bn")), f"{name}_2_conv", padding=1)
        return torch.cat([x, y], dim=1)

    def forward(self, x: Any) -> Any:
        """Compute the logits."""
        if self.standardise:
            x = functional.group_norm(x, 1, eps=_STANDARDISE_EPSILON)
        x = functional.relu(self._normalise(self._convolve(x, "conv1_conv", 2, 3), "conv1_bn"))
        x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 2)
        for stage, layers in enumerate(self.blocks, start=2):
            for number in range(1, layers + 1):
                x = self._dense_layer(x, f"conv{stage}_block{number}")
            if stage < 5:
                x = functional.relu(self._normalise(x, f"pool{stage}_bn"))
                x = functional.avg_pool2d(self._convolve(x, f"pool{stage}_conv"), 2, 2)
        x = functional.relu(self._normalise(x, "bn")).mean(dim=(2, 3))
        return x @ self._weight(self.head, "kernel") + self._weight(self.head, "bias")
