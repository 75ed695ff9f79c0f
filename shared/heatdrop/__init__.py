"""Heatdrop: every prediction of an image classifier comes back explained.

Research software, not a medical device.
"""

from typing import TYPE_CHECKING, Any

from heatdrop.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from heatdrop.explaining.notebook import Explained

__all__ = ["__version__", "explain"]


def explain(image: "str | Path | bytes", bundle: "str | Path | None" = None, **settings: Any) -> "Explained":
    """Predict the classes of an image and explain them: see ``heatdrop.explaining.notebook.explain``."""
    # Whoever only imports the package should not wait for TensorFlow.
    from heatdrop.explaining.notebook import explain as explain_now

    return explain_now(image, bundle, **settings)
