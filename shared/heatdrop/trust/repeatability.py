"""Are maps the same with other noise?"""

from collections.abc import Sequence

from heatdrop.model.certificate import Check
from heatdrop.trust.measures import Map, pairs_of_images, rank_correlation, with_interval
from heatdrop.trust.randomisation import PAIRS


def check_repeatability(first: Sequence[Map], second: Sequence[Map], seed: int) -> Check:
    """Rank correlation of the maps of the same images from two seeds.

    Passes when it is greater than between maps of two different images (the mean over random pairs), by its lower 95 %
    bound.
    """
    repeated = with_interval([rank_correlation(a, b) for a, b in zip(first, second, strict=True)])
    unrelated = with_interval([rank_correlation(*pair) for pair in pairs_of_images(first, PAIRS, seed)])
    passed = repeated[1] > unrelated[0]
    statement = f"Two seeds give maps with a rank correlation of {repeated[0]:.2f}."
    figures = {"rank_correlation_of_two_seeds": repeated, "rank_correlation_of_two_images": unrelated}
    return Check(name="repeatability", passed=passed, statement=statement, figures={**figures})
