"""Each operator that is read gives what ONNX Runtime computes, for each image of a batch."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from tests.unit.onnx_graphs import graph, node, numbers, saved

from heatdrop.model.onnx_reading import read_onnx
from heatdrop.model.onnx_reading.table import OPERATORS

CONV = {"w": numbers(4, 3, 3, 3), "b": numbers(4)}
STATISTICS = {
    "scale": numbers(3, low=0.5, high=2),
    "shift": numbers(3),
    "mean": numbers(3),
    "variance": numbers(3, low=0.5, high=2),
}
GATE = [node("GlobalAveragePool", "x", "p"), node("Conv", "p w", "g", kernel_shape=[1, 1]), node("Sigmoid", "g", "s")]


def conv(**attributes: Any) -> list[onnx.NodeProto]:
    return [node("Conv", "x w b", **attributes)]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def pool(kind: str, **attributes: Any) -> list[onnx.NodeProto]:
    return [node(kind, "x", kernel_shape=[3, 3], **attributes)]


def unary(kind: str, **attributes: Any) -> tuple[list[onnx.NodeProto], dict]:
    return [node(kind, "x", **attributes)], {}


def after_abs(*nodes: onnx.NodeProto) -> list[onnx.NodeProto]:
    return [node("Abs", "x", "a"), *nodes]


def through_constants() -> list[onnx.NodeProto]:
    """As exporters write a reshape that keeps the batch."""
    return [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "batch"),
        node("Unsqueeze", "batch first", "batches"),
        node("Concat", "batches rest", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]


HEADS = {"q": numbers(3, 4), "k": numbers(3, 4), "v": numbers(3, 4)}


def attention() -> list[onnx.NodeProto]:
    """Two heads over the pixels as tokens, batch and heads merged as torch's MultiheadAttention merges them."""
    return [
        node("Reshape", "x tokens", "t"),
        node("Transpose", "t", "u", perm=[2, 0, 1]),
        *(node("MatMul", f"u {name}", f"{name}_all") for name in HEADS),
        *(node("Reshape", f"{name}_all heads", f"{name}_heads") for name in HEADS),
        *(node("Transpose", f"{name}_heads", f"{name}_of", perm=[1, 0, 2]) for name in "qv"),
        node("Transpose", "k_heads", "k_of", perm=[1, 2, 0]),
        node("MatMul", "q_of k_of", "products"),
        node("Mul", "products half", "scaled"),
        node("Softmax", "scaled", "weights", axis=-1),
        node("MatMul", "weights v_of", "z"),
        node("Transpose", "z", "y", perm=[1, 0, 2]),
    ]


CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "Conv": (conv(), CONV),
    "Conv, padded": (conv(pads=[1, 1, 1, 1]), CONV),
    "Conv, padded on one side": (conv(pads=[2, 0, 1, 1]), CONV),
    "Conv, stride 2, padded": (conv(pads=[1, 1, 1, 1], strides=[2, 2]), CONV),
    "Conv, uneven strides": (conv(pads=[1, 1, 1, 1], strides=[2, 1]), CONV),
    "Conv, dilated": (conv(dilations=[2, 2], pads=[2, 2, 2, 2]), CONV),
    "Conv, dilated with a stride": (conv(dilations=[2, 1], strides=[2, 2], pads=[2, 1, 2, 1]), CONV),
    "Conv, SAME_LOWER": (conv(auto_pad="SAME_LOWER", strides=[2, 2]), CONV),
    "Conv, SAME_UPPER": (conv(auto_pad="SAME_UPPER", strides=[2, 2]), CONV),
    "Conv, VALID": (conv(auto_pad="VALID"), CONV),
    "Conv, no bias": ([node("Conv", "x w")], CONV),
    "Conv, a kernel of its own shape": (conv(), {"w": numbers(4, 3, 1, 5), "b": numbers(4)}),
    "Conv, depthwise": (conv(group=3, strides=[2, 2]), {"w": numbers(6, 1, 3, 3), "b": numbers(6)}),
    "Conv, depthwise, uneven strides": (conv(group=3, strides=[1, 2]), {"w": numbers(3, 1, 3, 3), "b": numbers(3)}),
    "Conv, grouped": (
        [node("Conv", "x w", "z"), node("Conv", "z g", "y", group=2, pads=[1, 1, 1, 1])],
        CONV | {"g": numbers(6, 2, 3, 3)},
    ),
    "Conv, of one axis": (
        [node("GlobalAveragePool", "x", "p"), node("Reshape", "p to", "r"), node("Conv", "r w", "y", pads=[1, 1])],
        {"to": ints(1, 1, 3), "w": numbers(1, 1, 3)},
    ),
    "ConvTranspose": ([node("ConvTranspose", "x w b", strides=[2, 2])], {"w": numbers(3, 4, 3, 3), "b": numbers(4)}),
    "ConvTranspose, padded": (
        [node("ConvTranspose", "x w b", strides=[2, 2], pads=[1, 0, 1, 1], output_padding=[1, 0])],
        {"w": numbers(3, 4, 3, 3), "b": numbers(4)},
    ),
    "ConvTranspose, strides beyond its kernel": (
        [node("ConvTranspose", "x w b", strides=[3, 3], output_padding=[2, 1])],
        {"w": numbers(3, 4, 2, 2), "b": numbers(4)},
    ),
    "ConvTranspose, dilated": ([node("ConvTranspose", "x w", dilations=[2, 1])], {"w": numbers(3, 2, 3, 3)}),
    "MaxPool": (pool("MaxPool", strides=[2, 2]), {}),
    "MaxPool, padded, below zero": (pool("MaxPool", strides=[2, 2], pads=[1, 1, 1, 1]), {}),
    "MaxPool, padded on one side": (
        [node("Sub", "x ten", "z"), node("MaxPool", "z", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 0, 0, 1])],
        {"ten": np.float32(10)},
    ),
    "MaxPool, padded behind a ReLU": (
        [node("Relu", "x", "r"), node("MaxPool", "r", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])],
        {},
    ),
    "MaxPool, ceil": (pool("MaxPool", strides=[2, 2], ceil_mode=1), {}),
    "MaxPool, ceil and padded": (pool("MaxPool", strides=[3, 3], ceil_mode=1, pads=[1, 1, 1, 1]), {}),
    "AveragePool": (pool("AveragePool", strides=[1, 2]), {}),
    "AveragePool, padded": (pool("AveragePool", strides=[2, 2], pads=[1, 1, 1, 1]), {}),
    "AveragePool, padding counts": (pool("AveragePool", pads=[1, 1, 1, 1], count_include_pad=1), {}),
    "AveragePool, uneven padding": (pool("AveragePool", pads=[0, 2, 1, 0], strides=[2, 2]), {}),
    "AveragePool, ceil": (pool("AveragePool", strides=[2, 2], ceil_mode=1), {}),
    "AveragePool, same": (pool("AveragePool", auto_pad="SAME_UPPER", strides=[2, 2]), {}),
    "GlobalAveragePool": (unary("GlobalAveragePool")),
    "GlobalMaxPool": (unary("GlobalMaxPool")),
    "BatchNormalization": ([node("BatchNormalization", "x scale shift mean variance", epsilon=1e-3)], STATISTICS),
    "BatchNormalization of features": (
        [
            node("GlobalAveragePool", "x", "p"),
            node("Flatten", "p", "f"),
            node("BatchNormalization", "f scale shift mean variance"),
        ],
        STATISTICS,
    ),
    "LayerNormalization, last axis": (
        [node("LayerNormalization", "x scale shift")],
        {"scale": numbers(6), "shift": numbers(6)},
    ),
    "LayerNormalization, whole image": (
        [node("LayerNormalization", "x scale shift", axis=1)],
        {"scale": numbers(3, 7, 6), "shift": numbers(3, 7, 6)},
    ),
    "LayerNormalization over channels": (
        [
            node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
            node("LayerNormalization", "t scale", "n", axis=-1),
            node("Transpose", "n", "y", perm=[0, 3, 1, 2]),
        ],
        {"scale": numbers(3)},
    ),
    "InstanceNormalization": ([node("InstanceNormalization", "x scale shift")], STATISTICS),
    "GroupNormalization of old": (
        [
            node("Conv", "x w b", "z"),
            node("Reshape", "z to", "r"),
            node("InstanceNormalization", "r one zero"),
        ],
        CONV | {"to": ints(0, 2, -1), "one": np.ones(2, np.float32), "zero": np.zeros(2, np.float32)},
    ),
    "Gemm": (
        [node("Flatten", "x", "f"), node("Gemm", "f w b", alpha=0.5, beta=2.0, transB=1)],
        {"w": numbers(4, 126), "b": numbers(4)},
    ),
    "Gemm, one bias": (
        [node("Flatten", "x", "f"), node("Gemm", "f w b")],
        {"w": numbers(126, 4), "b": numbers(1)},
    ),
    "MatMul from the right": ([node("MatMul", "x w")], {"w": numbers(6, 5)}),
    "MatMul from the left": ([node("MatMul", "w x")], {"w": numbers(5, 7)}),
    "MatMul of two": ([node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t")], {}),
    "attention": (
        attention(),
        HEADS | {"tokens": ints(1, 3, 42), "heads": ints(42, 2, 2), "half": np.float32(0.5)},
    ),
    "Clip, ReLU6": ([node("Clip", "x low high")], {"low": np.float32(0), "high": np.float32(6)}),
    "Clip, from below": ([node("Clip", "x low")], {"low": np.float32(-0.5)}),
    "Clip, from above": ([node("Clip", "x - high")], {"high": np.float32(0.5)}),
    "PRelu": ([node("PRelu", "x slope")], {"slope": numbers(3, 1, 1)}),
    "LeakyRelu": unary("LeakyRelu", alpha=0.2),
    "Elu": unary("Elu", alpha=0.7),
    "HardSigmoid": unary("HardSigmoid", alpha=0.3, beta=0.4),
    "HardSigmoid of torch": unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    "Gelu": unary("Gelu"),
    "Gelu by tanh": unary("Gelu", approximate="tanh"),
    "Gelu of torch": (
        [
            node("Div", "x root", "d"),
            node("Erf", "d", "e"),
            node("Add", "e one", "a"),
            node("Mul", "x a", "m"),
            node("Mul", "m half"),
        ],
        {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)},
    ),
    "Gelu of TensorFlow": (
        [
            node("Mul", "x root", "d"),
            node("Erf", "d", "e"),
            node("Add", "one e", "a"),
            node("Mul", "half x", "h"),
            node("Mul", "h a"),
        ],
        {"root": np.float32(0.5**0.5), "one": np.float32(1), "half": np.float32(0.5)},
    ),
    **{
        kind: unary(kind)
        for kind in (
            *("Abs", "Erf", "Exp", "HardSwish", "Identity", "LogSoftmax", "Mish", "Neg", "Relu", "Selu", "Sigmoid"),
            *("Softmax", "Softplus", "Softsign", "Tanh"),
        )
    },
    "Log and Sqrt": (
        after_abs(node("Add", "a one", "p"), node("Log", "p", "l"), node("Sqrt", "p", "r"), node("Mul", "l r")),
        {"one": np.float32(1)},
    ),
    "Reciprocal": (after_abs(node("Add", "a one", "p"), node("Reciprocal", "p")), {"one": np.float32(1)}),
    "Pow": ([node("Pow", "x two")], {"two": np.float32(2)}),
    "Softmax along channels": unary("Softmax", axis=1),
    **{
        f"{kind} of a constant a channel": ([node(kind, "x c")], {"c": numbers(3, 1, 1, low=0.5)})
        for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min")
    },
    **{
        f"{kind}, constant first": (
            [node(kind, "c x", "z"), node("Clip", "z low high")],
            {"c": numbers(3, 1, 1), "low": np.float32(-9), "high": np.float32(9)},
        )
        for kind in ("Sub", "Div")
    },
    "Add of a constant for each pixel": ([node("Add", "x c")], {"c": numbers(1, 1, 7, 6)}),
    "Add of a constant for each column": ([node("Add", "x c")], {"c": numbers(6)}),
    "Add of a constant of more axes": (
        [node("Add", "x c", "z"), node("Squeeze", "z first")],
        {"c": numbers(1, 1, 3, 7, 6), "first": ints(0)},
    ),
    "Mul by a gate": ([*GATE, node("Mul", "x s")], {"w": numbers(3, 3, 1, 1)}),
    "Div by the greatest": ([node("GlobalMaxPool", "x", "m"), node("Div", "x m")], {}),
    "Sum and Mean": (
        [node("Relu", "x", "r"), node("Sum", "x r r", "s"), node("Mean", "x s c")],
        {"c": numbers(3, 1, 1)},
    ),
    "Max of three": ([node("Neg", "x", "n"), node("Max", "x n c")], {"c": np.float32(0.5)}),
    "Where by a mask": ([node("Where", "m x c")], {"m": numbers(7, 6) > 0, "c": np.float32(3)}),
    "Where always": ([node("Where", "m x c")], {"m": np.array(True), "c": np.float32(3)}),
    "Cast": ([node("Cast", "x", "h", to=11), node("Cast", "h", "y", to=1)], {}),
    "Concat of channels": ([node("Relu", "x", "r"), node("Concat", "x r x", axis=1)], {}),
    "Concat of rows": ([node("Relu", "x", "r"), node("Concat", "x r", axis=-2)], {}),
    "Concat with a class token": (
        [
            node("Reshape", "x to", "r"),
            node("Transpose", "r", "t", perm=[0, 2, 1]),
            node("Concat", "token t", axis=1),
        ],
        {"to": ints(0, 3, -1), "token": numbers(1, 1, 3)},
    ),
    "Concat with constants around": ([node("Concat", "a x a", axis=1)], {"a": numbers(1, 2, 7, 6)}),
    "DepthToSpace": ([node("Conv", "x w", "z"), node("DepthToSpace", "z", blocksize=2)], {"w": numbers(8, 3, 3, 3)}),
    "DepthToSpace, CRD": (
        [node("Conv", "x w", "z"), node("DepthToSpace", "z", blocksize=2, mode="CRD")],
        {"w": numbers(8, 3, 3, 3)},
    ),
    "SpaceToDepth": ([node("Conv", "x w", "z"), node("SpaceToDepth", "z", blocksize=2)], {"w": numbers(2, 3, 2, 3)}),
    "channel shuffle": (
        [
            node("Conv", "x w", "z"),
            node("Reshape", "z split", "s"),
            node("Transpose", "s", "t", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "t back"),
        ],
        {"w": numbers(6, 3, 1, 1), "split": ints(1, 2, 3, 7, 6), "back": ints(1, 6, 7, 6)},
    ),
    "Expand": ([node("GlobalAveragePool", "x", "p"), node("Expand", "p to")], {"to": ints(1, 3, 2, 5)}),
    "Tile": ([node("Tile", "x times")], {"times": ints(1, 2, 1, 3)}),
    "Flatten at the end": unary("Flatten", axis=4),
    "Flatten in the middle": ([node("Flatten", "x", "f", axis=2), node("Reshape", "f to")], {"to": ints(1, -1)}),
    "Gather one": ([node("Gather", "x one", axis=1)], {"one": np.array(1)}),
    "Gather the image": ([node("Gather", "x zero", "g", axis=0), node("Unsqueeze", "g zero")], {"zero": ints(0)}),
    "Gather several": ([node("Gather", "x i", axis=-1)], {"i": ints(-1, 0, 0, 3)}),
    "Gather a table": ([node("Gather", "x i", axis=2)], {"i": ints(3, 0, 0, 6).reshape(2, 2)}),
    "Gather from all pixels": (
        [node("Reshape", "x all", "f"), node("Gather", "f i")],
        {"all": ints(-1), "i": np.arange(126)[::-1].reshape(1, 126).copy()},
    ),
    "Pad": ([node("Pad", "x pads")], {"pads": ints(0, 0, 1, 2, 0, 0, 0, 3)}),
    "Pad with a value": ([node("Pad", "x pads v")], {"pads": ints(0, 1, 1, 0, 0, 0, 0, 3), "v": np.float32(-2)}),
    "Pad by reflection": ([node("Pad", "x pads", mode="reflect")], {"pads": ints(0, 0, 2, 2, 0, 0, 2, 2)}),
    "Pad, chosen axes": ([node("Pad", "x pads - axes")], {"pads": ints(1, 2), "axes": ints(-1)}),
    "Reshape through constants": (
        through_constants(),
        {"zero": np.array(0), "first": ints(0), "rest": ints(3, 42)},
    ),
    "Resize, doubled": ([node("Resize", "x - s", mode="nearest")], {"s": np.float32([1, 1, 2, 2])}),
    "Resize, linear": (
        [node("Resize", "x - - sizes", mode="linear", coordinate_transformation_mode="align_corners")],
        {"sizes": ints(1, 3, 10, 4)},
    ),
    "Resize, asymmetric": (
        [node("Resize", "x - s", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        {"s": np.float32([1, 1, 1.5, 3])},
    ),
    "Resize, cubic": ([node("Resize", "x - - sizes", mode="cubic")], {"sizes": ints(1, 3, 14, 12)}),
    "Slice": (
        [node("Slice", "x a b axes steps")],
        {"a": ints(1, -1), "b": ints(6, -9), "axes": ints(2, 3), "steps": ints(2, -2)},
    ),
    "Slice, no axes": ([node("Slice", "x a b")], {"a": ints(0, 1), "b": ints(1, 2**40)}),
    "Split": ([node("Split", "x", "a b c", axis=1, num_outputs=3), node("Sub", "c a")], {}),
    "Split, uneven": ([node("Split", "x sizes", "a b", axis=2), node("Concat", "b a", axis=2)], {"sizes": ints(2, 5)}),
    "Squeeze and Unsqueeze": (
        [node("Unsqueeze", "x i", "u"), node("Mul", "u u", "m"), node("Squeeze", "m i")],
        {"i": ints(1, 5)},
    ),
    "Transpose": unary("Transpose", perm=[0, 3, 1, 2]),
    "Transpose of all": ([node("Transpose", "x", "t"), node("Transpose", "t")], {}),
    "ReduceMean of an image": ([node("ReduceMean", "x axes")], {"axes": ints(-1, -2)}),
    "ReduceMean of an image, dropped": (
        [node("ReduceMean", "x axes", "m", keepdims=0), node("Mul", "m m")],
        {"axes": ints(2, 3)},
    ),
    "ReduceMean of channels": ([node("ReduceMean", "x axes")], {"axes": ints(1)}),
    "ReduceSum of all": ([node("ReduceSum", "x")], {}),
    "ReduceMax and ReduceMin": (
        [node("ReduceMax", "x axes", "a"), node("ReduceMin", "x axes", "b"), node("Sub", "a b")],
        {"axes": ints(3)},
    ),
    "Where by a comparison": (
        [node("Relu", "x", "r"), node("Greater", "x c", "g"), node("Where", "g r c")],
        {"c": numbers(3, 1, 1)},
    ),
    "Where of two tensors": (
        [
            node("GlobalAveragePool", "x", "p"),
            node("LessOrEqual", "x p", "a"),
            node("GreaterOrEqual", "low x", "b"),
            node("Equal", "x x", "c"),
            node("And", "a c", "d"),
            node("Not", "b", "e"),
            node("And", "d e", "f"),
            node("Where", "f x p"),
        ],
        {"low": np.float32(-1)},
    ),
    "ReduceL2": ([node("ReduceL2", "x axes", "n"), node("Div", "x n")], {"axes": ints(1)}),
}

MASK = {"t": np.array([0.2, 0.5, np.nan], np.float32), "two": np.float32(2), "one": np.float32(1), "all": ints(-1)}


def by_mask() -> list[onnx.NodeProto]:
    """Scores above and below a threshold scaled by themselves: as torchxrayvision's normalisation is exported."""
    return [
        node("GlobalAveragePool", "x", "p"),
        node("Flatten", "p", "f"),
        node("Sigmoid", "f", "s"),
        node("IsNaN", "t", "unknown"),
        node("Not", "unknown", "known"),
        node("Less", "s t", "less"),
        node("And", "less known", "below"),
        node("Not", "less", "more"),
        node("And", "more known", "above"),
        node("NonZero", "below", "places"),
        node("Transpose", "places", "where", perm=[1, 0]),
        node("GatherND", "s where", "picked"),
        node("GatherND", "tt where", "thresholds"),
        node("Mul", "thresholds two", "doubled"),
        node("Div", "picked doubled", "scaled"),
        node("Reshape", "below all", "flat_mask"),
        node("Cast", "flat_mask", "numbers", to=7),
        node("ReduceSum", "numbers", "count", keepdims=0),
        node("Unsqueeze", "count zero", "counts"),
        node("Expand", "scaled counts", "expanded"),
        node("Reshape", "expanded all", "values"),
        node("ScatterND", "half where values", "first"),
        node("NonZero", "above", "others"),
        node("Transpose", "others", "elsewhere", perm=[1, 0]),
        node("GatherND", "s elsewhere", "rest"),
        node("Sub", "one rest", "missing"),
        node("ScatterND", "first elsewhere missing", "y"),
    ]


OLD: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "Squeeze": ([node("Unsqueeze", "x", "u", axes=[0]), node("Relu", "u", "r"), node("Squeeze", "r", axes=[0])], {}),
    "Softmax over all": (
        [
            node("GlobalAveragePool", "x", "p"),
            node("Softmax", "p", axis=1),
        ],
        {},
    ),
    "ReduceMean": ([node("ReduceMean", "x", axes=[2, 3], keepdims=0)], {}),
    "Split": ([node("Split", "x", "a b", axis=2, split=[3, 4]), node("Concat", "b a", axis=2)], {}),
    "Dropout": ([node("Dropout", "x", ratio=0.5)], {}),
    "Pad": ([node("Pad", "x pads")], {"pads": ints(0, 0, 1, 0, 0, 0, 0, 1)}),
}


def check(model: onnx.ModelProto, folder: Path, *, size: tuple[int, int] | None = None) -> keras.Model:
    """Compare for two images, one by one in ONNX Runtime and together in Keras."""
    read = read_onnx(saved(model, folder), size)
    channels = read.input_shape[-1]
    images = numbers(2, channels, *read.input_shape[1:3], low=-3, high=3)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = [session.run(None, {"x": image[None]})[0].reshape(-1) for image in images]

    found = read(np.ascontiguousarray(images.transpose(0, 2, 3, 1)), training=False).numpy()

    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)
    return read


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(tmp_path: Path, name: str) -> None:
    check(graph(*CASES[name]), tmp_path)


