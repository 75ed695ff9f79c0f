"""The heatmaps of one image and one model, as the files that are stored. Needs no AWS."""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


class Explainer:
    """A bundle's gradients: loaded once, used for many images."""

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
        started = time.perf_counter()
        drawn, bundle = self.settings.drawn, self.bundle
        best = tuple(predictions[: self.settings.top])
        image = self._decode(data, at_least=bundle.size, limits=self.limits)
        classes = np.array([[bundle.labels.index(p.label) for p in best]])
        result = self._make_maps(model_input(image, bundle)[None], classes)
        explained = time.perf_counter()
        display_side = (rendering.OVERLAY_SIDE, rendering.OVERLAY_SIDE)
        picture = rendering.at_display_size(self._decode(data, at_least=display_side, limits=self.limits).pixels)
        seen = images.resize(image.pixels, bundle.size)
        trust = bundle.trust_in(kind_of(self.settings, result, drawn))
        remarks = [DISCLAIMER, f"Trust in such maps of this model: {trust.rstrip('.')}.", unusual_in_words(unusual)]
        note = rendering.note(" ".join(filter(None, remarks)))
        wants_dicom = self.settings.dicom and image.format == "DICOM"
        heatmaps = []
        for position, prediction in enumerate(best):
            raw = result.maps[drawn][0, position]
            name = file_stem(bundle.labels.index(prediction.label), prediction.label)
            arrays: dict[str, Any] = {method: maps[0, position] for method, maps in result.maps.items()}
            if drawn in result.standard_errors:
                arrays["standard_error"] = result.standard_errors[drawn][0, position]
            provenance = self._provenance(prediction, result)
            overlaid = rendering.overlaid(picture, raw)
            capture = self._capture(data, overlaid, prediction, result) if wants_dicom else None
            heatmaps.append(
                Heatmap(
                    prediction.label,
                    (f"{name}.overlay.png", rendering.picture(overlaid)),
                    (f"{name}.figure.png", rendering.figure(seen, raw, prediction.label, prediction.score, note)),
                    (f"{name}.maps.npz", rendering.maps_file(arrays, provenance)),
                    (f"{name}.overlay.dcm", capture) if capture else None,
                )
            )
        timings = {"explain": milliseconds(started, explained), "render": milliseconds(explained, time.perf_counter())}
        return Explanation((PICTURE, rendering.picture(picture)), tuple(heatmaps), result.warnings[0], timings, trust)

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

    def _provenance(self, prediction: Prediction, found: SaliencyMaps) -> dict[str, Any]:
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
                "preprocess": self.bundle.description.preprocess,
            },
            "warnings": list(found.warnings[0]),
            "note": DISCLAIMER,
        }


def file_stem(index: int, label: str) -> str:
    """A file name for a class: its number, which makes it unique, and what is harmless of its label."""
    return f"{index}-{re.sub(r'[^A-Za-z0-9]+', '-', label).strip('-').lower()[:40]}".rstrip("-")
