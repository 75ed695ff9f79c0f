"""What is known of an image, of an explanation on request and of a model; the ``..._table`` modules store it."""

from datetime import datetime
from typing import Any

from pydantic import Field, model_validator

from heatdrop.model.certificate import Certificate, with_several_certificates
from heatdrop.vocabulary import (
    Drop,
    ExplanationSettings,
    FrozenModel,
    HeatmapFiles,
    ModelName,
    Prediction,
    State,
    Unusual,
)


class RequestedExplanation(FrozenModel):
    """An explanation that was asked for beyond the first: RECEIVED, then EXPLAINED or FAILED."""

    explanation_id: str
    state: State
    settings: ExplanationSettings
    labels: tuple[str, ...]
    requested_at: datetime
    job_id: str | None = None
    reason: str | None = None
    picture: str | None = None
    heatmaps: tuple[HeatmapFiles, ...] = ()
    trust: str | None = None
    """What was known of the trustworthiness of maps of this kind when they were made."""
    timings_ms: dict[str, float] = Field(default_factory=dict)


class KnownModel(FrozenModel):
    """A model that has classified images here."""

    name: str
    version: str
    labels: tuple[str, ...]
    first_used_at: datetime
    certificates: tuple[Certificate, ...] = ()
    """How far its maps can be trusted: one for each kind of map that was measured."""

    @model_validator(mode="before")
    @classmethod
    def _read_earlier(cls, given: Any) -> Any:
        """Read an item of before there were several certificates."""
        return with_several_certificates(given)


class Record(FrozenModel):
    """Everything known about one image."""

    image_id: str
    state: State
    drop: Drop
    created_at: datetime
    updated_at: datetime
    reason: str | None = None
    predictions: tuple[Prediction, ...] = ()
    unusual: Unusual = None
    model: ModelName | None = None
    bundle_uri: str | None = None
    """Where the bundle of ``model`` lay when it classified the image; records of earlier versions lack it."""
    job_definition: str | None = None
    """ARN of the job definition that was deployed with that bundle; records of earlier versions lack it."""
    job_id: str | None = None
    manifest_id: str | None = None
    picture: str | None = None
    heatmaps: tuple[HeatmapFiles, ...] = ()
    trust: str | None = None
    """What was known of the trustworthiness of maps like its heatmaps when they were made."""
    explanations: dict[str, RequestedExplanation] = Field(default_factory=dict)
    announced: frozenset[State] = frozenset()
    timings_ms: dict[str, float] = Field(default_factory=dict)
    attempt: int = 1
    """1 for the first, and one more each time that the image was redriven."""
    times_stuck: int = 0
    """How often the sweep found the image without progress, in this attempt."""

    @property
    def artefacts(self) -> frozenset[str]:
        """The S3 keys of the picture and of the heatmaps' files, without those of explanations on request."""
        paths = {path for heatmap in self.heatmaps for path in heatmap.paths}
        return frozenset(paths | ({self.picture} if self.picture else set()))

    @property
    def pending_explanations(self) -> tuple[RequestedExplanation, ...]:
        """The explanations on request that are still to be made."""
        return tuple(wanted for wanted in self.explanations.values() if not wanted.state.final)

    @property
    def waits_for_job(self) -> bool:
        """Whether the image is classified but no heatmap job has been recorded for it."""
        return self.state is State.CLASSIFIED and self.job_id is None
