"""Are maps the same with other noise?"""

from collections.abc import Sequence

from heatdrop.model.grading import Interval
from heatdrop.trust.measures import Map, pairs_of_images, rank_correlation, with_interval
from heatdrop.trust.randomisation import PAIRS


def repeatability_figures(first: Sequence[Map], second: Sequence[Map], seed: int) -> dict[str, float | Interval]:
    """Rank correlation of the maps of the same images from two seeds, and of maps of different images."""
    repeated = [rank_correlation(one, other) for one, other in zip(first, second, strict=True)]
    unrelated = [rank_correlation(*pair) for pair in pairs_of_images(first, PAIRS, seed)]
    return {
        "rank_correlation_of_two_seeds": with_interval(repeated),
        "rank_correlation_of_two_images": with_interval(unrelated),
    }
