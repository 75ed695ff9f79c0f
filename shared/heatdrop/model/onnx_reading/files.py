"""Opens an ONNX file that may come from anybody: nothing in it is run, and it costs no more memory than it has bytes.

Everything that a file announces (sizes, places, references) is compared with what is there before it is used.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from heatdrop.errors import InvalidBundle
from heatdrop.text import printable

Array = NDArray[Any]

OLDEST_OPSET = 11
"""Of 2019. Before it, what are inputs of operators today were attributes, and Resize meant something else."""

MOST_NODES = 20_000
"""Many times what any known classifier has."""

_DEFAULT_DOMAINS = {"", "ai.onnx"}
_HELD_IN = ("double_data", "float_data", "int32_data", "int64_data", "string_data", "uint64_data")


def open_onnx(path: Path) -> onnx.ModelProto:
    """The model in an ONNX file, without its external data.

    Raises:
        InvalidBundle: it is no ONNX file, is of an opset that is not read, or has parts that are never read (functions
            of its own, sparse tensors); the message says what to do.
    """
    if not path.is_file():
        raise InvalidBundle(f"there is no ONNX model {path}")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise InvalidBundle(f"{path} is truncated, or no ONNX model") from error
    if not model.HasField("graph") or not model.graph.node:
        raise InvalidBundle(f"{path} is truncated, or no ONNX model")
    if not all(isinstance(text, str) for text in _texts(model)):
        raise InvalidBundle(f"{path} is damaged: a name in it is no text")
    opset = opset_of(model)
    if not opset:
        raise InvalidBundle(f"{path} does not say of which opset it is; export it again")
    if opset < OLDEST_OPSET:
        raise InvalidBundle(
            f"{path} is of opset {opset}; {OLDEST_OPSET} is the oldest that is read: "
            "export it again with a newer one, or convert it with onnx.version_converter"
        )
    if model.functions:
        raise InvalidBundle(
            f"{path} has functions of its own ({printable(model.functions[0].name)}); "
            "lay them flat with onnx.inliner.inline_local_functions"
        )
    if model.graph.sparse_initializer:
        raise InvalidBundle(f"{path} has sparse weights, which are not read; export it with dense ones")
    if len(model.graph.node) > MOST_NODES:
        raise InvalidBundle(f"{path} has {len(model.graph.node):,} nodes; at most {MOST_NODES:,} are read")
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model uses; 0 if it does not say."""
    return max((entry.version for entry in model.opset_import if entry.domain in _DEFAULT_DOMAINS), default=0)


def is_default(domain: str) -> bool:
    """Whether an operator of this domain is one of ONNX's own."""
    return domain in _DEFAULT_DOMAINS


class Weights:
    """The tensors of a model file, each read when it is asked for."""

    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        """Look at what the tensors announce.

        Raises:
            InvalidBundle: a tensor is announced with another size than it has, lies in a file outside the model's
                folder or in none that is there, or all together announce more than their files hold.
        """
        self._path = path
        self._folder = path.resolve().parent
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        external: dict[Path, int] = {}
        for tensor in _all_tensors(model.graph):
            if tensor.data_location == TensorProto.EXTERNAL:
                file, _, length = self._place(tensor)
                external[file] = external.get(file, 0) + length
            else:
                self._check_size(tensor)
        for file, length in external.items():
            if length > file.stat().st_size:
                raise InvalidBundle(f"the tensors of {path} take more from {file.name} than it holds; export it again")

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Array:
        return self.array(self._tensors[name])

    @property
    def count(self) -> int:
        """How many values all of them hold."""
        return sum(math.prod(tensor.dims) for tensor in self._tensors.values())

    def single_values(self) -> list[str]:
        """The names of the tensors that hold one value."""
        return [name for name, tensor in self._tensors.items() if math.prod(tensor.dims) == 1]

    def array(self, tensor: TensorProto) -> Array:
        """The values of a tensor; floating-point ones as float32.

        Raises:
            InvalidBundle: it has another size than it announces, or is of a type that is not read.
        """
        if tensor.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
            raise InvalidBundle(f"the tensor {printable(tensor.name)!r} of {self._path} holds no numbers")
        try:
            is_outside = tensor.data_location == TensorProto.EXTERNAL
            array = self._external(tensor) if is_outside else numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise self._damaged(tensor) from error
        return as_float32(array)

    def _check_size(self, tensor: TensorProto) -> None:
        announced = math.prod(tensor.dims)
        if min(tensor.dims, default=0) < 0:
            raise self._damaged(tensor)
        held = len(tensor.raw_data) or max(len(getattr(tensor, field)) for field in _HELD_IN)
        # Half a byte for each value is the least that any type takes, and eight bytes the most.
        if announced > 2 * held or held > 8 * max(announced, 1):
            raise self._damaged(tensor)

    def _external(self, tensor: TensorProto) -> Array:
        file, offset, length = self._place(tensor)
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        if length != math.prod(tensor.dims) * kind.itemsize:
            raise self._damaged(tensor)
        return np.fromfile(file, kind, math.prod(tensor.dims), offset=offset).reshape(tensor.dims)

    def _place(self, tensor: TensorProto) -> tuple[Path, int, int]:
        """File, offset and length in bytes of a tensor's external data."""
        about = {entry.key: entry.value for entry in tensor.external_data}
        named, location = Path(about.get("location", "")), printable(about.get("location", ""))
        if "\0" in about.get("location", ""):
            raise self._damaged(tensor)
        file = (self._folder / named).resolve()
        if named.is_absolute() or ".." in named.parts or self._folder not in file.parents:
            raise InvalidBundle(
                f"{self._path} keeps weights in {location!r}, outside its folder, where nothing is read; "
                "put them beside the model"
            )
        if not file.is_file():
            raise InvalidBundle(f"the file {location!r}, in which {self._path} keeps weights, is not beside it")
        size = file.stat().st_size
        try:
            offset = int(about.get("offset", "0"))
            length = int(about.get("length", str(size - offset)))
        except ValueError as error:
            raise self._damaged(tensor) from error
        if offset < 0 or length < 0 or offset + length > size:
            raise InvalidBundle(f"the file {location!r}, in which {self._path} keeps weights, is truncated")
        return file, offset, length

    def _damaged(self, tensor: TensorProto) -> InvalidBundle:
        dims = " x ".join(str(size) for size in tensor.dims)
        return InvalidBundle(
            f"the tensor {printable(tensor.name)!r} of {self._path} is announced as {dims[:80] or 'one value'} "
            "and has not so many values: the file is damaged"
        )


def as_float32(array: Array) -> Array:
    """An array of any floating-point type as float32; any other one as it is."""
    if array.dtype.kind == "f" or array.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return np.asarray(array, np.float32)
    return array


def _texts(model: onnx.ModelProto) -> Iterator[Any]:
    """The names in a model. Protobuf gives those that are not UTF-8 as bytes."""
    yield from (entry.domain for entry in model.opset_import)
    yield from (value.name for value in (*model.graph.input, *model.graph.output, *model.functions))
    for node in model.graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for tensor in _all_tensors(model.graph):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def _all_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
