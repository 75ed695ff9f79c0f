"""What can be differentiated of a classifier: the scores of its classes."""

from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Score = Literal["logit", "probability"]
SCORES: tuple[Score, ...] = get_args(Score)


@dataclass(frozen=True)
class Head:
    """The scores of a classifier.

    Attributes:
        classes: how many classes the scores are for.
        scores: those that can be differentiated. A model that ends in its logits has no probability; one whose output
            is made of several probabilities, such as the mean of an ensemble, has no logit.
        two_sided: whether a single output is read as two classes: a logit z as (-z, z), a probability p as (1 - p, p).
        softmax_of_two: whether the probabilities of two classes are one softmax, so that they add up to 1.
    """

    classes: int
    scores: tuple[Score, ...]
    two_sided: bool = False
    softmax_of_two: bool = False

    @property
    def predicted(self) -> Score:
        """What the model itself gives: probabilities, unless it ends in its logits."""
        return "probability" if "probability" in self.scores else "logit"

    def explained(self, score: Score) -> Score:
        """The score that is differentiated when ``score`` is asked for: the other one where there is only that."""
        return score if score in self.scores else self.predicted

    def missing(self, score: Score) -> list[str]:
        """A warning that the maps are of another score than the one asked for; none if they are not."""
        if score in self.scores:
            return []
        return [f"the maps are of the {self.predicted}: the model has no {score} that could be found"]

    def mirrored(self, score: Score) -> bool:
        """Whether the two classes' gradients are each other's negative, so that one backward pass serves both."""
        return self.two_sided or (self.softmax_of_two and score == "probability")


class GradientGraph(BaseModel):
    """What the LiteRT file of a model's gradients computes.

    Attributes:
        head: the scores of the classifier.
        differentiated: the scores that it can differentiate; one where the other needs TensorFlow.
        batch: how many images its gradients are computed of at once.
        slots: for how many classes it computes them in one pass; it has a signature for each number.
        layer: the path of the last convolution, whose results it gives as well; None where the model has none.
    """

    model_config = ConfigDict(frozen=True)
    head: Head
    differentiated: tuple[Score, ...]
    batch: int
    slots: tuple[int, ...]
    layer: str | None = None
