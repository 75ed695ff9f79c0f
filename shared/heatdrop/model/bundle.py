"""A model bundle: a folder with all that prediction and explanation need, and the digest of each of its files.

    bundle.json       name, version, input, preprocessing, digests, how it was trained
    labels.json       the class names, in the order of the model's outputs
    model.tflite      for prediction (LiteRT)
    gradients.tflite  for explanation without TensorFlow (LiteRT), where the model's gradients could be exported
    model.keras       for explanation (TensorFlow)

``bundle.json`` is written last, so a half-written bundle has none.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from heatdrop.errors import InvalidBundle
from heatdrop.head import GradientGraph
from heatdrop.model.certificate import Certificate, MapKind, merged, trust_in, with_several_certificates
from heatdrop.model.fitting import needed_size
from heatdrop.model.preprocessing import HowToPreprocess, Preprocessing, preprocessing_of
from heatdrop.text import first_problem
from heatdrop.vocabulary import ModelName

FORMAT = 1
DESCRIPTION = "bundle.json"
LABELS = "labels.json"
LITERT_MODEL = "model.tflite"
KERAS_MODEL = "model.keras"
GRADIENTS = "gradients.tflite"
PARTIAL = "bundle.json.partial"
"""The description while it is being written, before it takes the place of the old one."""
FILES = (LABELS, LITERT_MODEL, KERAS_MODEL)
"""What every bundle has, beside its description."""


class BundleDescription(BaseModel):
    """The content of ``bundle.json``."""

    model_config = ConfigDict(frozen=True)
    format: int = FORMAT
    model: ModelName
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    channels: Literal[1, 3] = 3
    """Of the model's input: 1 for shades of grey."""
    preprocess: HowToPreprocess
    thresholds: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    """For each label, the probability from which on it is found, of a model that judges each label by itself; None
    for a model that chooses one of its classes."""
    digests: dict[str, str]
    training: dict[str, Any] | None = None
    """How it was trained and what it reached on validation data; None for a model packed from elsewhere."""
    certificates: tuple[Certificate, ...] = ()
    """How far its maps can be trusted: one for each kind of map that was measured."""
    distances: tuple[float, ...] | None = None
    """How far the validation images' features are from their centre, as quantiles at equal steps; None if unknown."""
    gradients: GradientGraph | None = None
    """What ``gradients.tflite`` computes; None where there is none, as in bundles of older versions."""
    source_digest: str | None = None
    """What it was built from, for the bundle that comes with Heatdrop."""

    @model_validator(mode="before")
    @classmethod
    def _read_earlier(cls, given: Any) -> Any:
        """Read a description of before there were several certificates."""
        return with_several_certificates(given)


class Bundle(BaseModel):
    """A bundle whose description has been read; its files are checked when they are asked for."""

    model_config = ConfigDict(frozen=True)
    folder: Path
    description: BundleDescription
    labels: tuple[str, ...]

    @property
    def model(self) -> ModelName:
        """Its name and version."""
        return self.description.model

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the model's input in pixels."""
        return self.description.height, self.description.width

    @property
    def channels(self) -> int:
        """How many channels the model's input has: 1 or 3."""
        return self.description.channels

    @property
    def preprocessing(self) -> Preprocessing:
        """How the model's input is made of an image."""
        return preprocessing_of(self.description.preprocess)

    @property
    def decoded_size(self) -> tuple[int, int]:
        """(height, width) that an image must at least be decoded at for the model."""
        return needed_size(self.size, self.preprocessing)

    def trust_in(self, kind: MapKind) -> str:
        """What is known of the trustworthiness of its maps of a kind, in a sentence or two."""
        return trust_in(self.description.certificates, kind)

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files, all but its description."""
        return (*FILES, GRADIENTS) if self.description.gradients else FILES

    def read(self, name: str) -> bytes:
        """The bytes of one of its ``files``, after checking them against their digest.

        Raises:
            InvalidBundle: the file is missing or is not the one that was packed.
        """
        try:
            data = (self.folder / name).read_bytes()
        except OSError as error:
            raise InvalidBundle(f"bundle {self.folder} lacks {name}; pack it again") from error
        if digest(data) != self.description.digests.get(name):
            raise InvalidBundle(f"{name} of bundle {self.folder} is not the file that was packed; pack it again")
        return data


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle's description and labels.

    Raises:
        InvalidBundle: it is no bundle, half written, of another format, or changed after packing.
    """
    try:
        content = json.loads((folder / DESCRIPTION).read_bytes())
        # First, since another format may have other fields.
        if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
            raise InvalidBundle(f"{folder} is a bundle of format {content['format']}; this version reads {FORMAT}")
        description = BundleDescription.model_validate(content)
    except OSError as error:
        raise InvalidBundle(f"{folder} is no model bundle: it has no {DESCRIPTION}") from error
    except ValidationError as error:
        raise InvalidBundle(f"{folder / DESCRIPTION} cannot be understood: {first_problem(error)}") from error
    except ValueError as error:
        raise InvalidBundle(f"{folder / DESCRIPTION} cannot be understood: {error}") from error
    unread = Bundle(folder=folder, description=description, labels=())
    try:
        labels = json.loads(unread.read(LABELS))
    except ValueError:
        labels = None
    if not are_labels(labels):
        raise InvalidBundle(f"{LABELS} of bundle {folder} is no list of different names; pack it again")
    return unread.model_copy(update={"labels": tuple(labels)})


def with_certificates(bundle: Bundle, measured: Sequence[Certificate]) -> Bundle:
    """Write certificates into a bundle, beside those of other kinds of map that it has.

    The description is replaced at once; name and version stay what they are.
    """
    known = bundle.description.certificates
    description = bundle.description.model_copy(update={"certificates": merged(known, measured)})
    partial = bundle.folder / PARTIAL
    partial.write_text(description.model_dump_json(indent=2))
    partial.replace(bundle.folder / DESCRIPTION)
    return bundle.model_copy(update={"description": description})


def are_labels(values: object) -> TypeGuard[list[str]]:
    """Whether these can be the names of classes: a list of different, non-empty texts that UTF-8 can hold."""
    return (
        isinstance(values, list)
        and all(isinstance(value, str) and value for value in values)
        and all(value == value.encode("utf-8", "replace").decode() for value in values)
        and len(set(values)) == len(values)
    )


def digest(data: bytes) -> str:
    """SHA-256 of ``data`` in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