def test_boolean_indexing_is_read(tmp_path: Path) -> None:
    more = {"tt": MASK["t"][None], "half": np.full((1, 3), 0.5, np.float32), "zero": ints(0)}
    check(graph(by_mask(), MASK | more), tmp_path)


@pytest.mark.parametrize("name", OLD)
def test_an_operator_of_the_oldest_opset_gives_what_onnx_runtime_gives(tmp_path: Path, name: str) -> None:
    check(graph(*OLD[name], opset=11), tmp_path)


def test_every_operator_that_is_read_is_among_the_cases() -> None:
    kinds = {each.op_type for nodes, _ in (*CASES.values(), *OLD.values(), (by_mask(), {})) for each in nodes}

    assert set(OPERATORS) - kinds == {"GroupNormalization"}, "tested below"


@pytest.mark.parametrize(("opset", "scales"), [(18, 2), (21, 4)])
def test_group_normalisation_scales_groups_in_old_opsets_and_channels_in_new_ones(tmp_path, opset, scales) -> None:
    nodes = [node("Conv", "x w b", "z"), node("GroupNormalization", "z scale shift", num_groups=2)]
    check(graph(nodes, CONV | {"scale": numbers(scales), "shift": numbers(scales)}, opset=opset), tmp_path)


@pytest.mark.parametrize("opset", range(11, 24))
def test_every_opset_is_read(tmp_path: Path, opset: int) -> None:
    nodes = [node("Conv", "x w b", "c"), node("Relu", "c", "r"), node("GlobalAveragePool", "r")]
    check(graph(nodes, CONV, opset=opset), tmp_path)


