"""Whether a model can be explained: tried before it is packed, so that no bundle fails later."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from heatdrop.errors import InvalidBundle, InvalidRequest
from heatdrop.model.preprocessing import Convention, Preprocessing, preprocess
from heatdrop.saliency import SaliencyMaps, smoothgrad
from heatdrop.saliency.network import Network
from heatdrop.saliency.reading import read_network
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine
from heatdrop.text import first_line

BATCH_TOLERANCE = 1e-3
"""The greatest difference in any score that the other images of a batch may make."""
ROUNDING = 1e-5
"""How far outside 0..1 a probability may lie."""
SUM_TOLERANCE = 1e-3
"""How far from 1 the probabilities of classes that exclude each other may sum to."""
CLASSES = 3
SAMPLES = 2
"""How much is explained for trial: as many classes as the pipeline explains by default, in a batch of several."""


def trial_pictures(size: tuple[int, int]) -> NDArray[np.uint8]:
    """(3, H, W, 3) pictures with structure, as photographs have it: smooth noise of three scales, dark and bright."""
    random = np.random.default_rng(0)
    coarse = [random.integers(0, 256, (scale, scale, 3), np.uint8) for scale in (2, 8, 32)]
    resized = [np.asarray(keras.ops.image.resize(each, size), np.float32) for each in coarse]
    return np.stack(resized).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Trial:
    """What TensorFlow made of trial pictures.

    Attributes:
        engine: of the model.
        inputs: the pictures, preprocessed.
        maps: their maps.
        several: whether the model judges each label by itself: the probabilities of several labels do not sum to 1.
    """

    engine: TensorFlowEngine
    inputs: NDArray[np.float32]
    maps: SaliencyMaps
    several: bool


def check_explainable(model: keras.Model, convention: Convention | Preprocessing) -> Trial:
    """Predict and explain trial pictures as a heatmap job would.

    Raises:
        InvalidBundle: the model gives no probabilities, the scores of its classes cannot be found, or no gradient of
            theirs reaches the picture. The message names the layer where that can be told.
    """
    inputs = preprocess(trial_pictures(model.input_shape[1:3]), convention, model.input_shape[3])
    try:
        # Plain float32, as on a CPU: a job on a GPU tries for itself what else it may use.
        engine = TensorFlowEngine(model, accelerations=())
    except InvalidRequest as error:
        raise InvalidBundle(str(error)) from error
    except Exception as error:
        raise InvalidBundle(f"the model cannot be read for explanations: {first_line(error)}") from error
    scores = _check_scores(engine, inputs)
    try:
        found = smoothgrad(engine, inputs, top=min(engine.head.classes, CLASSES), samples=SAMPLES)
    except Exception as error:
        # TensorFlow raises many kinds of errors for what it cannot differentiate.
        raise InvalidBundle(_no_gradient(_obstacle(model, inputs[:1]), first_line(error))) from error
    not_finite = any("not finite" in warning for said in found.warnings for warning in said)
    if not_finite or not found.maps["mean_abs"].any():
        raise InvalidBundle(_no_gradient(_obstacle(model, inputs[:1])))
    return Trial(engine, inputs, found, bool((np.abs(scores.sum(axis=1) - 1) > SUM_TOLERANCE).any()))


def _check_scores(engine: TensorFlowEngine, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The probabilities (B, classes) of inputs, each computed alone."""
    try:
        alone = engine.predict(inputs)
        together = engine.scores.build(engine.head.predicted)(tf.constant(inputs)).numpy()
    except Exception as error:
        raise InvalidBundle(f"the model cannot compute several images at once: {first_line(error)}") from error
    in_range = bool(((alone >= -ROUNDING) & (alone <= 1 + ROUNDING)).all())
    if engine.head.predicted == "logit" or not in_range:
        given = f"{alone.min():.3g} to {alone.max():.3g}"
        raise InvalidBundle(
            f"the model gives {given} for probabilities; end it in softmax or sigmoid, or pack it with --head"
        )
    difference = float(np.abs(alone - together).max())
    if not difference <= BATCH_TOLERANCE:
        raise InvalidBundle(
            f"the scores of an image change by {difference:.2g} with the other images of its batch; "
            "replace what mixes them, such as a mean over the first axis"
        )
    return alone


def _no_gradient(layer: str | None, problem: str = "") -> str:
    where = f"the layer {layer!r}" if layer else "the model"
    why = f" ({problem})" if problem and not layer else ""
    return f"no gradient comes through {where}{why}, so there is nothing to explain; put something smooth in its place"


def _obstacle(model: keras.Model, image: NDArray[np.float32]) -> str | None:
    """The path of the first layer that lets no gradient through."""
    try:
        network = read_network(model)
        values = network.build_values()(tf.constant(image))
    except Exception:
        return None
    return next(_obstacles(network, values), None)


def _obstacles(network: Network, values: list[tf.Tensor]) -> Iterator[str]:
    for node in network.nodes[1:]:
        inputs = [values[value.index] for value in node.inputs]
        floats = [value for value in inputs if tf.is_tensor(value) and value.dtype.is_floating]
        if len(floats) != len(inputs) or node.operation is None:
            continue
        with tf.GradientTape() as tape:
            tape.watch(floats)
            results = node.operation.build(tf.float32)(*inputs)
            results = [each for each in tf.nest.flatten(results) if tf.is_tensor(each) and each.dtype.is_floating]
            if not results:
                yield node.layer
                continue
            # Random weights, since the sum of a softmax is constant.
            random = tf.random.Generator.from_seed(0)
            total = tf.add_n([tf.reduce_sum(result * random.normal(result.shape)) for result in results])
        try:
            gradients = tape.gradient(total, floats)
        except Exception:
            yield node.layer
            continue
        if not any(gradient is not None and _is_signal(gradient) for gradient in gradients):
            yield node.layer


def _is_signal(gradient: tf.Tensor) -> bool:
    values = tf.convert_to_tensor(gradient).numpy()
    return bool(np.isfinite(values).all() and values.any())
