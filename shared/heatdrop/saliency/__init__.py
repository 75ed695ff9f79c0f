"""Saliency maps of Keras image classifiers, SmoothGrad above all: exact, fast, and the same every time.

Pure: arrays in, arrays out.
"""

from heatdrop.saliency.activations import ActivationMaps
from heatdrop.saliency.engine import GradientEngine
from heatdrop.saliency.maps import SaliencyMaps
from heatdrop.saliency.smoothgrad import smoothgrad
from heatdrop.saliency.streams import one_batch_a_core

__all__ = ["ActivationMaps", "GradientEngine", "SaliencyMaps", "one_batch_a_core", "smoothgrad"]