def test_images_of_any_size_are_read_at_the_size_that_is_given(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w b", "c", strides=[2, 2], pads=[1, 1, 1, 1]), node("GlobalAveragePool", "c")]
    read = check(graph(nodes, CONV, shape=("n", 3, "height", "width")), tmp_path, size=(9, 12))

    assert read.input_shape == (None, 9, 12, 3)


def test_channels_may_stand_last_as_tensorflow_exports_them(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w b", "c"),
        node("Transpose", "c", perm=[0, 2, 3, 1]),
    ]
    model = graph(nodes, CONV, shape=("n", 7, 6, 3))
    read = read_onnx(saved(model, tmp_path))
    image = numbers(1, 7, 6, 3)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    np.testing.assert_allclose(read(image).numpy(), session.run(None, {"x": image})[0], rtol=1e-4, atol=1e-5)
    assert not any(isinstance(layer, keras.layers.Permute) for layer in read.layers[:-3])


def test_a_model_in_half_precision_is_read_in_float32(tmp_path: Path) -> None:
    half = {name: value.astype(np.float16) for name, value in CONV.items()}
    nodes = [node("Conv", "x w b", "c"), node("GlobalAveragePool", "c", "p"), node("Cast", "p", to=1)]
    read = read_onnx(saved(graph(nodes, half, kind=onnx.TensorProto.FLOAT16), tmp_path))
    plain = [node("Conv", "x w b", "c"), node("GlobalAveragePool", "c")]
    wanted = read_onnx(saved(graph(plain, {k: v.astype(np.float32) for k, v in half.items()}), tmp_path))
    image = numbers(1, 7, 6, 3)

    np.testing.assert_allclose(read(image), wanted(image), rtol=1e-6)
    assert {weight.dtype for weight in read.weights} == {"float32"}


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w b", "c"), node("GlobalAveragePool", "c")]
    model = graph(nodes, CONV)
    inside = read_onnx(saved(model, tmp_path))
    onnx.save_model(model, tmp_path / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)

    beside = read_onnx(tmp_path / "big.onnx")

    assert (tmp_path / "big.data").stat().st_size
    np.testing.assert_array_equal(beside(numbers(1, 7, 6, 3)), inside(numbers(1, 7, 6, 3)))


def test_what_is_read_can_be_saved_and_loaded(tmp_path: Path) -> None:
    nodes, constants = CASES["attention"]
    read = read_onnx(saved(graph(nodes, constants), tmp_path))
    read.save(tmp_path / "model.keras")
    image = numbers(1, 7, 6, 3)

    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(image), read(image))


def test_constants_are_computed_whatever_node_holds_them(tmp_path: Path) -> None:
    made = [
        helper.make_node("Constant", [], ["a"], value=numpy_helper.from_array(numbers(3, 1, 1))),
        helper.make_node("Constant", [], ["b"], value_float=2.0),
        helper.make_node("Constant", [], ["c"], value_ints=[3, 1, 1]),
        node("Expand", "b c", "d"),
        node("Mul", "a d", "e"),
        node("Add", "x e"),
    ]
    check(graph(made), tmp_path)
