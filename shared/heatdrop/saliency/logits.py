"""A Keras model that gives the logits of a classifier, for methods that take no network of ours."""

from collections.abc import Collection
from typing import Any

import keras

from heatdrop.saliency.reading import calls_of, graph_of, is_graph


def logits_model(model: keras.Model, squashes: Collection[str]) -> keras.Model:
    """A copy of ``model`` without its softmax or sigmoid; its layers keep their names.

    Args:
        model: a functional or sequential classifier.
        squashes: the paths of the layers that squash, as ``ScoreNetworks.squash_layers`` has them. ``base/scores`` is
            the layer ``scores`` of the nested model ``base``, whose layers become layers of the copy.
    """
    # The first copy lends its layers, whose activations are changed; the second one has them connected anew.
    lender = _copy(model)
    graph = graph_of(lender)
    outputs = _rerun(graph, graph.inputs, "", squashes)
    return _copy(keras.Model(graph.inputs, outputs))


def _copy(model: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _rerun(graph: Any, inputs: list[Any], prefix: str, squashes: Collection[str]) -> list[Any]:
    """Call the layers of a functional model again, all but those that squash."""
    tensors = {id(tensor): given for tensor, given in zip(graph.inputs, inputs, strict=True)}
    for call in calls_of(graph):
        args, kwargs = call.arguments.fill_in(tensors)
        path = prefix + call.operation.name
        taken = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
        if path in squashes:
            results = _without_squash(call.operation, taken, args, kwargs)
        elif is_graph(call.operation) and any(squash.startswith(f"{path}/") for squash in squashes):
            results = _rerun(graph_of(call.operation), taken, f"{path}/", squashes)
        else:
            results = keras.tree.flatten(call.operation(*args, **kwargs))
        tensors.update({id(tensor): result for tensor, result in zip(call.outputs, results, strict=True)})
    return [tensors[id(tensor)] for tensor in graph.outputs]


def _without_squash(layer: Any, taken: list[Any], args: Any, kwargs: Any) -> list[Any]:
    # A wrapper such as SpectralNormalization has the activation in the layer that it wraps.
    activated = getattr(layer, "layer", layer)
    if isinstance(activated, keras.layers.Activation | keras.layers.Softmax) or not hasattr(activated, "activation"):
        return taken
    activated.activation = keras.activations.linear
    results: list[Any] = keras.tree.flatten(layer(*args, **kwargs))
    return results
