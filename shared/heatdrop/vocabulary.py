"""The words every part shares, and nothing heavy: the states of an image, a prediction, how it is explained."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

Estimator = Literal["mean_abs", "signed", "squared", "variance"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)

ActivationMethod = Literal["gradcam", "gradcam++", "layercam"]
ACTIVATION_METHODS: tuple[ActivationMethod, ...] = get_args(ActivationMethod)

Method = Literal["smoothgrad", "gradcam", "gradcam++", "layercam"]

Architecture = Literal["densenet121", "densenet169", "densenet201"]

LabelRule = Literal["folder", "kermany"]
"""``folder``: the folder's name is the label. ``kermany``: as ``folder``, but PNEUMONIA is split into
BACTERIAL and VIRAL by the file names of the chest X-ray set of Kermany, Zhang and Goldbaum."""

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
        """Whether an image in this state is done with."""
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
    """The overlay as a DICOM Secondary Capture; None where that was not asked for or the image is none."""

    @classmethod
    def of(cls, label: str, paths: Sequence[str]) -> Self:
        """The artefacts of a class in the order of ``paths``."""
        return cls(label=label, **dict(zip(("overlay", "figure", "maps", "dicom"), paths, strict=False)))

    @property
    def paths(self) -> tuple[str, ...]:
        """Overlay, figure, maps and, where there is one, DICOM, in this order."""
        return self.overlay, self.figure, self.maps, *([self.dicom] if self.dicom else [])


class ExplanationSettings(FrozenModel):
    """How an image is explained; the defaults are the tutorial's.

    Samples, noise level, estimator and seed are SmoothGrad's: no other method looks at them.
    """

    method: Method = "smoothgrad"
    top: Annotated[int, Field(ge=1, le=20)] = 3
    samples: Annotated[int, Field(ge=0, le=1000)] = 20
    noise_level: Annotated[float, Field(ge=1e-6, le=1)] = 0.20
    estimator: Estimator = "mean_abs"
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    dicom: bool = False
    """Whether each overlay is also written as DICOM, for an image that is DICOM itself."""

    @property
    def drawn(self) -> Estimator | ActivationMethod:
        """Which map of the method is drawn: the name of its array in the maps file."""
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
    picture: str | None = None
    heatmaps: tuple[HeatmapFiles, ...] = ()
    model: ModelName | None = None
    timings_ms: dict[str, float] = Field(default_factory=dict)
