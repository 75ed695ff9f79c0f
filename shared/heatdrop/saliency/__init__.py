"""Saliency maps of Keras image classifiers, SmoothGrad above all: exact, fast, and the same every time.

Pure: arrays in, arrays out.
"""

from heatdrop.saliency.activations import activation_maps
from heatdrop.saliency.engine import SmoothGrad
from heatdrop.saliency.maps import SaliencyMaps
from heatdrop.saliency.smoothgrad import smoothgrad
from heatdrop.saliency.streams import one_batch_a_core

__all__ = ["SaliencyMaps", "SmoothGrad", "activation_maps", "one_batch_a_core", "smoothgrad"]
