"""Saliency maps of Keras image classifiers, SmoothGrad above all: exact, fast, and the same every time.

Pure: arrays in, arrays out.
"""

from heatdrop.saliency.activations import ActivationMaps
from heatdrop.saliency.engine import GradientEngine, engine_of
from heatdrop.saliency.maps import SaliencyMaps
from heatdrop.saliency.methods import MakeMaps, maps_by
from heatdrop.saliency.parallelism import run_batches_in_parallel
from heatdrop.saliency.smoothgrad import smoothgrad

__all__ = [
    "ActivationMaps",
    "GradientEngine",
    "MakeMaps",
    "SaliencyMaps",
    "engine_of",
    "maps_by",
    "run_batches_in_parallel",
    "smoothgrad",
]
