"""The certificate in a bundle: how trustworthy its maps are. ``heatdrop.trust`` measures it."""

from typing import Annotated

from pydantic import Field

from heatdrop.vocabulary import ExplanationSettings, FrozenModel


class Check(FrozenModel):
    """One question asked of a model's maps, and its answer.

    ``figures`` holds the measured numbers: a value, or (value, low, high) with the bounds of its 95 % interval.
    """

    name: str
    passed: bool
    statement: str
    figures: dict[str, float | tuple[float, float, float]] = Field(default_factory=dict)


class Certificate(FrozenModel):
    """The answers to all checks. ``alarms`` are sentences about what a person should look at before trusting a map."""

    measured_on: str
    """The day, as YYYY-MM-DD."""
    images: Annotated[int, Field(ge=1)]
    settings: ExplanationSettings
    checks: tuple[Check, ...]
    alarms: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def summary(self) -> str:
        """One line for a result: passed, or which checks failed, and how many alarms there are."""
        failed = ", ".join(check.name for check in self.checks if not check.passed)
        verdict = f"failed: {failed}" if failed else "passed"
        alarms = f"; {len(self.alarms)} alarm{'s' if len(self.alarms) > 1 else ''}" if self.alarms else ""
        return f"{verdict}{alarms} ({self.measured_on}, {self.images} images)"
