"""How the samples of an image are cut into batches of one size, so that one compiled graph serves them all."""

from dataclasses import dataclass

from heatdrop.saliency.noise import STRATA

CHECK_EVERY = 2 * STRATA
"""With a tolerance, the standard error is looked at after every so many samples, whatever the batch size."""


@dataclass(frozen=True)
class Batches:
    """Batches of ``size`` samples that come in blocks; ``group`` samples are summed together.

    A batch holds whole blocks or lies within one, and never reaches past a multiple of ``stop``. What is missing to
    ``size`` is filled up and not counted.
    """

    size: int
    group: int
    samples: int
    stop: int

    def count(self, first: int) -> int:
        """How many samples the batch that starts with sample ``first`` holds."""
        return min(self.size, self.samples - first, self.stop - first % self.stop)

    def ahead(self, first: int, most: int) -> list[tuple[int, int]]:
        """First sample and count of the next batches, at most so many, that start with sample ``first``."""
        found: list[tuple[int, int]] = []
        while first < self.samples and len(found) < most:
            found.append((first, self.count(first)))
            first += self.count(first)
        return found


def plan(limit: int, samples: int, block: int, *, stops: bool) -> Batches:
    """Cut ``samples`` into batches of at most ``limit``, about equal, so that little is filled up.

    Args:
        limit: the most samples in a batch.
        samples: how many there are.
        block: how many consecutive samples belong together.
        stops: whether every ``CHECK_EVERY`` samples a batch must end.
    """
    reach = CHECK_EVERY if stops else samples
    whole = min(reach, samples)
    if limit < block:
        # Within a block; the next batch starts where the block does.
        size = min(_even(limit, block, 1), whole)
        return Batches(size, size, samples, block)
    size = _even(limit, whole, block)
    return Batches(size, block if block > 1 else size, samples, reach)


def _even(limit: int, total: int, unit: int) -> int:
    """The size, in whole units, of as few equal parts of ``total`` as ``limit`` allows."""
    most = limit - limit % unit
    parts = -(-total // most)
    return min(most, -(-total // (parts * unit)) * unit)
