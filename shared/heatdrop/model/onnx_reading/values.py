"""What a node of an ONNX graph gives: a Keras tensor, and which of ONNX's axes each of its axes stands for.

The graph is read for one image, and Keras computes it for each image of a batch. So a Keras tensor has the batch first,
and behind it the axes of ONNX's tensor for a single image, in whatever order they were computed in: images are stored
channels last. Axes of length 1 need not be stored, ONNX's own batch axis for one; moving axes, adding and dropping
those of length 1 then costs nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

HEIGHT_WIDTH_CHANNELS = (2, 3, 1)
"""The order in which Keras stores ONNX's (batch, channels, height, width)."""


@dataclass(frozen=True)
class Value:
    """The result of a node for an image.

    Attributes:
        tensor: Keras's tensor, (batch, ...).
        axes: the axis of ONNX's tensor that each axis behind the batch stands for. Others have the length 1.
        rank: how many axes ONNX's tensor has.
        nonnegative: whether no value can be below 0.
        condition: whether every value is 1, for true, or 0.
    """

    tensor: Any
    axes: tuple[int, ...]
    rank: int
    nonnegative: bool = False
    condition: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ONNX's tensor for one image."""
        sizes = dict(zip(self.axes, self.tensor.shape[1:], strict=True))
        return tuple(sizes.get(axis, 1) for axis in range(self.rank))

    def arranged(self, axes: Sequence[int]) -> Any:
        """Keras's tensor with these axes in this order behind the batch; those left out must have the length 1."""
        if self.axes == tuple(axes):
            return self.tensor
        shape, tensor = self.shape, self.tensor
        longer = [axis for axis in self.axes if shape[axis] != 1]
        wanted = [axis for axis in axes if shape[axis] != 1]
        if longer != wanted:
            if set(longer) != set(wanted):
                raise ValueError(f"axes {longer} cannot be arranged as {wanted}")
            tensor = _reshape(tensor, [shape[axis] for axis in longer])
            tensor = keras.layers.Permute([longer.index(axis) + 1 for axis in wanted])(tensor)
        return _reshape(tensor, [shape[axis] for axis in axes])

    def with_last(self, axis: int) -> "Value":
        """The same with this axis stored last."""
        return self._stored((*(stored for stored in self.axes if stored != axis), axis))

    def as_image(self) -> "Value":
        """The same, of ONNX's rank 4, stored as (height, width, channels)."""
        return self._stored(HEIGHT_WIDTH_CHANNELS)

    def _stored(self, axes: tuple[int, ...]) -> "Value":
        return replace(self, tensor=self.arranged(axes), axes=axes)

    def of_rank(self, rank: int) -> "Value":
        """The same with axes of length 1 put before its own, as ONNX broadcasts."""
        added = rank - self.rank
        return replace(self, axes=tuple(axis + added for axis in self.axes), rank=rank)

    def transposed(self, order: Sequence[int]) -> "Value":
        """ONNX's axes in another order: nothing is computed."""
        return replace(self, axes=tuple(order.index(axis) for axis in self.axes))

    def reshaped(self, target: Sequence[int]) -> "Value":
        """The same values in ONNX's order in another shape.

        Axes that are merged or split are reshaped where they are stored, the others are left alone.
        """
        groups = _matching_axes(self.shape, target)
        place = {axis: position for position, axis in enumerate(self.axes)}
        groups.sort(key=lambda group: min(place[axis] for axis in group[0]))
        tensor = self.arranged([axis for before, _ in groups for axis in before])
        axes = tuple(axis for _, after in groups for axis in after)
        return replace(self, tensor=_reshape(tensor, [target[axis] for axis in axes]), axes=axes, rank=len(target))

    def without(self, axes: Sequence[int]) -> "Value":
        """The same without these axes, all of length 1."""
        kept = [axis for axis in range(self.rank) if axis not in axes]
        return self.reshaped([self.shape[axis] for axis in kept])


def _reshape(tensor: Any, sizes: Sequence[int]) -> Any:
    return tensor if tuple(tensor.shape[1:]) == tuple(sizes) else keras.layers.Reshape(tuple(sizes))(tensor)


def _matching_axes(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Groups of axes longer than 1 of two shapes of as many values: each group before becomes the one after."""
    if math.prod(before) != math.prod(after):
        raise ValueError(f"{tuple(before)} cannot be reshaped to {tuple(after)}")
    sources = [axis for axis, size in enumerate(before) if size != 1]
    targets = [axis for axis, size in enumerate(after) if size != 1]
    groups = []
    while sources:
        group: tuple[list[int], list[int]] = ([sources.pop(0)], [targets.pop(0)])
        have, want = before[group[0][0]], after[group[1][0]]
        while have != want:
            if have < want:
                group[0].append(sources.pop(0))
                have *= before[group[0][-1]]
            else:
                group[1].append(targets.pop(0))
                want *= after[group[1][-1]]
        groups.append(group)
    return groups
