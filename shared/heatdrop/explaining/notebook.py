"""Explanations in a notebook or a script: an image in, its predictions, maps and figure out."""

import io
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from heatdrop.errors import InvalidRequest
from heatdrop.explaining.explainer import Explainer, Explanation, Heatmap
from heatdrop.explaining.files import read_file
from heatdrop.images import Limits
from heatdrop.model import default
from heatdrop.model.bundle import Bundle, open_bundle
from heatdrop.model.classifier import Classifier
from heatdrop.quiet import native_output_hidden
from heatdrop.text import first_problem, printable
from heatdrop.vocabulary import DISCLAIMER, ExplanationSettings, Prediction


@dataclass(frozen=True, repr=False)
class Explained:
    """An image with its predictions and its heatmaps; as the last value of a cell, Jupyter shows its figure."""

    predictions: tuple[Prediction, ...]
    explanation: Explanation
    bundle: Bundle

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that are explained, best first."""
        return tuple(heatmap.label for heatmap in self.explanation.heatmaps)

    @property
    def trust(self) -> str:
        """What is known of the trustworthiness of maps of this kind, as the figure says it."""
        return self.explanation.trust

    def figure(self, label: str | None = None) -> bytes:
        """A PNG of the input beside the map of a class, the best one by default."""
        return self._heatmap(label).figure[1]

    def overlay(self, label: str | None = None) -> bytes:
        """A PNG of the image with the map of a class over it, the best one by default."""
        return self._heatmap(label).overlay[1]

    def maps(self, label: str | None = None) -> dict[str, NDArray[np.float32]]:
        """The raw maps (H, W) of a class, the best one by default: every estimator, and ``standard_error``."""
        return {name: array for name, array in self._arrays(label).items() if name != "provenance"}

    def provenance(self, label: str | None = None) -> dict[str, Any]:
        """Everything needed to make the maps of a class again."""
        found: dict[str, Any] = json.loads(str(self._arrays(label)["provenance"]))
        return found

    def _heatmap(self, label: str | None) -> Heatmap:
        for heatmap in self.explanation.heatmaps:
            if label in (None, heatmap.label):
                return heatmap
        raise InvalidRequest(f"class {label!r} is not explained; {', '.join(self.labels)} are: ask for more with top")

    def _arrays(self, label: str | None) -> dict[str, NDArray[Any]]:
        with np.load(io.BytesIO(self._heatmap(label).maps[1]), allow_pickle=False) as arrays:
            return dict(arrays)

    def _repr_png_(self) -> bytes:
        return self.figure()

    def __repr__(self) -> str:
        classes = ", ".join(f"{printable(p.label)} {p.score:.3f}" for p in self.predictions[:3])
        return f"<{classes}; {self.bundle.model.name} {self.bundle.model.version}. {DISCLAIMER}>"


def explain(image: str | Path | bytes, bundle: str | Path | None = None, **settings: Any) -> Explained:
    """Predict the classes of an image and explain them, as ``heatdrop explain`` does.

    Args:
        image: a file, or its bytes.
        bundle: the folder of a model bundle; the chest X-ray model by default.
        settings: method, top, samples, noise_level, estimator, seed.

    Raises:
        RejectedImage: the image cannot be decoded.
        InvalidBundle: the bundle cannot be used.
        InvalidRequest: there is no such setting, or it is out of its range.
    """
    try:
        checked = ExplanationSettings.model_validate(settings)
    except ValidationError as error:
        raise InvalidRequest(first_problem(error)) from error
    data = image if isinstance(image, bytes) else read_file(Path(image), Limits())
    opened = open_bundle(Path(bundle)) if bundle else default.open_default() or default.build_default()
    known = "".join(certificate.model_dump_json() for certificate in opened.description.certificates)
    classifier, explainer = _loaded(opened.folder.resolve(), opened.model.version, known, checked)
    seen = explainer.decode(data)
    predictions, unusual = classifier.look_at_input(seen.inputs)
    explanation = explainer.draw(data, seen, predictions, explainer.maps(seen, predictions), unusual)
    return Explained(predictions, explanation, explainer.bundle)


@lru_cache(maxsize=2)
def _loaded(
    folder: Path, _version: str, _certificates: str, settings: ExplanationSettings
) -> tuple[Classifier, Explainer]:
    """The models of a bundle, kept for the next call. Version and certificates are arguments so that a bundle that was
    packed or certified again is loaded again.
    """
    with native_output_hidden():
        bundle = open_bundle(folder)
        return Classifier(bundle), Explainer(bundle, settings)
