"""Models as Keras 2 saved them: HDF5 files, and the folders called SavedModel. Nothing in them is run.

Keras 2 wrote an operation on tensors (``x / 127.5``) as a layer that calls a function of TensorFlow by its name, which
Keras 3 does not load. The common ones have a layer of Keras that does the same, which is put in their place.
"""

import copy
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf
from google.protobuf.message import DecodeError
from keras.src.legacy.saving.saving_utils import model_from_config
from keras.src.saving.serialization_lib import SafeModeScope
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
from tensorflow.python.keras.protobuf.saved_metadata_pb2 import SavedMetadata

from heatdrop.errors import InvalidBundle
from heatdrop.model.keras_config import parts_of
from heatdrop.model.loading import load_keras_file
from heatdrop.text import first_line, printable

METADATA = "keras_metadata.pb"
_CONFIG = "model_config"
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"

_OF_NUMBERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "add": lambda y: {"scale": 1.0, "offset": y},
    "multiply": lambda y: {"scale": y, "offset": 0.0},
    "subtract": lambda y: {"scale": 1.0, "offset": [-each for each in y] if isinstance(y, list) else -y},
    "truediv": lambda y: {"scale": [1 / each for each in y] if isinstance(y, list) else 1 / y, "offset": 0.0},
}
"""Operations of a tensor and numbers, as settings of a ``Rescaling``."""

_OF_TENSORS = {"add": "Add", "multiply": "Multiply", "subtract": "Subtract"}

_OF_ONE: dict[str, tuple[str, dict[str, Any]]] = {
    "cast": ("Activation", {"activation": "linear"}),
    "math.sigmoid": ("Activation", {"activation": "sigmoid"}),
    "nn.relu": ("ReLU", {}),
    "nn.relu6": ("ReLU", {"max_value": 6.0}),
    "nn.sigmoid": ("Activation", {"activation": "sigmoid"}),
    "nn.silu": ("Activation", {"activation": "silu"}),
    "nn.softmax": ("Softmax", {}),
    "nn.swish": ("Activation", {"activation": "silu"}),
    "nn.tanh": ("Activation", {"activation": "tanh"}),
}


def load_h5(path: Path) -> keras.Model:
    """Load an HDF5 file of Keras 2 or 3.

    Raises:
        InvalidBundle: it is missing, damaged, holds weights alone, or can only be loaded by running code from it.
    """
    if not path.is_file() or not h5py.is_hdf5(path):
        raise InvalidBundle(f"{path} is missing, truncated, or no HDF5 file")
    try:
        with h5py.File(path) as file:
            text = file.attrs.get(_CONFIG)
    except (OSError, RuntimeError) as error:
        raise InvalidBundle(f"{path} is truncated or damaged: HDF5 cannot read it") from error
    if text is None:
        raise InvalidBundle(f"{path} holds weights without a model; save the whole model with model.save")
    try:
        given = json.loads(text)
        config = with_layers({"class_name": given["class_name"], "config": given["config"]} | given)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise InvalidBundle(f"the model in {path} is damaged: its description cannot be understood") from error
    if config == given:
        return load_keras_file(path)
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / path.name
        shutil.copyfile(path, changed)
        with h5py.File(changed, "r+") as file:
            file.attrs[_CONFIG] = json.dumps(config)
        return load_keras_file(changed)


def load_saved_model(folder: Path) -> keras.Model:
    """Build a model from the description in a SavedModel of Keras 2, and fill it with the weights there.

    The graph in the folder, which may hold any operation of TensorFlow, is not read.

    Raises:
        InvalidBundle: the folder holds no SavedModel of Keras, or one that is damaged or holds code of its own.
    """
    try:
        metadata = SavedMetadata.FromString((folder / METADATA).read_bytes())
        root = json.loads(next(node.metadata for node in metadata.nodes if node.node_path == "root"))
        config = with_layers({"class_name": root["class_name"], "config": root["config"]})
    except FileNotFoundError as error:
        raise InvalidBundle(
            f"{folder} has no {METADATA}, and so does not say which layers it is made of; "
            "save the model as .keras, or export it as ONNX with tf2onnx"
        ) from error
    except (OSError, DecodeError, ValueError, KeyError, TypeError, StopIteration, RecursionError) as error:
        raise InvalidBundle(f"{folder / METADATA} is damaged, or describes no model of Keras") from error
    try:
        with SafeModeScope(True):
            # Keras takes the description apart as it reads it.
            model = model_from_config(copy.deepcopy(config))
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        objects = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECTS))
        _fill(model, config["config"], objects, 0, reader)
    except InvalidBundle:
        raise
    except Exception as error:
        # Keras and TensorFlow raise errors of many kinds for what is damaged or foreign.
        problem = printable(first_line(error))
        raise InvalidBundle(f"the SavedModel {folder} cannot be loaded safely: {problem}") from error
    return model


