"""A moving average of a model's weights: on new images it does better than the weights after any one step."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf


class WeightAverage:
    """The exponential moving average of all weights of ``model``, the statistics of its normalisations among them.

    After Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992. It averages over about 1 / (1 - ``decay``) steps; in
    the beginning over about a tenth of the steps taken, if those are fewer.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        self.model, self.decay = model, decay
        self._averages = [tf.Variable(weight.value) for weight in model.weights]
        self._add = tf.function(self._add_weights)

    def update(self, step: int) -> None:
        """Take in the weights as they are after ``step`` steps."""
        self._add(tf.constant(max(1 - self.decay, 9 / (9 + step)), tf.float32))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within this context the model has the averaged weights; afterwards its own again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _add_weights(self, share: tf.Tensor) -> None:
        for average, weight in zip(self._averages, self.model.weights, strict=True):
            average.assign_add((weight.value - average) * tf.cast(share, average.dtype))

    def _swap(self) -> None:
        for average, weight in zip(self._averages, self.model.weights, strict=True):
            current = tf.identity(weight.value)
            weight.assign(average)
            average.assign(current)
