"""Predictions and heatmaps of files in this process, without a cloud: the same steps and answers as the pipeline's."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from heatdrop import ids, images
from heatdrop.errors import FileTooLarge, RejectedImage
from heatdrop.explaining.inputs import path_text
from heatdrop.explaining.output_folder import OutputFolder
from heatdrop.images import Limits
from heatdrop.model.bundle import Bundle
from heatdrop.model.classifier import Classifier
from heatdrop.quiet import native_output_hidden
from heatdrop.timing import milliseconds
from heatdrop.vocabulary import Drop, Result, State

if TYPE_CHECKING:
    from heatdrop.explaining.explainer import Explainer


def read_file(path: Path, limits: Limits) -> bytes:
    """The bytes of a file.

    Raises:
        FileTooLarge: it has more than the limit; it is not read.
        RejectedImage: it cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > limits.max_bytes:
            raise FileTooLarge.over(limits.max_bytes, size)
        return path.read_bytes()
    except OSError as error:
        raise RejectedImage(f"the file cannot be read: {error.strerror}") from error


def classify_file(path: Path, classifier: Classifier, limits: Limits) -> tuple[Result, bytes]:
    """Decode and classify one file; returns its result (CLASSIFIED or REJECTED) and its bytes."""
    data = b""
    started = time.perf_counter()
    try:
        data = read_file(path, limits)
        image = images.decode(data, at_least=classifier.bundle.size, limits=limits)
        decoded = time.perf_counter()
        predictions, unusual = classifier.look_at(image)
    except RejectedImage as error:
        return Result(file=path_text(path), image_id=_id(path, data), state=State.REJECTED, reason=str(error)), data
    timings = {"decode": milliseconds(started, decoded), "predict": milliseconds(decoded, time.perf_counter())}
    result = Result(
        file=path_text(path),
        image_id=_id(path, data),
        state=State.CLASSIFIED,
        predictions=predictions,
        unusual=unusual,
        model=classifier.bundle.model,
        timings_ms=timings,
    )
    return result, data


def classify_files(paths: Iterable[Path], bundle: Bundle, limits: Limits) -> Iterator[Result]:
    """Classify files; one result for each, in order."""
    with native_output_hidden():
        classifier = Classifier(bundle)
    for path in paths:
        yield classify_file(path, classifier, limits)[0]


def explain_files(
    paths: Iterable[Path], explainer: "Explainer", output: OutputFolder, limits: Limits
) -> Iterator[Result]:
    """Classify and explain files; one result for each, in order, with its heatmaps written to ``output``."""
    with native_output_hidden():
        classifier = Classifier(explainer.bundle)
    for path in paths:
        result, data = classify_file(path, classifier, limits)
        if result.state is State.CLASSIFIED:
            explanation = explainer.explain(data, result.predictions, result.unusual)
            (picture,) = output.save(result.file, result.image_id, [explanation.picture])
            heatmaps = tuple(
                output.save_heatmap(result.file, result.image_id, heatmap.label, heatmap.files)
                for heatmap in explanation.heatmaps
            )
            timings = result.timings_ms | explanation.timings_ms
            explained = {
                "state": State.EXPLAINED,
                "picture": picture,
                "heatmaps": heatmaps,
                "trust": explanation.trust,
                "timings_ms": timings,
            }
            result = result.model_copy(update=explained)
        yield result


def _id(path: Path, data: bytes) -> str:
    return ids.image_id(Drop(bucket="", key=path_text(path), etag=hashlib.sha256(data).hexdigest()))
