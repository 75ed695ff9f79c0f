"""What decides a training, and what is known of it after each epoch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from heatdrop.vocabulary import Architecture, LabelRule

Precision = Literal["float32", "bfloat16"]


class Stage(BaseModel):
    """A number of epochs at one input size; ``frozen`` trains the head alone (the first step of transfer learning)."""

    model_config = ConfigDict(frozen=True)
    size: Annotated[int, Field(ge=32, le=1024)]
    epochs: Annotated[int, Field(ge=1)]
    frozen: bool = False


class Recipe(BaseModel):
    """Everything that decides what is trained; stored in the bundle."""

    model_config = ConfigDict(frozen=True)
    architecture: Architecture = "densenet121"
    weights: str | None = None
    stages: tuple[Stage, ...] = (Stage(size=160, epochs=5),)
    label_rule: LabelRule = "folder"
    batch_size: Annotated[int, Field(ge=1)] = 32
    peak_learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """How much of the moving average of the weights, which is what becomes the model, remains after a step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    standardise: bool = True
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    patience: Annotated[int, Field(ge=1)] = 5
    """Epochs at the final size without a better validation AUC, after which training ends."""
    precision: Precision = "float32"
    """``bfloat16`` computes in it and keeps the weights in float32: faster on a GPU, slower on a CPU."""
    seed: int = 0

    @property
    def image_size(self) -> int:
        """The side of the finished model's input, in pixels."""
        return self.stages[-1].size

    @property
    def plan(self) -> list[tuple[int, bool]]:
        """For each epoch its input size, and whether the base is frozen."""
        return [(stage.size, stage.frozen) for stage in self.stages for _ in range(stage.epochs)]

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return len(self.plan)


class EpochReport(BaseModel):
    """What is known after an epoch: the mean loss of its steps, and the macro AUC of the averaged weights.

    The AUC is that on the validation images under shift, at the input size of the epoch, in pixels.
    """

    epoch: int
    size: int
    loss: float
    validation_auc: float
