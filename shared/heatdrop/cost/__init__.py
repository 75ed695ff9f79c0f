"""Computes costs and bottlenecks of the pipeline: times of an image, a dated price table, a small simulation."""
