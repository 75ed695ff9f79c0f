"""What functions read from their environment, typed; a missing or wrong value stops them at start, by name."""

from pydantic_settings import BaseSettings

from heatdrop.vocabulary import Estimator, ExplanationSettings, Method


class Destinations(BaseSettings):
    """Where records, results and news go."""

    images_table: str
    results_bucket: str
    notifications_topic: str
    notifications_bus: str = ""


class ExplanationDefaults(BaseSettings):
    """How images are explained where nobody asks otherwise."""

    method: Method
    top: int
    samples: int
    noise_level: float
    estimator: Estimator
    dicom: bool

    @property
    def explanation(self) -> ExplanationSettings:
        """The settings of an explanation."""
        return ExplanationSettings.model_validate(
            {name: getattr(self, name) for name in ExplanationDefaults.model_fields}
        )