def _fill(model: keras.Model, config: Any, objects: TrackableObjectGraph, place: int, reader: Any) -> None:
    """Give the layers of a model the weights that a checkpoint has for the object at ``place``."""
    configs = {layer["config"]["name"]: layer["config"] for layer in config["layers"]}
    layers = {layer.name: layer for layer in model.layers}
    weighted = [layers[name] for name in configs if name in layers and layers[name].weights]
    for number, layer in enumerate(weighted):
        child = _child(objects, place, f"layer_with_weights-{number}")
        if isinstance(layer, keras.Model):
            _fill(layer, configs[layer.name], objects, child, reader)
            continue
        for weight in layer.weights:
            node = objects.nodes[_child(objects, child, weight.name, f"depthwise_{weight.name}")]
            weight.assign(reader.get_tensor(node.attributes[0].checkpoint_key))


def _child(objects: TrackableObjectGraph, place: int, *names: str) -> int:
    """The object that one at ``place`` holds under the first of these names that it has."""
    children = {child.local_name: int(child.node_id) for child in objects.nodes[place].children}
    for name in names:
        if name in children:
            return children[name]
    raise InvalidBundle(f"the SavedModel lacks the weights {names[0]!r}; save it again")


def with_layers(config: Any) -> Any:
    """The description of a model of Keras 2 with layers that Keras 3 has; the same where there is nothing to change."""
    changed = _without_tuples(copy.deepcopy(config))
    for part in parts_of(changed):
        settings = part.get("config")
        if part.get("class_name") == "TFOpLambda" and isinstance(settings, dict):
            _put_layer(part)
        elif part.get("class_name") in ("DepthwiseConv2D", "SeparableConv2D") and isinstance(settings, dict):
            # Written by Keras 2 and refused by Keras 3; it had no effect.
            for spare in ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"):
                settings.pop(spare, None)
        if isinstance(settings, dict) and isinstance(settings.get("layers"), list):
            _number_calls(settings)
    return changed


def _without_tuples(config: Any) -> Any:
    """Lists in place of what a SavedModel writes for tuples."""
    if isinstance(config, dict):
        if config.get("class_name") == "__tuple__":
            return [_without_tuples(item) for item in config["items"]]
        return {name: _without_tuples(value) for name, value in config.items()}
    return [_without_tuples(value) for value in config] if isinstance(config, list) else config


def _number_calls(settings: dict[str, Any]) -> None:
    """Number the calls of nested models from 0 on, as Keras 3 does; Keras 2 counted from 1."""
    layers = [layer for layer in settings["layers"] if isinstance(layer, dict) and "module" not in layer]
    nested = {layer.get("name") for layer in layers if "layers" in layer.get("config", {})}

    def renumber(part: Any) -> None:
        if isinstance(part, dict):
            part = list(part.values())
        if not isinstance(part, list):
            return
        if len(part) >= 3 and isinstance(part[0], str) and part[0] in nested and type(part[1]) is int and part[1] > 0:
            part[1] -= 1
        for each in part:
            renumber(each)

    for layer in layers:
        renumber(layer.get("inbound_nodes"))
    renumber(settings.get("output_layers"))


def _put_layer(part: dict[str, Any]) -> None:
    """A layer in place of an operation; one that has none keeps its name, which Keras then says it does not know."""
    function, name = str(part["config"].get("function")), part["config"]["name"]
    kind = function.removeprefix("math.").removeprefix("__operators__.")
    calls = part.get("inbound_nodes", [])
    if len(calls) != 1 or len(calls[0]) != 4:
        return
    source, node, tensor, arguments = calls[0]
    other = arguments.get("y")
    taken = [[source, node, tensor, {}]]
    if function in _OF_ONE and other is None:
        made, settings = _OF_ONE[function]
    elif function == "math.reduce_mean" and arguments.get("axis") in ([1, 2], [-3, -2]):
        made, settings = "GlobalAveragePooling2D", {"keepdims": bool(arguments.get("keepdims"))}
    elif kind in _OF_TENSORS and isinstance(other, list) and other and isinstance(other[0], str):
        made, settings = _OF_TENSORS[kind], {}
        taken.append([*other[:3], {}])
    elif kind in _OF_NUMBERS and other is not None:
        made, settings = "Rescaling", _OF_NUMBERS[kind](other)
    else:
        return
    part.update(class_name=made, config={"name": name, "dtype": "float32", **settings}, inbound_nodes=[taken])
