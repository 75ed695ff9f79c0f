"""The certificates in a bundle: how far maps of one kind can be trusted. ``heatdrop.trust`` measures them."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from heatdrop.model import grading
from heatdrop.model.grading import Figures, Grade, Interval
from heatdrop.vocabulary import Estimator, ExplanationSettings, FrozenModel, Jitter, Method, NoiseLevel, Samples

NOT_MEASURED = "not measured"
OTHER_KIND = "not measured for this kind of map"

METHOD_TITLES: dict[Method, str] = {
    "smoothgrad": "SmoothGrad",
    "integrated_gradients": "Integrated gradients",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "occlusion": "Occlusion",
    "rise": "RISE",
}


class MapKind(FrozenModel):
    """A kind of map: all that decides what maps show, but for the image, the class and the seed.

    What a method does not have is None. Two maps are of one kind where all of this is the same.
    """

    method: Method
    estimator: Estimator | None = None
    score: Literal["logit", "probability"] = "logit"
    samples: Samples | None = None
    noise_level: NoiseLevel | None = None
    jitter: Jitter | None = None

    @classmethod
    def of(cls, settings: ExplanationSettings, score: Literal["logit", "probability"] = "logit") -> Self:
        """The kind of the map that ``settings`` ask to be drawn, where ``score`` is what was differentiated."""
        if settings.method not in ("smoothgrad", "integrated_gradients"):
            return cls(method=settings.method, score=score)
        return cls(
            method=settings.method,
            estimator=settings.estimator if settings.method == "smoothgrad" else None,
            score=score,
            samples=settings.samples,
            noise_level=settings.noise_level if settings.samples else None,
            jitter=(settings.jitter or None) if settings.method == "smoothgrad" and settings.samples else None,
        )

    @property
    def title(self) -> str:
        """The kind in a few words, such as ``SmoothGrad mean_abs, 20 samples, noise 0.2``."""
        parts = [f"{METHOD_TITLES[self.method]}{f' {self.estimator}' if self.estimator else ''}"]
        if self.samples is not None:
            parts.append(f"{self.samples} samples" if self.samples else "no noise")
        if self.noise_level is not None:
            parts.append(f"noise {self.noise_level:g}")
        if self.jitter:
            parts.append(f"jitter {self.jitter}")
        if self.score != "logit":
            parts.append(f"of the {self.score}")
        return ", ".join(parts)


class Check(FrozenModel):
    """One question asked of maps of one kind, and its answer.

    ``figures`` holds the measured numbers: a value, or (value, low, high) with the bounds of its 95 % interval.
    """

    name: str
    grade: Grade
    statement: str
    figures: dict[str, float | Interval] = Field(default_factory=dict)

    @classmethod
    def of(cls, name: str, figures: Figures) -> Self:
        """A check, judged by its figures.

        Raises:
            KeyError: there is no such check, or figures that it needs are missing.
        """
        grade, statement = grading.judge(name, figures)
        return cls(name=name, grade=grade, statement=statement, figures=dict(figures))

    @model_validator(mode="before")
    @classmethod
    def _read_earlier(cls, given: Any) -> Any:
        """Read a check of before there were grades: judge its figures, or where that cannot be done, be modest."""
        if not (isinstance(given, dict) and "passed" in given):
            return given
        figures = {
            name.replace("_smoothgrad", "_map"): tuple(figure) if isinstance(figure, list) else figure
            for name, figure in given.get("figures", {}).items()
        }
        try:
            grade, statement = grading.judge(given["name"], figures)
        except KeyError:
            grade, statement = "limited" if given["passed"] else "failed", given["statement"]
        return {"name": given["name"], "grade": grade, "statement": statement, "figures": figures}


class Certificate(FrozenModel):
    """How far maps of one kind can be trusted, on one model.

    Attributes:
        kind: the kind of map that was measured; it says nothing of any other.
        measured_on: the day, as YYYY-MM-DD.
        images: how many images were explained.
        checks: the answers to all questions.
        grade: the worst of the checks' grades, the one of boxes left aside.
        sentence: what it comes to, for a person who looks at such a map.
        alarms: what a person should look at before trusting a map, each a sentence.
        seconds: how long one map of one class takes, on the machine where it was measured; None if not measured.
        faithfulness: insertion less deletion, the mean over images, with its 95 % interval.
        behind_best: by how much the kind measured along with it that is most faithful is more so, paired by image;
            0 for that kind itself, None where it was measured alone.
    """

    kind: MapKind
    measured_on: str
    images: Annotated[int, Field(ge=1)]
    checks: tuple[Check, ...]
    grade: Grade
    sentence: str
    alarms: tuple[str, ...] = ()
    seconds: float | None = None
    faithfulness: Interval | None = None
    behind_best: Interval | None = None

    @classmethod
    def of(cls, kind: MapKind, checks: Sequence[Check], **measured: Any) -> Self:
        """A certificate with the grade and the sentence that follow from its checks."""
        # A model may be right for other reasons than those that people mark with boxes.
        grade = grading.worst([check.grade for check in checks if check.name != grading.LOCALISATION])
        return cls(kind=kind, checks=tuple(checks), grade=grade, sentence=_sentence(kind, checks, grade), **measured)

    @model_validator(mode="before")
    @classmethod
    def _read_earlier(cls, given: Any) -> Any:
        """Read a certificate of before there were several: its settings say which kind of map it is of."""
        if not (isinstance(given, dict) and "settings" in given):
            return given
        kind = MapKind.of(ExplanationSettings.model_validate(given["settings"]))
        checks = [Check.model_validate(check) for check in given["checks"]]
        rest = {name: given[name] for name in ("measured_on", "images", "alarms") if name in given}
        return cls.of(kind, checks, **rest).model_dump()

    @property
    def summary(self) -> str:
        """What a result says: grade, alarms, the sentence, and what it is based on."""
        alarms = f", {len(self.alarms)} alarm{'s' if len(self.alarms) > 1 else ''}" if self.alarms else ""
        return f"{self.grade}{alarms} ({self.measured_on}, {self.images} images). {self.sentence}"


def find_certificate(certificates: Iterable[Certificate], kind: MapKind) -> Certificate | None:
    """The certificate of exactly this kind of map, or None."""
    return next((known for known in certificates if known.kind == kind), None)


def merged(known: Sequence[Certificate], measured: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """``known`` with those ``measured``, which replace what was known of the same kinds of map."""
    kinds = [certificate.kind for certificate in measured]
    return (*measured, *(certificate for certificate in known if certificate.kind not in kinds))


def trust_in(certificates: Sequence[Certificate], kind: MapKind) -> str:
    """What is known of the trustworthiness of maps of a kind, as every result says it."""
    found = find_certificate(certificates, kind)
    if found:
        return found.summary
    return OTHER_KIND if certificates else NOT_MEASURED


def with_several_certificates(given: Any) -> Any:
    """Fields of something that has certificates, where an earlier version wrote at most one, as ``certificate``."""
    if not (isinstance(given, dict) and "certificate" in given):
        return given
    rest = {name: value for name, value in given.items() if name != "certificate"}
    return {"certificates": [given["certificate"]] if given["certificate"] else [], **rest}


def _sentence(kind: MapKind, checks: Sequence[Check], grade: Grade) -> str:
    found = {check.name: check for check in checks}
    subject = METHOD_TITLES[kind.method] + (f" {kind.estimator}" if kind.estimator else "")
    if grading.SKILL in found and found[grading.SKILL].grade == "failed":
        return "The model itself does not tell the classes apart: there is nothing that a map could explain."
    try:
        placed = grading.placed_among_rivals(found[grading.PERTURBATION].figures)
        changed = grading.changed_by_shuffling(found[grading.RANDOMISATION].figures)
    except KeyError:
        return f"Of these {subject} maps, not all was measured: the worst finding is {grade!r}."
    repeatable = found[grading.REPEATABILITY].grade == "passed" if grading.REPEATABILITY in found else True
    noisy = "" if repeatable else " Other noise gives other maps."
    return f"These {subject} maps show what the score depends on {placed}; they {changed}.{noisy}"
