"""The scores of a classifier and their gradients as one LiteRT graph, which ``litert_engine`` runs."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from heatdrop.head import GradientGraph
from heatdrop.quiet import native_output_hidden
from heatdrop.saliency.litert_engine import ACTIVATIONS, GRADIENTS
from heatdrop.saliency.network import Node
from heatdrop.saliency.operations import Function
from heatdrop.saliency.portable_gradients import NotPortable, portable_gradients
from heatdrop.saliency.scores import ScoreNetworks

BATCH = 5
"""Noisy copies in a batch."""

SLOTS = 3
"""Classes whose gradients one pass computes, from one forward pass: as many as are explained by default."""


def export_gradients(
    scores: ScoreNetworks, input_shape: Sequence[int], layer: str | None = None
) -> tuple[bytes, GradientGraph]:
    """Write the gradients of a classifier as a LiteRT graph of built-in operations.

    It has signatures for the gradients of one class and of ``SLOTS`` classes (of two, if there are no more), and one
    for what class activation maps are made of. Weights are part of the file once.

    Args:
        scores: of the classifier.
        input_shape: (H, W, C) of its input.
        layer: the path of the layer for class activation maps, which ``scores`` were told to keep.

    Raises:
        Exception: of TensorFlow or its converter, of many kinds: an operation has no gradient that LiteRT can compute.
    """
    head, graph = scores.head, _Graph(scores, input_shape)
    slots = (1,) if head.two_sided else (1, min(SLOTS, head.classes))
    functions = {f"{GRADIENTS}{count}": graph.gradients(count) for count in slots}
    activations = graph.activations(max(slots), layer) if layer else None
    if activations:
        functions[ACTIVATIONS] = activations
    description = GradientGraph(
        head=head,
        differentiated=graph.differentiated,
        batch=BATCH,
        slots=slots,
        layer=layer if activations else None,
    )
    return _converted(functions), description


def _converted(functions: Mapping[str, Any]) -> bytes:
    """A LiteRT file with a signature for each function."""
    signatures = {name: function.get_concrete_function() for name, function in functions.items()}
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with tempfile.TemporaryDirectory() as folder, native_output_hidden():
        tf.saved_model.save(tf.Module(), folder, signatures, options)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        converter.exclude_conversion_metadata = True
        return bytes(converter.convert())


class _Graph:
    """The functions of a graph.

    Attributes:
        differentiated: the scores that they can differentiate.
    """

    def __init__(self, scores: ScoreNetworks, input_shape: Sequence[int]) -> None:
        self._scores, self._input_shape = scores, input_shape
        self._tail = _tail(scores)
        self.differentiated = scores.head.scores if self._tail else (scores.head.explained("logit"),)
        self._network = scores.networks[scores.head.explained("logit")]

    def gradients(self, count: int) -> Any:
        """A function of ``images`` (B, H, W, C) and ``upstream`` (K, outputs): the gradients (K, B, H, W, C).

        ``upstream`` are the weights with which the outputs are summed up to what is differentiated: of the logits, or
        where ``of_probability`` is 1, of the probabilities.
        """
        signature = [
            tf.TensorSpec((BATCH, *self._input_shape), tf.float32, "images"),
            tf.TensorSpec((count, self._scores.outputs), tf.float32, "upstream"),
        ]
        if self._tail:
            signature.append(tf.TensorSpec((), tf.float32, "of_probability"))

        def compute(images: Any, upstream: Any, of_probability: Any = None) -> dict[str, Any]:
            with portable_gradients():
                values = self._network.build_values(plain=True)(images)
                squashed = self._tail(values)[-1] if self._tail else None
            outputs = values[-1]
            found = []
            for position in range(count):
                weights = tf.zeros_like(outputs) + upstream[position]
                if squashed is not None:
                    of_probabilities = _gradient(squashed, outputs, weights)
                    weights = weights + of_probability * (of_probabilities - weights)
                found.append(_gradient(outputs, images, weights))
            return {"gradients": tf.stack(found)}

        return tf.function(compute, autograph=False, input_signature=signature)

    def activations(self, count: int, layer: str) -> Any:
        """A function of ``images`` (1, H, W, C) and ``upstream`` (K, outputs), as in ``gradients``.

        Returns the results of a layer (1, h, w, c), the gradients of the outputs with respect to them (K, h, w, c),
        and the outputs (1, outputs). None where the results are no images.
        """
        signature = [
            tf.TensorSpec((1, *self._input_shape), tf.float32, "images"),
            tf.TensorSpec((count, self._scores.outputs), tf.float32, "upstream"),
        ]
        place = max(index for index, node in enumerate(self._network.nodes) if node.layer == layer)

        def compute(images: Any, upstream: Any) -> dict[str, Any]:
            with portable_gradients():
                values = self._network.build_values(plain=True)(images)
            outputs, activations = values[-1], values[place]
            found = [_gradient(outputs, activations, upstream[position][None])[0] for position in range(count)]
            return {"activations": activations, "gradients": tf.stack(found), "outputs": outputs}

        function = tf.function(compute, autograph=False, input_signature=signature)
        are_maps = function.get_concrete_function().structured_outputs["activations"].shape.rank == 4
        return function if are_maps else None


def _gradient(of: Any, by: Any, weights: Any) -> Any:
    (found,) = tf.gradients(of, by, weights)
    if found is None:
        raise NotPortable("no gradient comes through")
    return found


def _tail(scores: ScoreNetworks) -> Function | None:
    """What follows the logits in the network of the probabilities; None if it is not just something that follows."""
    if len(scores.networks) < 2:
        return None
    logits, probabilities = scores.networks["logit"], scores.networks["probability"]
    known = len(logits.nodes)
    if not all(map(_same, logits.nodes, probabilities.nodes[:known])):
        return None
    return probabilities.build_values(plain=True)


def _same(one: Node, other: Node) -> bool:
    return one.operation is other.operation and one.inputs == other.inputs
