"""Keras models from files, without ever running code that a file brings along."""

import json
import zipfile
from pathlib import Path

import keras

from heatdrop.errors import InvalidBundle
from heatdrop.model.bundle import KERAS_MODEL, Bundle
from heatdrop.model.keras_config import foreign_code


def load_keras_model(bundle: Bundle) -> keras.Model:
    """The Keras model of a bundle, after checking its file against its digest.

    Raises:
        InvalidBundle: it is missing, changed, or can only be loaded by running code from the file.
    """
    bundle.read(KERAS_MODEL)
    return load_keras_file(bundle.folder / KERAS_MODEL)


def load_keras_file(path: Path) -> keras.Model:
    """Load a ``.keras`` file without running any code from it.

    Raises:
        InvalidBundle: it is missing, damaged, or can only be loaded by running code from it.
    """
    if not path.is_file():
        raise InvalidBundle(f"there is no Keras model {path}")
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise InvalidBundle(f"{path} is truncated, or no Keras model")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # A damaged file makes Keras raise errors of many kinds, whose first line says what was found.
        problem = _foreign_code(path) or str(error).strip().partition("\n")[0]
        raise InvalidBundle(f"the Keras model {path} cannot be loaded safely: {problem}") from error


def _foreign_code(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return foreign_code(json.loads(archive.read("config.json")))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return None
