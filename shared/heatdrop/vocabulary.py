"""The types that every part shares: the states of an image, a prediction, how it is explained. It imports little."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

Estimator = Literal["mean_abs", "signed", "squared", "variance"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)

ActivationMethod = Literal["gradcam", "gradcam++", "layercam", "hirescam"]
ACTIVATION_METHODS: tuple[ActivationMethod, ...] = get_args(ActivationMethod)

HidingMethod = Literal["occlusion", "rise"]

Method = Literal[
    "smoothgrad", "integrated_gradients", "gradcam", "gradcam++", "layercam", "hirescam", "occlusion", "rise"
]

Architecture = Literal["densenet121", "densenet169", "densenet201"]

LabelRule = Literal["folder", "kermany"]
"""``folder``: the folder's name is the label. ``kermany``: as ``folder``, but PNEUMONIA is split into
BACTERIAL and VIRAL by the file names of the chest X-ray set of Kermany, Zhang and Goldbaum."""

Top = Annotated[int, Field(ge=1, le=20)]
"""How many of the best classes are explained."""

Samples = Annotated[int, Field(ge=0, le=1000)]
"""Noisy copies that SmoothGrad averages an image over; 0 is the plain gradient."""

NoiseLevel = Annotated[float, Field(ge=1e-6, le=1)]
"""Standard deviation of the noise as a share of the image's value range."""

Jitter = Annotated[int, Field(ge=0, le=64)]
"""Period in pixels of the grid in gradients that is averaged out by shifting the noisy copies; 0 shifts nothing."""

Seed = Annotated[int, Field(ge=0, lt=2**53)]
"""Of the noise; a JavaScript number holds every one of them exactly."""

Unusual = Annotated[float | None, Field(ge=0, le=1)]
"""The share of the validation images that are more usual than this one; None where the model's bundle does not know."""

UNUSUAL = 0.99
"""From this share on, a result says of its own accord that the image is unusual."""

DISCLAIMER = "Research software, not a medical device."


class FrozenModel(BaseModel):
    """Base of what is stored and sent: immutable, and strict about unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class State(StrEnum):
    """RECEIVED -> CLASSIFIED -> EXPLAINED, else REJECTED (the image is at fault) or FAILED (we are)."""

    RECEIVED = "RECEIVED"
    CLASSIFIED = "CLASSIFIED"
    EXPLAINED = "EXPLAINED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"

    @property
    def final(self) -> bool:
        """Whether an image stays in this state."""
        return self in {State.EXPLAINED, State.REJECTED, State.FAILED}


class Prediction(FrozenModel):
    """A class and its probability."""

    label: str
    score: Annotated[float, Field(ge=0, le=1)]


class ModelName(FrozenModel):
    """Which model said so. ``version`` is a digest of its weights and of how its input is made."""

    name: str
    version: str


class HeatmapFiles(FrozenModel):
    """Where the artefacts of one explained class are: S3 keys in a record, paths in a result."""

    label: str
    overlay: str
    figure: str
    maps: str
    dicom: str | None = None
    """The overlay as a DICOM Secondary Capture; None where none was asked for, or the image is not DICOM."""

    @classmethod
    def of(cls, label: str, paths: Sequence[str]) -> Self:
        """The files of a class, given in the order in which ``paths`` returns them."""
        return cls(label=label, **dict(zip(("overlay", "figure", "maps", "dicom"), paths, strict=False)))

    @property
    def paths(self) -> tuple[str, ...]:
        """Overlay, figure, maps and, where there is one, DICOM, in this order."""
        return self.overlay, self.figure, self.maps, *([self.dicom] if self.dicom else [])


class ExplanationSettings(FrozenModel):
    """How an image is explained; the defaults are the tutorial's.

    Estimator and jitter are SmoothGrad's alone. Samples (as steps) and noise level are also those of integrated
    gradients, and the seed is also that of the masks of RISE; other methods look at none of these.
    """

    method: Method = "smoothgrad"
    top: Top = 3
    samples: Samples = 20
    noise_level: NoiseLevel = 0.20
    estimator: Estimator = "mean_abs"
    jitter: Jitter = 0
    seed: Seed = 0
    dicom: bool = False
    """Whether the overlays of a DICOM image are also written as DICOM."""

    @property
    def drawn(self) -> Estimator | Method:
        """The map that is drawn, by the name of its array in the maps file."""
        return self.estimator if self.method == "smoothgrad" else self.method


class Drop(FrozenModel):
    """One upload: an object version in the input bucket."""

    bucket: str
    key: str
    version_id: str | None = None
    etag: str = ""
    size: int | None = None


class Result(FrozenModel):
    """The answer about one image, as written to ``results.jsonl``; heatmap paths are relative to that file."""

    file: str
    image_id: str
    state: State
    reason: str | None = None
    predictions: tuple[Prediction, ...] = ()
    unusual: Unusual = None
    picture: str | None = None
    heatmaps: tuple[HeatmapFiles, ...] = ()
    trust: str | None = None
    """What was known of the trustworthiness of maps like its heatmaps when they were made."""
    model: ModelName | None = None
    timings_ms: dict[str, float] = Field(default_factory=dict)


def unusual_in_words(share: float | None) -> str:
    """How unusual an image is, in a sentence; empty where that is not known or the image is nothing special."""
    if share is None or share < UNUSUAL:
        return ""
    if share >= 1:
        return "This image is less usual than all validation images: the model may not know its kind."
    return f"This image is less usual than {share:.1%} of the validation images: the model may not know its kind."
