"""What is no readable classifier is refused in one sentence, costs no memory, and runs nothing."""

import contextlib
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.unit.onnx_graphs import graph, node, numbers, saved

from heatdrop.errors import InvalidBundle
from heatdrop.model.onnx_reading import read_onnx

WEIGHTS = {"w": numbers(4, 3, 3, 3)}
MEGABYTES = 64
"""More than any of these files may cost; they announce gigabytes."""


def plain(*more: onnx.NodeProto, **settings) -> onnx.ModelProto:
    nodes = [node("Conv", "x w", "c"), node("GlobalAveragePool", "c", "y"), *more]
    return graph(nodes, settings.pop("constants", {}) | WEIGHTS, **settings)


def with_tensor(change: Callable[[TensorProto], None]) -> onnx.ModelProto:
    model = plain()
    change(model.graph.initializer[0])
    return model


def outside(location: str, **entries: str) -> onnx.ModelProto:
    def change(tensor: TensorProto) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=value)

    return with_tensor(change)


def huge(tensor: TensorProto) -> None:
    tensor.dims[:] = [2**20, 2**20, 3, 3]


def negative(tensor: TensorProto) -> None:
    tensor.dims[:] = [-4, -3, 3, 3]


def texts(tensor: TensorProto) -> None:
    tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.STRING, [1], [b"a"]))


def branch() -> onnx.ModelProto:
    inner = helper.make_graph([node("Identity", "c", "z")], "inner", [], [helper.make_empty_tensor_value_info("z")])
    chosen = helper.make_node("If", ["yes"], ["y"], name="choice", then_branch=inner, else_branch=inner)
    return graph([node("Conv", "x w", "c"), chosen], WEIGHTS | {"yes": np.array(True)})


def loop() -> onnx.ModelProto:
    inner = helper.make_graph([], "inner", [], [])
    return graph([helper.make_node("Loop", ["n", "", "x"], ["y"], name="again", body=inner)], {"n": np.array(9)})


def text_model() -> onnx.ModelProto:
    return graph([node("Gather", "w x", "y")], WEIGHTS, shape=(1, 128), kind=TensorProto.INT64)


