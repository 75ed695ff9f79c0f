"""The heatmaps of one image and one model, as the files that are stored. Needs no AWS."""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatdrop import images
from heatdrop.errors import RejectedImage
from heatdrop.explaining import rendering
from heatdrop.explaining.methods import kind_of, method_of, method_provenance
from heatdrop.images import Limits
from heatdrop.model.bundle import Bundle
from heatdrop.model.classifier import model_input
from heatdrop.model.fitting import Place, fitted, place_of
from heatdrop.model.preprocessing import Convention, Preprocessing, to_grey
from heatdrop.saliency import SaliencyMaps
from heatdrop.timing import milliseconds
from heatdrop.version import __version__
from heatdrop.vocabulary import DISCLAIMER, ExplanationSettings, Prediction, unusual_in_words

logger = logging.getLogger(__name__)

PICTURE = "picture.png"


@dataclass(frozen=True)
class Heatmap:
    """The files that explain one class, each as (name, content)."""

    label: str
    overlay: tuple[str, bytes]
    figure: tuple[str, bytes]
    maps: tuple[str, bytes]
    dicom: tuple[str, bytes] | None = None

    @property
    def files(self) -> tuple[tuple[str, bytes], ...]:
        """Overlay, figure, maps and, where there is one, DICOM, in this order."""
        return self.overlay, self.figure, self.maps, *([self.dicom] if self.dicom else [])


@dataclass(frozen=True)
class Explanation:
    """The heatmaps of one image, best class first, and the image itself at display size, as (name, content)."""

    picture: tuple[str, bytes]
    heatmaps: tuple[Heatmap, ...]
    warnings: tuple[str, ...]
    timings_ms: dict[str, float]
    trust: str
    """What is known of the trustworthiness of maps of this kind, as the figure says it."""


@dataclass(frozen=True)
class MadeMaps:
    """The maps of an image's best classes, and how long they took."""

    found: SaliencyMaps
    milliseconds: float


@dataclass(frozen=True)
class Seen:
    """An image as it is explained and drawn, however large its file is."""

    inputs: NDArray[np.float32]
    """What the model gets, (H, W, C)."""
    pixels: NDArray[np.uint8]
    """The same to look at, (H, W, 3)."""
    place: Place
    """Where in the image that lies."""
    picture: NDArray[np.uint8]
    """The whole image as it is shown."""
    format: str


