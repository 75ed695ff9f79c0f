"""Predictions through LiteRT, which needs no TensorFlow."""

import os
from typing import NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from heatdrop.errors import InvalidBundle
from heatdrop.images import DecodedImage
from heatdrop.model.bundle import LITERT_MODEL, Bundle
from heatdrop.model.fitting import fitted
from heatdrop.model.preprocessing import preprocess
from heatdrop.model.typicality import unusual
from heatdrop.vocabulary import Prediction


def model_input(image: DecodedImage, bundle: Bundle) -> NDArray[np.float32]:
    """The input (H, W, C) float32 that the bundle's model gets for an image, for prediction and explanation alike."""
    how = bundle.preprocessing
    return preprocess(fitted(image.pixels, bundle.size, how), how, bundle.channels)


def rank(labels: tuple[str, ...], scores: NDArray[np.float32]) -> tuple[Prediction, ...]:
    """All classes, best first; equal scores keep the order of the labels."""
    order = np.argsort(-scores, kind="stable")
    return tuple(Prediction(label=labels[i], score=min(max(float(scores[i]), 0.0), 1.0)) for i in order)


class Classified(NamedTuple):
    """What a model makes of an image.

    ``unusual`` is the share of the validation images, 0 to 1, that are more usual; None where the bundle does not know.
    """

    predictions: tuple[Prediction, ...]
    unusual: float | None


class Classifier:
    """A bundle's model, loaded once and used for many images. Not safe for use by several threads at once."""

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Load the model.

        Raises:
            InvalidBundle: the model is missing, changed, or does not fit the bundle's labels.
        """
        self.bundle = bundle
        model = bundle.read(LITERT_MODEL)
        try:
            self._interpreter = Interpreter(model_content=model, num_threads=threads or os.cpu_count() or 1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InvalidBundle(f"{LITERT_MODEL} of bundle {bundle.folder} cannot be loaded: {error}") from error
        pixels, outputs_found = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()
        # Scores are (1, classes); beside them may stand the distance of the features, (1,).
        (scores,) = (output for output in outputs_found if len(output["shape"]) == 2)
        distances = [output["index"] for output in outputs_found if len(output["shape"]) == 1]
        self._input, self._output = pixels["index"], scores["index"]
        self._distance = distances[0] if distances and bundle.description.distances else None
        if tuple(pixels["shape"]) != (1, *bundle.size, bundle.channels):
            taken = " x ".join(str(side) for side in pixels["shape"][1:])
            raise InvalidBundle(f"the model takes {taken}, but the bundle says {bundle.size}; pack it again")
        outputs = int(scores["shape"][-1])
        if max(outputs, 2) != len(bundle.labels):
            raise InvalidBundle(f"the model has {outputs} outputs but {len(bundle.labels)} labels; pack it again")

    def classify(self, image: DecodedImage) -> tuple[Prediction, ...]:
        """All classes of one image, best first."""
        return self.look_at(image).predictions

    def look_at(self, image: DecodedImage) -> Classified:
        """All classes of one image, best first, and how unusual it is."""
        return self.look_at_input(model_input(image, self.bundle))

    def look_at_input(self, inputs: NDArray[np.float32]) -> Classified:
        """The same of an image as the model gets it, (H, W, C) of ``model_input``."""
        scores = self.scores(inputs)
        return Classified(rank(self.bundle.labels, scores), self._unusual())

    def scores(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W, C), preprocessed, to (classes,): the probability of each class, in the order of the labels."""
        self._interpreter.set_tensor(self._input, inputs[None])
        self._interpreter.invoke()
        scores: NDArray[np.float32] = self._interpreter.get_tensor(self._output)[0]
        # One sigmoid unit: the probability of the second class.
        return scores if len(scores) > 1 else np.array([1 - scores[0], scores[0]], np.float32)

    def _unusual(self) -> float | None:
        """How unusual the image is whose scores were computed last."""
        known = self.bundle.description.distances
        if self._distance is None or known is None:
            return None
        return unusual(float(self._interpreter.get_tensor(self._distance)[0]), known)
