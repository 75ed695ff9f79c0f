"""What a check found: a verdict and a sentence that says what to do."""

from enum import StrEnum
from typing import Self

from heatdrop.vocabulary import FrozenModel


class Verdict(StrEnum):
    """How bad it is."""

    OK = "OK"
    WARNING = "WARNING"
    """Images are classified and explained, but something deserves a look."""
    PROBLEM = "PROBLEM"
    """Images will not be classified, explained or announced until it is mended."""
    UNKNOWN = "UNKNOWN"
    """It could not be looked at."""


class Finding(FrozenModel):
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    sentence: str

    @classmethod
    def ok(cls, check: str, sentence: str) -> Self:
        """Nothing to do."""
        return cls(check=check, verdict=Verdict.OK, sentence=sentence)

    @classmethod
    def warning(cls, check: str, sentence: str) -> Self:
        """Worth a look."""
        return cls(check=check, verdict=Verdict.WARNING, sentence=sentence)

    @classmethod
    def problem(cls, check: str, sentence: str) -> Self:
        """Something will fail."""
        return cls(check=check, verdict=Verdict.PROBLEM, sentence=sentence)

    @classmethod
    def unknown(cls, check: str, sentence: str) -> Self:
        """Could not be looked at."""
        return cls(check=check, verdict=Verdict.UNKNOWN, sentence=sentence)
