"""An ONNX file to a Keras functional model: ``read_onnx``. The operators that are read stand in ``table``."""

from heatdrop.model.onnx_reading.reader import read_onnx

__all__ = ["read_onnx"]
