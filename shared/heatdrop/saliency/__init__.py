"""SmoothGrad: exact, fast, and the same every time. Pure: arrays in, arrays out."""

from heatdrop.saliency.smoothgrad import SaliencyMaps, SmoothGrad, smoothgrad

__all__ = ["SaliencyMaps", "SmoothGrad", "smoothgrad"]
