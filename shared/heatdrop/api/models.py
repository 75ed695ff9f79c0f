"""What requests to the API hold, and what it answers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator

from heatdrop.aws.links import UPLOADS
from heatdrop.aws.listing import ListedImage
from heatdrop.aws.record import KnownModel, Record, RequestedExplanation
from heatdrop.vocabulary import (
    DISCLAIMER,
    Drop,
    Estimator,
    FrozenModel,
    HeatmapFiles,
    Jitter,
    Method,
    ModelName,
    NoiseLevel,
    Prediction,
    Samples,
    Seed,
    State,
    Unusual,
)

IMAGE_ID = r"^[0-9a-f]{32}$"

Artefact = Literal["overlay", "figure", "maps", "dicom"]

MediaType = Literal["image/jpeg", "image/png", "image/bmp", "image/tiff", "image/webp", "application/dicom"]

Label = Annotated[str, Field(min_length=1, max_length=1000)]

# A file name without folders. It may not end with a dot, which also excludes "." and "..".
FILE_NAME = r"^[^/\\\x00-\x1f\x7f]*[^/\\\x00-\x1f\x7f.]$"


class ImagePage(FrozenModel):
    """Images, newest first. A page may be short or empty and still have a next one."""

    images: tuple[ListedImage, ...]
    next_page: str | None


class Image(FrozenModel):
    """Everything known about one image. ``picture`` and the values of ``heatmaps`` are S3 keys: ask for a link."""

    image_id: str
    state: State
    key: str
    drop: Drop
    created_at: datetime
    updated_at: datetime
    reason: str | None
    predictions: tuple[Prediction, ...]
    unusual: Unusual
    model: ModelName | None
    picture: str | None
    heatmaps: tuple[HeatmapFiles, ...]
    trust: str | None
    explanations: dict[str, RequestedExplanation]
    job_id: str | None
    timings_ms: dict[str, float]
    note: str = DISCLAIMER


def as_image(record: Record) -> Image:
    """A record as the API shows it."""
    names = Image.model_fields.keys() - {"key", "note"}
    return Image(key=record.drop.key, **{name: getattr(record, name) for name in names})


class UploadRequest(FrozenModel):
    """One image that is to be uploaded; only an object of this size and type will be taken."""

    name: Annotated[str, Field(pattern=FILE_NAME, max_length=200, description=f"Ends the key, behind {UPLOADS}.")]
    size: Annotated[int, Field(ge=1, description="Bytes.")]
    media_type: MediaType


class ExplanationRequest(FrozenModel):
    """How an image is to be explained again; what is None is as the stack was deployed."""

    classes: Annotated[tuple[Label, ...] | None, Field(min_length=1, max_length=20)] = None
    method: Method | None = None
    samples: Samples | None = None
    noise_level: NoiseLevel | None = None
    estimator: Estimator | None = None
    jitter: Jitter | None = None
    seed: Seed | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: object) -> object:
        """Python takes true for the number 1, which JSON does not."""
        if isinstance(value, bool):
            raise ValueError("true and false are no values of this setting")
        return value


class LabelOfModels(FrozenModel):
    """A class, and the versions of the models that know it."""

    label: str
    models: tuple[str, ...]


class Labels(FrozenModel):
    """Every class that a model here can predict."""

    labels: tuple[LabelOfModels, ...]


class Models(FrozenModel):
    """The models that have classified images here, newest first."""

    models: tuple[KnownModel, ...]


class Health(FrozenModel):
    """The API answers."""

    status: Literal["ok"] = "ok"
    version: str
