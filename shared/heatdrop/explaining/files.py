"""Predictions and heatmaps of files in this process, without a cloud: the same steps and answers as the pipeline's."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from heatdrop import ids, images
from heatdrop.errors import FileTooLarge, RejectedImage
from heatdrop.explaining.inputs import path_text
from heatdrop.explaining.output_folder import OutputFolder
from heatdrop.explaining.stages import in_stages
from heatdrop.images import Limits
from heatdrop.model.bundle import Bundle
from heatdrop.model.classifier import Classifier, model_input
from heatdrop.quiet import native_output_hidden
from heatdrop.timing import milliseconds
from heatdrop.vocabulary import Drop, Result, State

if TYPE_CHECKING:
    from heatdrop.explaining.explainer import Explainer, MadeMaps, Seen

Image = TypeVar("Image")


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


def classify_files(paths: Iterable[Path], bundle: Bundle, limits: Limits) -> Iterator[Result]:
    """Classify files; one result for each, in order."""
    with native_output_hidden():
        classifier = Classifier(bundle)

    def decode(data: bytes) -> NDArray[np.float32]:
        return model_input(images.decode(data, at_least=bundle.decoded_size, limits=limits), bundle)

    for path in paths:
        file = _open(path, limits, decode)
        yield _classified(file, file.image, classifier)


def explain_files(
    paths: Iterable[Path], explainer: "Explainer", output: OutputFolder, limits: Limits
) -> Iterator[Result]:
    """Classify and explain files; one result for each, in order, with its heatmaps written to ``output``.

    The next file is decoded, and the heatmaps of the last one are drawn, beside the work on each.
    """
    with native_output_hidden():
        classifier = Classifier(explainer.bundle)

    def explain(_: Path, file: _File["Seen"]) -> tuple[_File["Seen"], Result, "MadeMaps | None"]:
        result = _classified(file, file.image.inputs if file.image else None, classifier)
        return file, result, explainer.maps(file.image, result.predictions) if file.image else None

    def draw(_: Path, made: tuple[_File["Seen"], Result, "MadeMaps | None"]) -> Result:
        file, result, maps = made
        if file.image is None or maps is None:
            return result
        explanation = explainer.draw(file.data, file.image, result.predictions, maps, result.unusual)
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
        return result.model_copy(update=explained)

    for _, result in in_stages(paths, lambda path: _open(path, limits, explainer.decode), explain, draw):
        yield result


@dataclass(frozen=True)
class _File(Generic[Image]):
    """A file that was read and, unless it was rejected, decoded."""

    path: Path
    data: bytes
    image: Image | None
    rejection: str
    decode_ms: float


def _open(path: Path, limits: Limits, decode: Callable[[bytes], Image]) -> _File[Image]:
    data = b""
    started = time.perf_counter()
    try:
        data = read_file(path, limits)
        image = decode(data)
    except RejectedImage as error:
        return _File(path, data, None, str(error), 0.0)
    return _File(path, data, image, "", milliseconds(started, time.perf_counter()))


def _classified(file: _File[Any], inputs: NDArray[np.float32] | None, classifier: Classifier) -> Result:
    """The result of a file so far: CLASSIFIED, or REJECTED where it could not be decoded."""
    about = {"file": path_text(file.path), "image_id": _id(file.path, file.data)}
    if inputs is None:
        return Result(**about, state=State.REJECTED, reason=file.rejection)
    started = time.perf_counter()
    predictions, unusual = classifier.look_at_input(inputs)
    timings = {"decode": file.decode_ms, "predict": milliseconds(started, time.perf_counter())}
    model = classifier.bundle.model
    return Result(
        **about, state=State.CLASSIFIED, predictions=predictions, unusual=unusual, model=model, timings_ms=timings
    )


def _id(path: Path, data: bytes) -> str:
    return ids.image_id(Drop(bucket="", key=path_text(path), etag=hashlib.sha256(data).hexdigest()))
