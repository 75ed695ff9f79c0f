"""A model as the repository keeps it: its weights, rounded, and a card. A bundle is built from them.

Kernels are stored as 8-bit integers with a scale for each output channel, all other weights as float32. The metrics in
the bundle were measured with the rounded weights.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from heatdrop.model import architectures, packing
from heatdrop.model.bundle import Bundle
from heatdrop.model.certificate import Certificate, merged, with_several_certificates
from heatdrop.model.typicality import Typicality

_WEIGHTS = "weights.npz"
CARD = "model.json"
TYPICALITY = "typicality.npz"


def rounded(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a kernel (..., channels) to 8 bits; returns it with the scale (channels,) that undoes it."""
    scale = np.maximum(np.abs(values).reshape(-1, values.shape[-1]).max(0) / 127, 1e-12).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale


def round_weights(model: keras.Model) -> None:
    """Round the kernels of ``model`` to what 8 bits hold, in place."""
    model.set_weights(
        [
            np.multiply(*rounded(values), dtype=np.float32) if values.ndim > 1 else values
            for values in model.get_weights()
        ]
    )


def save_source(model: keras.Model, card: dict[str, Any], folder: Path) -> None:
    """Write the weights of a model that ``architectures.build`` made, and the card from which it can be built again."""
    arrays: dict[str, Any] = {}
    for index, values in enumerate(model.get_weights()):
        if values.ndim > 1:
            arrays[f"kernel{index}"], arrays[f"scale{index}"] = rounded(values)
        else:
            arrays[f"vector{index}"] = values
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / _WEIGHTS, **arrays)
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


def save_typicality(typicality: Typicality, folder: Path) -> None:
    """Write what the images of a model look like into its source folder."""
    (folder / TYPICALITY).write_bytes(typicality.to_bytes())


def keep_certificates(measured: Sequence[Certificate], folder: Path) -> None:
    """Write certificates on the card of a source folder, for the bundles that are built from it.

    Those of other kinds of map that the card has stay there.
    """
    card = json.loads((folder / CARD).read_text())
    known = _certificates(card)
    card.pop("certificate", None)
    card["certificates"] = [certificate.model_dump(mode="json") for certificate in merged(known, measured)]
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


def _certificates(card: dict[str, Any]) -> tuple[Certificate, ...]:
    """Those on a card, also on one of before there were several."""
    given = with_several_certificates(card).get("certificates", ())
    return tuple(Certificate.model_validate(one) for one in given)


def load_source(folder: Path) -> tuple[keras.Model, dict[str, Any]]:
    """Build the model again from its source folder; returns it with its card."""
    card = json.loads((folder / CARD).read_text())
    model = architectures.build(
        card["architecture"],
        len(card["labels"]),
        weights=None,
        size=card["image_size"],
        standardise=card["standardise"],
    )
    with np.load(folder / _WEIGHTS, allow_pickle=False) as arrays:
        model.set_weights(
            [
                arrays[f"kernel{i}"] * arrays[f"scale{i}"] if f"kernel{i}" in arrays else arrays[f"vector{i}"]
                for i in range(len(model.get_weights()))
            ]
        )
    return model, card


def build_bundle(source: Path, folder: Path, source_digest: str | None = None) -> Bundle:
    """Make the bundle from its source folder."""
    model, card = load_source(source)
    typical = source / TYPICALITY
    return packing.pack(
        model,
        folder,
        name=card["name"],
        labels=card["labels"],
        preprocess_as="densenet",
        training=card["training"],
        certificates=_certificates(card),
        typicality=Typicality.from_bytes(typical.read_bytes()) if typical.is_file() else None,
        source_digest=source_digest,
    )
