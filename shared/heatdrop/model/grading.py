"""What the measured figures of a check mean: a grade, and a sentence for people.

Grades are worked out from figures alone, so that figures which were measured by an earlier version are judged by
today's rules.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

Interval = tuple[float, float, float]
"""A mean, and the bounds of its 95 % interval."""
Figures = Mapping[str, float | Interval]

Grade = Literal["passed", "limited", "failed"]
"""``passed``: nothing that was looked at speaks against these maps. ``limited``: they carry some information, and less
than they seem to. ``failed``: do not use them."""
GRADES: tuple[Grade, ...] = get_args(Grade)

SKILL = "skill"
RANDOMISATION = "parameter randomisation"
PERTURBATION = "insertion and deletion"
REPEATABILITY = "repeatability"
LOCALISATION = "boxes"

RIVALS = {"random": "random maps", "centre": "the centre of the picture", "edges": "the edges in the picture"}
"""The maps that know nothing of any model, and their names in a sentence."""

LOCALISATION_MEASURES = ("pointing", "share_in_box", "overlap")
"""Whether the strongest pixel lies in a box; the share of the map there; intersection over union."""

_SHUFFLED = re.compile(r"rank_correlation_with_(\d+)_of_(\d+)_layers_shuffled")


class Judgement(NamedTuple):
    """The grade of one check, and why, in a sentence."""

    grade: Grade
    statement: str


def judge(check: str, figures: Figures) -> Judgement:
    """Judge a check by its name and its figures.

    Raises:
        KeyError: there is no such check, or figures that it needs are missing.
    """
    return _JUDGES[check](figures)


def worst(grades: Sequence[Grade]) -> Grade:
    """The worst of several grades; ``limited`` where nothing was graded."""
    return max(grades, key=GRADES.index, default="limited")


def beaten(figures: Figures, measures: Sequence[str] = ("insertion", "deletion")) -> dict[str, bool]:
    """Whether maps are better than each of ``RIVALS``, in all ``measures``, by intervals that exclude 0."""
    return {
        rival: all(_interval(figures[f"{measure}_gain_over_{rival}"])[1] > 0 for measure in measures)
        for rival in RIVALS
    }


def shuffled_correlations(figures: Figures) -> dict[float, Interval]:
    """The share of the layers that was shuffled, counted from the output, to the rank correlation with the intact maps.

    The smallest share is the last layer alone.
    """
    found = {}
    for name, figure in figures.items():
        match = _SHUFFLED.fullmatch(name)
        if match:
            found[int(match[1]) / int(match[2])] = _interval(figure)
    return dict(sorted(found.items()))


def upper_half(figures: Figures) -> Interval:
    """The rank correlation of the maps with those of the model whose upper half is shuffled."""
    found = shuffled_correlations(figures)
    return found[min(found, key=lambda share: abs(share - 0.5))]


def placed_among_rivals(figures: Figures) -> str:
    """Where maps stand among those that know nothing of the model, as the end of a sentence."""
    better = [RIVALS[rival] for rival, is_beaten in beaten(figures).items() if is_beaten]
    others = [RIVALS[rival] for rival, is_beaten in beaten(figures).items() if not is_beaten]
    if not others:
        return f"better than {_listed(better, 'and')} do"
    if not better:
        return f"no better than {_listed(others, 'or')} do"
    return f"better than {_listed(better, 'and')} do, but no better than {_listed(others, 'or')}"


def changed_by_shuffling(figures: Figures) -> str:
    """How maps change when parts of the model are shuffled, as the end of a sentence whose subject is the maps."""
    if _randomisation(figures).grade == "failed":
        correlations = shuffled_correlations(figures)
        whole = correlations[max(correlations)][0]
        return (
            f"stay more alike (rank correlation {whole:.2f}) than maps of two images when all of the model is shuffled"
        )
    how = "altogether" if _randomisation(figures).grade == "passed" else "only in part"
    half = upper_half(figures)[0]
    return f"change {how} (rank correlation {half:.2f}) when the upper half of the model is shuffled"


def _skill(figures: Figures) -> Judgement:
    auc, low, _ = _interval(figures["auc_macro"])
    statement = f"The model tells the classes apart with an AUC of {auc:.3f} (mean over classes)."
    return Judgement("passed" if low > 0.5 else "failed", statement)


def _randomisation(figures: Figures) -> Judgement:
    """Passed: without its upper half, the model gives maps no more like its own than the map of another image is.

    Limited: only a wholly shuffled model does. The mean over random pairs of images is the yardstick.
    """
    correlations = shuffled_correlations(figures)
    unrelated = _interval(figures["rank_correlation_of_two_images"])[0]
    head, everything = correlations[min(correlations)][0], correlations[max(correlations)][0]
    statement = (
        f"Rank correlation with the maps of the intact model: {head:.2f} with its last layer shuffled, "
        f"{upper_half(figures)[0]:.2f} with its upper half, {everything:.2f} with all of it; "
        f"maps of two different images have {unrelated:.2f}."
    )
    ssim = _interval(figures["ssim_of_two_images"])[0]
    whole = [_interval(figure)[0] for name, figure in figures.items() if _is_whole(name, "ssim")]
    if upper_half(figures)[2] < unrelated:
        return Judgement("passed", statement)
    limited = everything < unrelated and all(value < ssim for value in whole)
    return Judgement("limited" if limited else "failed", statement)


def _perturbation(figures: Figures) -> Judgement:
    better = beaten(figures)
    grade: Grade = "passed" if all(better.values()) else "limited" if better["random"] else "failed"
    return Judgement(grade, f"The maps show what the score depends on {placed_among_rivals(figures)}.")


def _repeatability(figures: Figures) -> Judgement:
    repeated = _interval(figures["rank_correlation_of_two_seeds"])
    unrelated = _interval(figures["rank_correlation_of_two_images"])[0]
    if repeated == (1, 1, 1):
        return Judgement("passed", "Nothing about these maps is random: they are the same each time.")
    statement = f"Two seeds give maps with a rank correlation of {repeated[0]:.2f}."
    return Judgement("passed" if repeated[1] > unrelated else "failed", statement)


def _localisation(figures: Figures) -> Judgement:
    better = beaten(figures, LOCALISATION_MEASURES)
    grade: Grade = "passed" if all(better.values()) else "limited" if better["random"] else "failed"
    pointing, share = (_interval(figures[f"{measure}_map"])[0] for measure in ("pointing", "share_in_box"))
    rivals = ", ".join(f"{name} {_interval(figures[f'pointing_{name}'])[0]:.0%}" for name in RIVALS)
    area = _interval(figures["share_of_the_picture_in_the_box"])[0]
    statement = (
        f"The strongest point lies in the box in {pointing:.0%} of the images ({rivals}). The box is {area:.0%} of the "
        f"picture and holds {share:.0%} of the map."
    )
    return Judgement(grade, statement)


_JUDGES = {
    LOCALISATION: _localisation,
    SKILL: _skill,
    RANDOMISATION: _randomisation,
    PERTURBATION: _perturbation,
    REPEATABILITY: _repeatability,
}


def _is_whole(name: str, measure: str) -> bool:
    """Whether a figure is that of the wholly shuffled model."""
    match = re.fullmatch(rf"{measure}_with_(\d+)_of_(\d+)_layers_shuffled", name)
    return match is not None and match[1] == match[2]


def _interval(figure: float | Interval) -> Interval:
    return (figure, figure, figure) if isinstance(figure, int | float) else figure


def _listed(names: list[str], word: str) -> str:
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last
