"""A trained Keras model as it is used for prediction: in float32, without what only training needs, and in LiteRT."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from heatdrop.errors import InvalidBundle
from heatdrop.model.keras_config import foreign_code, parts_of
from heatdrop.model.typicality import Gaussian
from heatdrop.quiet import native_output_hidden
from heatdrop.saliency.network import Network
from heatdrop.saliency.operations import Opaque
from heatdrop.saliency.reading import read_network

_LOW_PRECISION = {"float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"}
_IMAGE_LAYERS = {"BaseImagePreprocessingLayer", "BaseImageAugmentationLayer"}
"""Keras's base classes of augmentation, which are not public."""
_UNKNOWN_SIDE = 32
"""Pixels of the images on which a layer is tried that takes any size."""


def for_prediction(model: keras.Model) -> keras.Model:
    """The model with all layers in float32 and without those that only augment images in training.

    The model itself is returned when nothing has to change, else a copy.

    Raises:
        InvalidBundle: it needs a class or a function that does not come with Keras, which a bundle cannot carry; or
            Keras cannot save it.
    """
    try:
        config = keras.saving.serialize_keras_object(model)
        config.pop("compile_config", None)
        problem = foreign_code(config)
        if problem:
            raise InvalidBundle(problem)
        if not _change(config):
            return model
        copy: keras.Model = keras.saving.deserialize_keras_object(config)
        copy.set_weights(model.get_weights())
    except (NotImplementedError, TypeError, ValueError) as error:
        problem = str(error).strip().partition("\n")[0].partition(". ")[0][:200]
        raise InvalidBundle(f"Keras cannot save the model: {problem}; build it of other layers") from error
    return copy


def with_features(model: keras.Model) -> keras.Model | None:
    """A model that gives the scores and, beside them, the features (B, D) that its last dense layer reads.

    None for a model without such a layer of its own.
    """
    heads = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    if not heads or len(heads[-1].input.shape) != 2:
        return None
    return keras.Model(model.inputs[0], [model.outputs[0], heads[-1].input])


def to_litert(model: keras.Model, gaussian: Gaussian | None = None) -> bytes:
    """Export to LiteRT, for one image at a time.

    With a ``gaussian`` over the model's features, the export also gives how far those of the image are from its centre.

    Raises:
        InvalidBundle: LiteRT lacks what a layer computes; the message names the layer.
    """
    both = with_features(model) if gaussian else None

    def predict(x: Any) -> Any:
        if gaussian is None or both is None:
            return model(x, training=False)
        scores, features = both(x, training=False)
        apart = features - gaussian.centre
        along = tf.square(tf.matmul(apart, gaussian.directions))
        return scores, tf.reduce_sum(along * gaussian.weights, 1) + tf.reduce_sum(tf.square(apart), 1) / gaussian.rest

    try:
        with native_output_hidden():
            return _converted(tf.function(predict), [tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)], model)
    except OSError:
        raise
    except Exception as error:
        # The converter's own message is a page about its intermediate code.
        layer = _not_exportable(read_network(model), model.input_shape[1:])
        named = f"the layer {layer!r}" if layer else "one of the model's layers"
        raise InvalidBundle(
            f"{named} cannot be exported to LiteRT; put a layer in its place that can, or do its work before the model"
        ) from error


def _converted(function: Any, signature: list[tf.TensorSpec], trackable: Any = None) -> bytes:
    # LiteRT reads variables that were never written (as NaN); as constants they are part of the file.
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(*signature))
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen], trackable).convert())


def _not_exportable(network: Network, input_shape: tuple[int, ...]) -> str | None:
    """The path of the first layer that LiteRT refuses when it stands alone."""
    values = network.build_values()(tf.zeros((1, *input_shape)))
    with native_output_hidden():
        for node in network.nodes:
            inputs = [values[value.index] for value in node.inputs]
            if isinstance(node.operation, Opaque) and all(tf.is_tensor(value) for value in inputs):
                try:
                    function = tf.function(node.operation.build(tf.float32))
                    _converted(function, [tf.TensorSpec(value.shape, value.dtype) for value in inputs], function)
                except Exception:
                    return node.layer
    return None


def _change(config: Any) -> bool:
    """Put float32 in place of other types, then Identity in place of augmentation; whether that changed anything."""
    in_float32 = [_put_float32(part) for part in parts_of(config)]
    augmentation = [part for part in parts_of(config) if _only_augments(part)]
    for part in augmentation:
        _leave_out(part)
    return any(in_float32) or bool(augmentation)


def _put_float32(part: dict[str, Any]) -> bool:
    settings = part.get("config")
    if not isinstance(settings, dict) or part.get("class_name") == "__keras_tensor__":
        return False
    name = "name" if part.get("class_name") == "DTypePolicy" else "dtype"
    if str(settings.get(name)) not in _LOW_PRECISION:
        return False
    settings[name] = "float32"
    return True


def _only_augments(part: dict[str, Any]) -> bool:
    """Whether this describes an image layer of Keras that leaves images as they are, except in training."""
    kind = getattr(keras.layers, str(part.get("class_name")), None) if part.get("module") == "keras.layers" else None
    if kind is None or not _IMAGE_LAYERS & {base.__name__ for base in kind.__mro__}:
        return False
    known = (part.get("build_config") or {}).get("input_shape") or (None, None, None, 3)
    shape = [1, *(side or _UNKNOWN_SIDE for side in known[1:])]
    random = np.random.default_rng(0)
    try:
        layer = kind.from_config(part["config"])
    except TypeError:
        # Keras 3.15 cannot read the configuration of its own RandomShear.
        return str(part["class_name"]).startswith("Random")
    images = [random.uniform(0, most, shape).astype(np.float32) for most in (1, 255)]
    return all(np.array_equal(np.asarray(layer(image, training=False)), image) for image in images)


def _leave_out(part: dict[str, Any]) -> None:
    kept = {name: part["config"][name] for name in ("name", "dtype") if name in part["config"]}
    part.update(class_name="Identity", config=kept, registered_name=None)
    part.pop("build_config", None)
    for call in part.get("inbound_nodes", []):
        call["kwargs"].pop("training", None)
