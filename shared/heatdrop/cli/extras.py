"""Which optional part of Heatdrop (an "extra" of its package) brings a library that is not installed."""

from importlib.util import find_spec

MODULES = {
    "explain": ("matplotlib", "scipy"),
    "tensorflow": ("keras", "onnx", "safetensors", "tensorflow", "tf_keras_vis"),
    "train": ("skimage", "sklearn"),
    "analysis": ("pyarrow",),
    "local": ("awslambdaric", "data_store", "moto", "samtranslator", "yaml"),
    "view": ("werkzeug",),
}
"""The modules that each extra of pyproject.toml installs."""


def require(*extras: str) -> None:
    """Check that extras are installed: for commands that start other processes, which would fail without them.

    Raises:
        ModuleNotFoundError: naming the first of their modules that is missing.
    """
    for extra in extras:
        for module in MODULES[extra]:
            if find_spec(module) is None:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def advice(error: ModuleNotFoundError) -> str | None:
    """What to install so that a module can be imported; None when no extra brings it."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in MODULES.items():
        if module in modules:
            return f"this command needs {module}, which is not installed: install heatdrop[{extra}]"
    return None
