"""The contenders: a module each, with a function ``load(folder) -> Explain``.

A module imports its library and nothing of Heatdrop that the library's environment may lack.
"""

from collections.abc import Callable
from typing import Any

Explain = Callable[..., Any]
"""(image (H, W, C), classes, samples, sigma, noise (samples, H, W, C) standard normals or None) to maps (K, H, W)."""
