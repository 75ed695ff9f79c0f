"""The configuration of a Keras model: the nested dictionaries that it is saved as."""

from collections.abc import Iterator
from typing import Any


def parts_of(config: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary in a configuration, the outer ones first."""
    if isinstance(config, dict):
        yield config
        config = list(config.values())
    if isinstance(config, list | tuple):
        for value in config:
            yield from parts_of(value)


def foreign_code(config: Any) -> str | None:
    """A sentence about the first layer that needs a class or function which does not come with Keras; None if none."""
    for layer in parts_of(config):
        settings = layer.get("config")
        if not isinstance(settings, dict):
            continue
        for part in (layer, *settings.values()):
            if isinstance(part, dict) and _is_foreign(part):
                needed = part["config"] if isinstance(part.get("config"), str) else part["class_name"]
                return (
                    f"the layer {settings.get('name')!r} needs code of its own ({needed}), which a bundle cannot "
                    "carry; build it of layers and operations of Keras"
                )
    return None


def _is_foreign(part: dict[str, Any]) -> bool:
    """Whether a serialised object is a Lambda, or of a class or a function that only its author has."""
    if "class_name" not in part or "registered_name" not in part:
        return False
    module = str(part.get("module") or "").partition(".")[0]
    foreign = module != "keras" and (module != "builtins" or part["class_name"] == "function")
    return foreign or part["class_name"] == "Lambda"
