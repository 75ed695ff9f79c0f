"""Heatdrop: every prediction of an image classifier comes back explained.

Research software, not a medical device.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from heatdrop.notebook import Explained

__version__ = "0.1.0"


def explain(image: "str | Path | bytes", bundle: "str | Path | None" = None, **settings: Any) -> "Explained":
    """Predict the classes of an image and explain them: see ``heatdrop.notebook.explain``."""
    # Whoever only imports the package should not wait for TensorFlow.
    from heatdrop.notebook import explain as explain_now

    return explain_now(image, bundle, **settings)
