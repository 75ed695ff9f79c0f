"""Finds the Gelu that exporters write as several nodes before opset 20: LiteRT has a Gelu, but no error function."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto, helper

from heatdrop.model.onnx_reading.files import Array

_SAMPLES = np.linspace(-4, 4, 33)
_GELU = np.array([x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in _SAMPLES])
_ERF = np.vectorize(math.erf)

_ARITHMETIC = {"Add": np.add, "Mul": np.multiply, "Div": np.divide}
_REACH = 12
"""Nodes in a row, from the first that takes x, within which a Gelu is looked for: it has five."""


def with_gelus(nodes: Sequence[NodeProto], constants: Mapping[str, Array]) -> list[NodeProto]:
    """The nodes, with a Gelu in place of each whose result is one: found by computing it for some numbers.

    Args:
        nodes: of a graph, in their order.
        constants: those of a single value, by name.
    """
    found = {
        id(node): _gelu_at(position, nodes, constants) for position, node in enumerate(nodes) if node.op_type == "Erf"
    }
    made = dict(replacement for replacement in found.values() if replacement is not None)
    return [made.get(id(node), node) for node in nodes]


def _gelu_at(position: int, nodes: Sequence[NodeProto], constants: Mapping[str, Array]) -> tuple[int, NodeProto] | None:
    """For the Erf at ``position``, the id of the node that gives x's Gelu, and the Gelu in its place."""
    around = nodes[max(0, position - _REACH) : position + _REACH]
    divided = next((node for node in around if nodes[position].input[0] in node.output), None)
    for x in divided.input if divided is not None else ():
        if x in constants:
            continue
        results = {x: _SAMPLES}
        for node in around:
            computed = _computed(node, results, constants)
            if computed is None:
                continue
            results[node.output[0]] = computed
            if np.allclose(computed, _GELU, atol=1e-4):
                return id(node), helper.make_node("Gelu", [x], list(node.output), name=node.name)
    return None


def _computed(node: NodeProto, results: Mapping[str, Array], constants: Mapping[str, Array]) -> Array | None:
    """What a node gives, where it takes nothing but ``results`` and constants."""
    if not any(name in results for name in node.input):
        return None
    taken = [results.get(name, constants.get(name)) for name in node.input]
    if any(value is None for value in taken):
        return None
    if node.op_type == "Erf":
        return np.asarray(_ERF(taken[0]))
    if node.op_type not in _ARITHMETIC or len(taken) != 2:
        return None
    with np.errstate(all="ignore"):
        left, right = np.asarray(taken[0]), np.asarray(taken[1])
        return np.asarray(_ARITHMETIC[node.op_type](left, right))
