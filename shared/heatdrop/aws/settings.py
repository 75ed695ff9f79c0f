"""What functions and jobs read from their environment; a missing or wrong value stops them at start, with its name."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings

from heatdrop.aws.table_schema import DEFAULT_SHARDS, Layout
from heatdrop.vocabulary import Estimator, ExplanationSettings, Jitter, Method, NoiseLevel, Samples, Top


class Destinations(BaseSettings):
    """Where records, results and notifications go."""

    images_table: str
    results_bucket: str
    notifications_topic: str
    notifications_bus: str = ""
    shards: Annotated[int, Field(ge=1)] = DEFAULT_SHARDS
    keep_results_days: Annotated[int, Field(ge=0)] = 0
    """0 keeps records for ever."""

    @property
    def layout(self) -> Layout:
        """How the table of images is laid out."""
        return Layout(self.shards, self.keep_results_days)


class ExplanationDefaults(BaseSettings):
    """How images are explained unless a request says otherwise."""

    method: Method
    top: Top
    samples: Samples
    noise_level: NoiseLevel
    estimator: Estimator
    jitter: Jitter = 0
    dicom: bool

    @property
    def explanation(self) -> ExplanationSettings:
        """The settings of an explanation."""
        return ExplanationSettings.model_validate(
            {name: getattr(self, name) for name in ExplanationDefaults.model_fields}
        )
