"""One image and its model to heatmaps: pixels in, artefacts out. Knows no AWS."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heatdrop import __version__, images, rendering
from heatdrop.classifier import model_input
from heatdrop.images import Limits
from heatdrop.methods import method_of, recipe
from heatdrop.model.bundle import Bundle
from heatdrop.model.packing import load_keras
from heatdrop.vocabulary import DISCLAIMER, ExplanationSettings, Prediction

PICTURE = "picture.png"


@dataclass(frozen=True)
class Heatmap:
    """The artefacts that explain one class: file name to content."""

    label: str
    overlay: tuple[str, bytes]
    figure: tuple[str, bytes]
    maps: tuple[str, bytes]

    @property
    def files(self) -> tuple[tuple[str, bytes], ...]:
        """Overlay, figure and maps, in this order."""
        return self.overlay, self.figure, self.maps


@dataclass(frozen=True)
class Explanation:
    """The heatmaps of one image, best class first, and the image as it is shown: file name and content."""

    picture: tuple[str, bytes]
    heatmaps: tuple[Heatmap, ...]
    warnings: tuple[str, ...]
    timings_ms: dict[str, float]


class Explainer:
    """A bundle's Keras model and its compiled gradients, loaded once and used for many images."""

    def __init__(
        self,
        bundle: Bundle,
        settings: ExplanationSettings,
        limits: Limits = Limits(),
        decode: Callable[..., images.DecodedImage] = images.decode,
    ) -> None:
        """Load the model; ``decode`` reads images, as ``images.decode`` does.

        Raises:
            InvalidBundle: the model is missing, changed, or cannot be loaded safely.
            InvalidRequest: the method asked for cannot explain it.
        """
        self.bundle, self.settings, self.limits, self._decode = bundle, settings, limits, decode
        self._make_maps = method_of(load_keras(bundle), settings)

    def explain(self, data: bytes, predictions: Sequence[Prediction]) -> Explanation:
        """Draw why the model scores an image as it does, for the best of its ``predictions``.

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
        picture = rendering.shown(self._decode(data, at_least=display_side, limits=self.limits).pixels)
        seen = images.resize(image.pixels, bundle.size)
        note = f"{DISCLAIMER} Trustworthiness of this model's maps: {bundle.certified}."
        heatmaps = []
        for position, prediction in enumerate(best):
            raw = result.maps[drawn][0, position]
            name = file_stem(bundle.labels.index(prediction.label), prediction.label)
            arrays: dict[str, Any] = {method: maps[0, position] for method, maps in result.maps.items()}
            if drawn in result.standard_errors:
                arrays["standard_error"] = result.standard_errors[drawn][0, position]
            provenance = self._provenance(prediction, result.warnings[0])
            heatmaps.append(
                Heatmap(
                    prediction.label,
                    (f"{name}.overlay.png", rendering.overlay(picture, raw)),
                    (f"{name}.figure.png", rendering.figure(seen, raw, prediction.label, prediction.score, note)),
                    (f"{name}.maps.npz", rendering.maps_file(arrays, provenance)),
                )
            )
        timings = {"explain": _ms(started, explained), "render": _ms(explained, time.perf_counter())}
        return Explanation((PICTURE, rendering.picture(picture)), tuple(heatmaps), result.warnings[0], timings)

    def _provenance(self, prediction: Prediction, warnings: tuple[str, ...]) -> dict[str, Any]:
        """Everything needed to make this map again, and nothing that changes from run to run."""
        return {
            "heatdrop": __version__,
            **recipe(self.settings),
            "label": prediction.label,
            "probability": prediction.score,
            "model": self.bundle.model.model_dump(),
            "certificate": self.bundle.certified,
            "input": {
                "height": self.bundle.size[0],
                "width": self.bundle.size[1],
                "preprocess": self.bundle.description.preprocess,
            },
            "warnings": list(warnings),
            "note": DISCLAIMER,
        }


def file_stem(index: int, label: str) -> str:
    """A file name for a class: its number, which makes it unique, and what is harmless of its label."""
    return f"{index}-{re.sub(r'[^A-Za-z0-9]+', '-', label).strip('-').lower()[:40]}".rstrip("-")


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 1)
