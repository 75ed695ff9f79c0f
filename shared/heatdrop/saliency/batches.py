"""How the noisy copies (samples) of an image are divided into batches of one size, so that one graph serves them."""

from dataclasses import dataclass

from heatdrop.saliency.noise import STRATA

CHECK_EVERY = 2 * STRATA
"""With a tolerance, the standard error is compared with it after so many samples, whatever the size of the batches."""


@dataclass(frozen=True)
class Batches:
    """A division of ``samples`` samples into batches.

    Attributes:
        size: of a batch. One that holds fewer samples is filled up with copies that do not count.
        group: how many consecutive samples are summed together on the device: a block of stratified noise, since the
            standard error needs the sum of each block; or as much of one as a batch holds.
        samples: how many there are.
        stop: no batch reaches past a multiple of this.
    """

    size: int
    group: int
    samples: int
    stop: int

    def count(self, first: int) -> int:
        """How many samples the batch that starts with sample ``first`` holds."""
        return min(self.size, self.samples - first, self.stop - first % self.stop)

    def next_batches(self, first: int, most: int) -> list[tuple[int, int]]:
        """(first sample, number of samples) of the next batches from sample ``first`` on; at most ``most``."""
        found: list[tuple[int, int]] = []
        while first < self.samples and len(found) < most:
            found.append((first, self.count(first)))
            first += self.count(first)
        return found


def plan(limit: int, samples: int, block: int, *, stops: bool) -> Batches:
    """Divide ``samples`` into batches of about the same size, so that few copies are computed in vain.

    Args:
        limit: the most samples in a batch.
        samples: how many there are.
        block: how many consecutive samples depend on each other. A batch holds whole blocks or lies within one.
        stops: whether a batch must end after every ``CHECK_EVERY`` samples.
    """
    reach = CHECK_EVERY if stops else samples
    whole = min(reach, samples)
    if limit < block:
        # Within one block, so that the next batch starts where a block does.
        size = min(_even(limit, block, 1), whole)
        return Batches(size, size, samples, block)
    size = _even(limit, whole, block)
    return Batches(size, block if block > 1 else size, samples, reach)


def _even(limit: int, total: int, unit: int) -> int:
    """The size, in whole units, of as few equal parts of ``total`` as ``limit`` allows."""
    most = limit - limit % unit
    parts = -(-total // most)
    return min(most, -(-total // (parts * unit)) * unit)
