"""Where the project's own files lie: the template, the functions, the bundled model and what is built.

A checkout has them at its root, an installed wheel inside the package (``setup.py`` puts them there).
"""

import os
import sys
from pathlib import Path

_PACKED = Path(__file__).parent / "project_files"
INSTALLED = _PACKED.is_dir()
"""Whether this is an installation without a checkout."""

ROOT = _PACKED if INSTALLED else Path(__file__).parents[2]
TEMPLATE = ROOT / "template.yaml"
MODEL_SOURCE = ROOT / "models" / "chest-xray"


def _build_folder() -> Path:
    """Where things are built: ``build/`` of the checkout, else the user's cache, by the rule of the platform."""
    if not INSTALLED:
        return ROOT / "build"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "heatdrop"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heatdrop"


BUILD = _build_folder()
BUILT_BUNDLE = BUILD / "bundles" / "chest-xray"
