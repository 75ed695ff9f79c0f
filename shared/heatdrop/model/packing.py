"""From a trained Keras model to a bundle: try that it can be explained, export it to LiteRT, check that both agree."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from heatdrop.errors import InvalidBundle, InvalidRequest
from heatdrop.images import DecodedImage
from heatdrop.model import bundle as bundles
from heatdrop.model.bundle import Bundle, BundleDescription
from heatdrop.model.certificate import Certificate
from heatdrop.model.classifier import Classifier, model_input
from heatdrop.model.explainability import check_explainable, trial_pictures
from heatdrop.model.export import for_prediction, to_litert
from heatdrop.model.gradients import gradients_of
from heatdrop.model.labels import read_labels, read_thresholds
from heatdrop.model.loading import load_keras_file
from heatdrop.model.model_files import Head, load_model, with_head
from heatdrop.model.preprocessing import Convention, Preprocessing, read_preprocessing
from heatdrop.model.typicality import Typicality
from heatdrop.vocabulary import ModelName

EXPORT_TOLERANCE = 1e-4
"""The greatest difference in any probability that LiteRT and Keras may have."""


def pack(
    model: keras.Model,
    folder: Path,
    *,
    name: str,
    labels: Sequence[str],
    preprocess_as: Convention | Preprocessing,
    threshold: float | Sequence[float] = 0.5,
    training: dict[str, Any] | None = None,
    certificates: Sequence[Certificate] = (),
    typicality: Typicality | None = None,
    source_digest: str | None = None,
) -> Bundle:
    """Write ``model`` as a bundle to ``folder``. A bundle that is there stays whole until it is replaced at the end.

    The gradients of its scores are packed with it, where LiteRT can compute them, so that heatmaps need no TensorFlow.
    The model is packed in float32 and without layers that only augment images in training.

    Args:
        model: a functional or sequential Keras classifier of (H, W, 3) or (H, W, 1) pictures that gives probabilities:
            of classes that exclude each other, or of each label by itself.
        folder: for the bundle.
        name: of the model.
        labels: a name for each class, in the order of the outputs; two for a single output, whose value is the
            probability of the second.
        preprocess_as: how the model's input is made of pixels.
        threshold: from which probability on a label is found, for all or for each label, of a model that judges each
            label by itself.
        training: how it was trained, for the description.
        certificates: what was measured of its maps, if anything.
        typicality: what the features of the images look like that it knows, if that was measured.
        source_digest: of what it was built from, for the bundle that comes with Heatdrop.

    Raises:
        InvalidBundle: the model is no such classifier, the labels do not fit it, it cannot be explained or exported to
            LiteRT, or the export predicts differently. The message names the layer where that can be told.
        InvalidRequest: ``folder`` holds something else than a bundle.
    """
    check_free(folder)
    model = for_prediction(_plain(model))
    _, height, width, channels = model.input_shape
    outputs = model.output_shape[-1]
    if max(outputs, 2) != len(labels) or not bundles.are_labels(list(labels)):
        raise InvalidBundle(f"{len(labels)} labels for {outputs} outputs; give one distinct label for each")
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        staging = Path(scratch) / "bundle"
        staging.mkdir()
        model.save(staging / bundles.KERAS_MODEL, include_optimizer=False)
        reread = load_keras_file(staging / bundles.KERAS_MODEL)
        trial = check_explainable(reread, preprocess_as)
        (staging / bundles.LITERT_MODEL).write_bytes(to_litert(model, typicality.gaussian if typicality else None))
        graph, gradients = gradients_of(reread, trial) or (None, None)
        if graph:
            (staging / bundles.GRADIENTS).write_bytes(graph)
        (staging / bundles.LABELS).write_text(json.dumps(list(labels), indent=2))
        description = BundleDescription(
            model=ModelName(name=name, version=_version(model, labels, preprocess_as)),
            height=height,
            width=width,
            channels=channels,
            preprocess=preprocess_as,
            thresholds=_thresholds(threshold, len(labels)) if trial.several else None,
            digests={file.name: bundles.digest(file.read_bytes()) for file in sorted(staging.iterdir())},
            gradients=gradients,
            training=training,
            certificates=tuple(certificates),
            distances=typicality.quantiles if typicality else None,
            source_digest=source_digest,
        )
        (staging / bundles.DESCRIPTION).write_text(description.model_dump_json(indent=2))
        _check_equal(model, bundles.open_bundle(staging))
        if target.exists():
            target.rename(Path(scratch) / "replaced")
        staging.rename(target)
    return bundles.open_bundle(folder)


def check_free(folder: Path) -> None:
    """Check that a bundle can be written to ``folder`` without anything else than a bundle being lost.

    Raises:
        InvalidRequest: the folder holds something else, is a file, or is the working folder.
    """
    if folder.is_dir():
        parts = {*bundles.FILES, bundles.GRADIENTS, bundles.DESCRIPTION, bundles.PARTIAL}
        others = sorted({path.name for path in folder.iterdir()} - parts)
        if others:
            raise InvalidRequest(f"{folder} holds {others[0]}, which is no part of a bundle; name another folder")
        if folder.resolve() == Path.cwd():
            raise InvalidRequest("the working folder cannot become a bundle; name a folder inside it")
    elif folder.exists():
        raise InvalidRequest(f"{folder} is a file; name a folder for the bundle")


def pack_file(
    model: Path,
    labels: Path,
    preprocess_as: str,
    folder: Path,
    name: str,
    *,
    size: tuple[int, int] | None = None,
    head: Head | None = None,
    threshold: str = "0.5",
    architecture: str | None = None,
) -> Bundle:
    """Pack a model file with the class names that ``labels.read_labels`` finds in a labels file.

    Args:
        model: what ``model_files.load_model`` reads.
        labels: the names of the classes, in the order of the outputs.
        preprocess_as: a convention, or a JSON file that holds a ``Preprocessing``.
        folder: for the bundle.
        name: of the model.
        size: (height, width) of its input, for a model that takes any.
        head: makes probabilities of the logits that the model ends in.
        threshold: a number, or a JSON file with one for each label.
        architecture: of a file that holds weights alone.

    Raises:
        InvalidBundle: as ``pack``; or a file cannot be read, or the model only by running code from it.
    """
    preprocessing = read_preprocessing(preprocess_as)
    names, thresholds = read_labels(labels), read_thresholds(threshold)
    loaded = load_model(model, size, architecture=architecture, classes=len(names))
    if head is not None:
        loaded = with_head(loaded, head)
    return pack(loaded, folder, name=name, labels=names, preprocess_as=preprocessing, threshold=thresholds)


def _thresholds(given: float | Sequence[float], labels: int) -> tuple[float, ...]:
    """A threshold for each label.

    Raises:
        InvalidBundle: there are more or fewer, or one is no probability.
    """
    thresholds = tuple(given) if isinstance(given, Sequence) else (given,) * labels
    if len(thresholds) != labels or not all(0 <= threshold <= 1 for threshold in thresholds):
        raise InvalidBundle(
            f"{len(thresholds)} thresholds for {labels} labels; give one from 0 to 1 for each, or one for all"
        )
    return thresholds


def _plain(model: keras.Model) -> keras.Model:
    """The model with one input and one output that stand by themselves, and not in a list or dictionary.

    Raises:
        InvalidBundle: it does not take one picture of a fixed size and give one score for each class.
    """
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise InvalidBundle(f"the model has {len(inputs)} inputs and {len(outputs)} outputs; one of each is needed")
    taken, given = tuple(inputs[0].shape[1:]), tuple(outputs[0].shape[1:])
    if len(taken) != 3 or taken[2] not in (1, 3):
        raise InvalidBundle(f"the model takes {taken}; an input of (height, width, 3) or (height, width, 1) is needed")
    if None in taken:
        raise InvalidBundle(f"the model takes {taken}, images of any size; say which with --size HEIGHTxWIDTH")
    if len(given) != 1 or None in given:
        raise InvalidBundle(f"the model gives {given}; one score for each class is needed")
    if isinstance(model, keras.Sequential) or {type(model.input), type(model.output)} == {keras.KerasTensor}:
        return model
    return keras.Model(inputs[0], outputs[0], name=model.name)


def _version(model: keras.Model, labels: Sequence[str], preprocess_as: Convention | Preprocessing) -> str:
    """Twelve hexadecimal digits that change with weights, labels or preprocessing, and with nothing else."""
    how = preprocess_as if isinstance(preprocess_as, str) else preprocess_as.model_dump(mode="json")
    parts = [json.dumps([list(labels), how, model.input_shape[1:]]).encode()]
    parts += [np.ascontiguousarray(weights, "<f4").tobytes() for weights in model.get_weights()]
    return bundles.digest(b"".join(bundles.digest(part).encode() for part in parts))[:12]


def _check_equal(model: keras.Model, packed: Bundle) -> None:
    """Compare the probabilities of LiteRT and of Keras on trial pictures."""
    classifier = Classifier(packed)
    for pixels in trial_pictures(packed.size):
        image = DecodedImage(pixels, "PNG", *pixels.shape[1::-1])
        scores = model(model_input(image, packed)[None], training=False).numpy()[0]
        wanted = scores if len(scores) > 1 else np.array([1 - scores[0], scores[0]])
        try:
            predictions = classifier.classify(image)
        except (ValueError, RuntimeError) as error:
            raise InvalidBundle(
                "the LiteRT export of the model cannot be run: " + str(error).partition("\n")[0]
            ) from error
        found = {prediction.label: prediction.score for prediction in predictions}
        difference = max(abs(found[label] - float(w)) for label, w in zip(packed.labels, wanted, strict=True))
        if not difference <= EXPORT_TOLERANCE:
            raise InvalidBundle(
                f"the LiteRT export differs from Keras by {difference:.2g} in a probability; "
                "leave out what draws random numbers or keeps a state"
            )