class Explainer:
    """A bundle's gradients: loaded once, used for many images.

    An image is explained in three steps, which ``explain`` takes one after the other: ``decode``, ``maps`` and
    ``draw``. Threads may take different steps of different images at the same time.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: ExplanationSettings,
        limits: Limits = Limits(),
        decode: Callable[..., images.DecodedImage] = images.decode,
        *,
        on_gpu: bool = False,
    ) -> None:
        """Load the model.

        Args:
            bundle: of the model.
            settings: how images are explained.
            limits: what images may be as large as.
            decode: reads images, as ``images.decode`` does.
            on_gpu: whether to explain on a GPU, which takes TensorFlow.

        Raises:
            InvalidBundle: the model is missing, changed, or cannot be loaded safely.
            InvalidRequest: the method asked for cannot explain it.
            TensorFlowMissing: it can only be explained by TensorFlow, which is not installed.
        """
        self.bundle, self.settings, self.limits, self._decode = bundle, settings, limits, decode
        self._make_maps = method_of(bundle, settings, on_gpu=on_gpu)

    def explain(self, data: bytes, predictions: Sequence[Prediction], unusual: float | None = None) -> Explanation:
        """Make the heatmaps of an image for the best of its classes.

        Args:
            data: the bytes of the image file.
            predictions: what the classifier said of it, best first; the first ``settings.top`` are explained.
            unusual: how unusual the classifier found it; the figure tells if it is very much so.

        Raises:
            RejectedImage: ``data`` cannot be decoded.
        """
        seen = self.decode(data)
        return self.draw(data, seen, predictions, self.maps(seen, predictions), unusual)

    def decode(self, data: bytes) -> Seen:
        """Decode an image for its model and for display.

        Raises:
            RejectedImage: it cannot be decoded.
        """
        bundle = self.bundle
        image = self._decode(data, at_least=bundle.decoded_size, limits=self.limits)
        shown = image
        # The maps are of what the classifier saw. Where that was decoded smaller, which took little time, a larger
        # picture is needed for display.
        if image.pixels.shape[:2] != (image.height, image.width):
            side = rendering.OVERLAY_SIDE
            shown = self._decode(data, at_least=(side, side), limits=self.limits)
        return Seen(
            model_input(image, bundle),
            as_seen(fitted(image.pixels, bundle.size, bundle.preprocessing), bundle),
            place_of((image.pixels.shape[0], image.pixels.shape[1]), bundle.size, bundle.preprocessing),
            rendering.at_display_size(shown.pixels),
            image.format,
        )

    def maps(self, seen: Seen, predictions: Sequence[Prediction]) -> MadeMaps:
        """Make the maps of the best classes, which is what takes most of the time."""
        started = time.perf_counter()
        classes = np.array([[self.bundle.labels.index(p.label) for p in predictions[: self.settings.top]]])
        found = self._make_maps(seen.inputs[None], classes)
        return MadeMaps(found, milliseconds(started, time.perf_counter()))

    def draw(
        self,
        data: bytes,
        seen: Seen,
        predictions: Sequence[Prediction],
        made: MadeMaps,
        unusual: float | None = None,
    ) -> Explanation:
        """Make the files that show the maps of the best classes."""
        started, found, drawn = time.perf_counter(), made.found, self.settings.drawn
        trust = self.bundle.trust_in(kind_of(self.settings, found, drawn))
        remarks = [DISCLAIMER, f"Trust in such maps of this model: {trust.rstrip('.')}.", unusual_in_words(unusual)]
        note = rendering.note(" ".join(filter(None, remarks)))
        heatmaps = []
        for position, prediction in enumerate(predictions[: self.settings.top]):
            arrays: dict[str, Any] = {method: maps[0, position] for method, maps in found.maps.items()}
            if drawn in found.standard_errors:
                arrays["standard_error"] = found.standard_errors[drawn][0, position]
            heatmaps.append(self._heatmap(data, seen, prediction, arrays, found, note))
        timings = {"explain": made.milliseconds, "render": milliseconds(started, time.perf_counter())}
        shown = (PICTURE, rendering.picture(seen.picture))
        return Explanation(shown, tuple(heatmaps), found.warnings[0], timings, trust)

    def _heatmap(
        self, data: bytes, seen: Seen, prediction: Prediction, arrays: dict[str, Any], found: SaliencyMaps, note: str
    ) -> Heatmap:
        raw, label = arrays[self.settings.drawn], prediction.label
        name = file_stem(self.bundle.labels.index(label), label)
        overlaid = rendering.overlaid(seen.picture, raw, seen.place)
        wants_dicom = self.settings.dicom and seen.format == "DICOM"
        capture = self._capture(data, overlaid, prediction, found) if wants_dicom else None
        return Heatmap(
            label,
            (f"{name}.overlay.png", rendering.picture(overlaid)),
            (f"{name}.figure.png", rendering.figure(seen.pixels, raw, label, prediction.score, note)),
            (f"{name}.maps.npz", rendering.maps_file(arrays, self._provenance(prediction, found, seen.place))),
            (f"{name}.overlay.dcm", capture) if capture else None,
        )

    def _capture(
        self, data: bytes, overlaid: NDArray[np.uint8], prediction: Prediction, found: SaliencyMaps
    ) -> bytes | None:
        """The overlay of one class as DICOM; None if the image's own DICOM attributes cannot be taken over."""
        # pydicom is loaded for DICOM alone.
        from heatdrop.images.secondary_capture import secondary_capture

        provenance = method_provenance(self.settings, found)
        how = ", ".join(
            f"{name} {value}" for name, value in provenance.items() if name != "units" and value is not None
        )
        model = self.bundle.model
        made_by = f"Probability {prediction.score:.4f} by model {model.name} {model.version}; {how}."
        try:
            return secondary_capture(data, overlaid, prediction.label, made_by)
        except RejectedImage as error:
            logger.warning("the overlay is not written as DICOM: %s", error)
            return None

    def _provenance(self, prediction: Prediction, found: SaliencyMaps, place: Place) -> dict[str, Any]:
        """All that is needed to make this map again, and nothing that changes from run to run."""
        return {
            "heatdrop": __version__,
            **method_provenance(self.settings, found),
            "label": prediction.label,
            "probability": prediction.score,
            "model": self.bundle.model.model_dump(),
            "certificate": {name: self.bundle.trust_in(kind_of(self.settings, found, name)) for name in found.maps},
            "input": {
                "height": self.bundle.size[0],
                "width": self.bundle.size[1],
                "preprocess": _described(self.bundle.description.preprocess),
                **({} if self.bundle.channels == 3 else {"channels": self.bundle.channels}),
                **({} if place.is_whole else {"place": asdict(place)}),
            },
            "warnings": list(found.warnings[0]),
            "note": DISCLAIMER,
        }


def as_seen(pixels: NDArray[np.uint8], bundle: Bundle) -> NDArray[np.uint8]:
    """The fitted pixels (H, W, 3) of an image as they are shown beside a map: in grey where the model gets grey."""
    if bundle.channels == 3:
        return pixels
    grey = to_grey(pixels, bundle.preprocessing.grey).round().astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)


def _described(preprocess: Convention | Preprocessing) -> Any:
    return preprocess if isinstance(preprocess, str) else preprocess.model_dump(mode="json")


def file_stem(index: int, label: str) -> str:
    """A file name for a class: its number, which makes it unique, and what is harmless of its label."""
    return f"{index}-{re.sub(r'[^A-Za-z0-9]+', '-', label).strip('-').lower()[:40]}".rstrip("-")
