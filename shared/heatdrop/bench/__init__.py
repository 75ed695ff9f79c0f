"""Measurements of one's own machine; every figure of the documents comes from one of these."""
