"""What the heatmap job does to one image, in three steps: read it, make its maps, store what shows them.

No step touches the image's record, so each may be taken by a thread of its own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from heatdrop.aws.record import Record
from heatdrop.aws.storage import Manifest, ManifestEntry, Storage
from heatdrop.errors import HeatdropError
from heatdrop.explaining.explainer import Explainer, Explanation, MadeMaps, Seen
from heatdrop.images import Limits
from heatdrop.timing import milliseconds
from heatdrop.vocabulary import HeatmapFiles

Made = TypeVar("Made")


@dataclass(frozen=True)
class Pending:
    """An image of the manifest that is still to be explained, with its record as it was when its turn came."""

    entry: ManifestEntry
    record: Record


@dataclass(frozen=True)
class Flaw:
    """Why an image cannot be explained."""

    reason: str
    error: Exception | None = None
    """What nobody foresaw; belongs into the log."""


@dataclass(frozen=True)
class ReadImage:
    """An image that was fetched and decoded."""

    data: bytes
    seen: Seen


@dataclass(frozen=True)
class WorkedImage:
    """An image whose maps are made."""

    read: ReadImage
    maps: MadeMaps


@dataclass(frozen=True)
class Stored:
    """What was stored of an image: the keys of its artefacts."""

    picture: str
    heatmaps: tuple[HeatmapFiles, ...]
    timings_ms: dict[str, float]
    trust: str


class HeatmapMaker:
    """Makes the heatmaps of one manifest. What is wrong with an image becomes a ``Flaw``.

    An error of S3 says nothing about the image. It is raised, and ends the job; the retry does what is left.
    """

    def __init__(self, explainer: Explainer, storage: Storage, manifest: Manifest, limits: Limits) -> None:
        self._explainer, self._storage, self._manifest, self._limits = explainer, storage, manifest, limits

    def read(self, pending: Pending) -> ReadImage | Flaw:
        """Fetch and decode an image."""
        try:
            data = self._storage.fetch_drop(pending.entry.drop, self._limits.max_bytes)
        except HeatdropError as error:
            return Flaw(str(error))
        return _made(lambda: ReadImage(data, self._explainer.decode(data)))

    def maps(self, pending: Pending, read: ReadImage | Flaw) -> WorkedImage | Flaw:
        """Make the maps of an image."""
        if isinstance(read, Flaw):
            return read
        return _made(lambda: WorkedImage(read, self._explainer.maps(read.seen, pending.entry.predictions)))

    def store(self, pending: Pending, worked: WorkedImage | Flaw | None) -> Stored | Flaw | None:
        """Draw an image's heatmaps and store them; what is none, or has a flaw, is passed on."""
        if worked is None or isinstance(worked, Flaw):
            return worked
        read, maps, predictions = worked.read, worked.maps, pending.entry.predictions
        explanation = _made(
            lambda: self._explainer.draw(read.data, read.seen, predictions, maps, pending.record.unusual)
        )
        return explanation if isinstance(explanation, Flaw) else self._put(pending.record, explanation)

    def _put(self, record: Record, explanation: Explanation) -> Stored:
        started = time.perf_counter()
        # An explanation on request has a folder of its own, so that it never replaces the first one.
        requested = self._manifest.manifest_id in record.explanations
        folder = f"{self._manifest.manifest_id}/" if requested else ""

        def put(artefact: tuple[str, bytes]) -> str:
            name, content = artefact
            return self._storage.put_artefact(record.image_id, self._manifest.model, folder + name, content)

        picture = put(explanation.picture)
        heatmaps = tuple(
            HeatmapFiles.of(h.label, [put(artefact) for artefact in h.files]) for h in explanation.heatmaps
        )
        timings = explanation.timings_ms | {"store": milliseconds(started, time.perf_counter())}
        return Stored(picture, heatmaps, timings, explanation.trust)


def _made(make: Callable[[], Made]) -> Made | Flaw:
    """What ``make`` returns, or why it cannot be made."""
    try:
        return make()
    except HeatdropError as error:
        return Flaw(str(error))
    except Exception as error:
        return Flaw(f"the heatmaps could not be made ({type(error).__name__})", error)
