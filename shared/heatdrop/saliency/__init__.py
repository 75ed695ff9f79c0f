"""Saliency maps of image classifiers, SmoothGrad above all: exact, fast, and the same every time.

Pure: arrays in, arrays out. What needs TensorFlow is imported from its module: ``tensorflow_engine``, ``activations``
and what they use.
"""

from heatdrop.saliency.gradient_engine import GradientEngine
from heatdrop.saliency.litert_engine import LiteRtEngine
from heatdrop.saliency.maps import SaliencyMaps
from heatdrop.saliency.methods import MakeMaps, maps_by
from heatdrop.saliency.smoothgrad import smoothgrad

__all__ = ["GradientEngine", "LiteRtEngine", "MakeMaps", "SaliencyMaps", "maps_by", "smoothgrad"]