def circle() -> onnx.ModelProto:
    return graph([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Neg", "b", "y")])


def functions() -> onnx.ModelProto:
    model = plain()
    nodes = [node("Add", "a a", "b")]
    model.functions.append(helper.make_function("mine", "Double", ["a"], ["b"], nodes, [helper.make_opsetid("", 20)]))
    return model


def growing(*nodes: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    return graph([*nodes, node("Mul", "x big", "y")], constants)


def doubling() -> onnx.ModelProto:
    """Forty constants, each twice as long as the one before: eight bytes become eight terabytes."""
    nodes = [node("Concat", f"c{i} c{i}", f"c{i + 1}", axis=0) for i in range(40)]
    return growing(*nodes, node("ReduceMax", "c40", "big"), c0=numbers(8))


def enlarging() -> onnx.ModelProto:
    nodes = [node("Tile", "x times", "e"), node("GlobalAveragePool", "e", "y")]
    return graph(nodes, {"times": np.array([1, 1, 2**20, 2**20])})


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "an operator that is not read": (
        lambda: graph([node("Conv", "x w", "c"), node("Einsum", "c", "y", equation="abcd->adcb")], WEIGHTS),
        r"the operator Einsum \(node 'Einsum to y'\)",
    ),
    "an operator of another domain": (
        lambda: graph([helper.make_node("Relu", ["x"], ["y"], domain="com.example")]),
        r"Relu \(node 'y'\) is of the domain 'com.example'",
    ),
    "an old opset": (lambda: plain(opset=9), "of opset 9; 11 is the oldest"),
    "a branch": (branch, "If .node 'choice'. chooses or repeats"),
    "a loop": (loop, "Loop .node 'again'. chooses or repeats"),
    "a text model": (text_model, "takes 1 x 128 of int64; an image classifier takes"),
    "segmentation": (
        lambda: plain(outputs=["c"]),
        r"gives \(1, 4, 5, 4\) for an image, as for segmentation or detection",
    ),
    "several outputs": (lambda: plain(outputs=["c", "y"]), "gives 2 results"),
    "two inputs": (
        lambda: _with_second_input(plain()),
        "takes 2 inputs; a classifier takes one",
    ),
    "any size": (lambda: plain(shape=(1, 3, "h", "w")), "images of any size; say which with --size"),
    "several images": (lambda: plain(shape=(8, 3, 7, 6)), "takes 8 images at once"),
    "five channels": (lambda: plain(shape=(1, 5, 7, 6)), "images of 5 channels"),
    "a circle": (circle, "'Add to a' takes 'b', which nothing before it gives"),
    "no such weight": (lambda: graph([node("Conv", "x w")], {}), "takes 'w', which nothing before it gives"),
    "a result twice": (
        lambda: graph([node("Relu", "x", "y"), node("Neg", "y", "y")]),
        "gives a result that is there already",
    ),
    "an image that does not count": (
        lambda: graph([node("Identity", "w", "y")], {"w": numbers(1, 4)}),
        "does not depend on the image",
    ),
    "picks of a mask that are summed": (
        lambda: graph(
            [
                node("Greater", "x c", "m"),
                node("NonZero", "m", "p"),
                node("Transpose", "p", "t"),
                node("GatherND", "x t", "v"),
                node("ReduceMean", "v", "y"),
            ],
            {"c": np.float32(0)},
        ),
        "ReduceMean .* values that a mask has picked",
    ),
    "training": (
        lambda: graph([node("BatchNormalization", "x s s s s", "y", training_mode=1)], {"s": np.ones(3, np.float32)}),
        "is in training mode",
    ),
    "a kernel that does not fit": (
        lambda: graph([node("Conv", "x w")], {"w": numbers(4, 5, 3, 3)}),
        r"Conv .* does not fit 3 channels",
    ),
    "a window larger than the image": (
        lambda: graph([node("MaxPool", "x", kernel_shape=[9, 9])]),
        "a window of 9 on a side of 7 pixels",
    ),
    "a kernel computed from the image": (
        lambda: graph([node("Conv", "x x")], {}),
        "computes its input 2 from the image",
    ),
    "shapes that do not fit": (
        lambda: graph([node("Add", "x c")], {"c": numbers(5)}),
        r"takes tensors of \(1, 3, 7, 6\) and \(1, 1, 1, 5\)",
    ),
    "functions": (functions, "has functions of its own .Double."),
    "a huge tensor": (lambda: with_tensor(huge), "announced as 1048576 x 1048576 x 3 x 3 and has not so many"),
    "a negative tensor": (lambda: with_tensor(negative), "the file is damaged"),
    "a tensor of texts": (lambda: with_tensor(texts), "holds no numbers"),
    "weights nowhere": (lambda: outside("gone.bin"), "'gone.bin', in which .* keeps weights, is not beside it"),
    "weights above": (lambda: outside("../secret.bin"), "outside its folder"),
    "weights anywhere": (lambda: outside("/etc/passwd"), "outside its folder"),
    "weights behind a link": (lambda: outside("link.bin"), "outside its folder"),
    "weights in a device": (lambda: outside("pipe"), "is not beside it"),
    "weights in a folder": (lambda: outside("."), "outside its folder|not beside it"),
    "weights beyond the end": (lambda: outside("w.bin", offset="400", length="432"), "is truncated"),
    "weights before the start": (lambda: outside("w.bin", offset="-8", length="432"), "is truncated"),
    "weights of another length": (lambda: outside("w.bin", length="8"), "the file is damaged"),
    "weights of no length": (lambda: outside("w.bin", length="much"), "the file is damaged"),
    "weights of a null byte": (lambda: outside("w.bin\0.txt"), "the file is damaged"),
    "a constant of terabytes": (
        lambda: growing(node("ConstantOfShape", "s", "big"), s=np.array([2**20, 2**20])),
        "ConstantOfShape .* brings the computed constants above",
    ),
    "a constant expanded": (
        lambda: growing(node("Expand", "w s", "big"), w=numbers(1), s=np.array([2**20, 2**20])),
        "Expand .* brings the computed constants above",
    ),
    "a range": (
        lambda: growing(node("Range", "a b c", "big"), a=np.float32(0), b=np.float32(1e12), c=np.float32(1)),
        "Range .* brings the computed constants above",
    ),
    "an outer product": (
        lambda: growing(node("Add", "a b", "big"), a=numbers(2**15, 1), b=numbers(1, 2**15)),
        "Add .* brings the computed constants above",
    ),
    "constants that double": (doubling, "Concat .* brings the computed constants above"),
    "an image of gigapixels": (enlarging, r"Tile .* gives \(1, 3, \d+, \d+\) for one image"),
    "an image resized": (
        lambda: graph([node("Resize", "x - s", "y")], {"s": np.float32([1, 1, 2**20, 2**20])}),
        "makes a side of",
    ),
}


def _with_second_input(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, [1, 1]))
    return model


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_classifier_or_is_hostile_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    make, problem = REFUSED[name]
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(432))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "w.bin").write_bytes(bytes(432))
    os.mkfifo(folder / "pipe")
    file = saved(make(), folder)
    tracemalloc.start()

    with pytest.raises(InvalidBundle, match=problem) as caught:
        read_onnx(file)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEGABYTES * 2**20
    assert "\n" not in str(caught.value)
    assert not re.search(r" at 0x|Traceback|Error", str(caught.value))


def test_many_tensors_of_one_region_are_refused(tmp_path: Path) -> None:
    model = outside("w.bin")
    (tmp_path / "w.bin").write_bytes(bytes(432))
    for copy in range(1000):
        model.graph.initializer.append(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"copy{copy}"

    with pytest.raises(InvalidBundle, match=r"take more from w\.bin than it holds"):
        read_onnx(saved(model, tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x08\x07" * 9, numpy_helper.from_array(numbers(9)).SerializeToString()]
)
def test_another_file_is_no_onnx_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)

    with pytest.raises(InvalidBundle, match="truncated, or no ONNX model"):
        read_onnx(tmp_path / "model.onnx")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    data = plain().SerializeToString()
    for end in range(0, len(data), 37):
        (tmp_path / "model.onnx").write_bytes(data[:end])
        with pytest.raises(InvalidBundle):
            read_onnx(tmp_path / "model.onnx")


def test_a_file_with_flipped_bytes_is_read_or_refused(tmp_path: Path) -> None:
    data = bytearray(plain().SerializeToString())
    random = np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 3):
            damaged[place] = random.integers(256)
        (tmp_path / "model.onnx").write_bytes(damaged)
        with contextlib.suppress(InvalidBundle):
            read_onnx(tmp_path / "model.onnx")
