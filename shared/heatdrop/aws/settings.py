"""What functions and jobs read from their environment; a missing or wrong value stops them at start, with its name."""

from pydantic_settings import BaseSettings

from heatdrop.vocabulary import Estimator, ExplanationSettings, Method, NoiseLevel, Samples, Top


class Destinations(BaseSettings):
    """Where records, results and notifications go."""

    images_table: str
    results_bucket: str
    notifications_topic: str
    notifications_bus: str = ""


class ExplanationDefaults(BaseSettings):
    """How images are explained unless a request says otherwise."""

    method: Method
    top: Top
    samples: Samples
    noise_level: NoiseLevel
    estimator: Estimator
    dicom: bool

    @property
    def explanation(self) -> ExplanationSettings:
        """The settings of an explanation."""
        return ExplanationSettings.model_validate(
            {name: getattr(self, name) for name in ExplanationDefaults.model_fields}
        )
