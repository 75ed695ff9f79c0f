"""SmoothGrad measured beside the other libraries that offer it, in one interleaved run on one machine."""
