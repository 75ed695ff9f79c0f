"""Small ONNX graphs for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 3, 7, 6)


def numbers(*shape: int, low: float = -1, high: float = 1, seed: int = 0) -> np.ndarray:
    """Random float32 constants."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


def node(kind: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    """A node that takes the results named in ``inputs``, in order; ``-`` leaves one out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(kind, names, output.split(), name=f"{kind} to {output}", **attributes)


def graph(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any] | None = None,
    *,
    shape: Sequence[int | str] = SHAPE,
    result: str = "y",
    opset: int = 20,
    kind: int = TensorProto.FLOAT,
    outputs: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model from ``x`` to what ``nodes`` give as ``result``, laid flat as (1, values)."""
    whole = [*nodes] if outputs else [*nodes, helper.make_node("Reshape", [result, "flat"], ["scores"])]
    made = helper.make_graph(
        whole,
        "small",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_empty_tensor_value_info(name) for name in outputs or ["scores"]],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in {**(constants or {}), "flat": np.array([1, -1])}.items()
        ],
    )
    for output in made.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    """The model as a file."""
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file
