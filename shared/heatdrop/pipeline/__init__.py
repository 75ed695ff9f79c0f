"""The three steps of the way of one image, each as one call that a handler makes.

``ingest``: drops are decoded and predicted. ``heatmaps``: a manifest of them is explained. ``job_events``: what went
wrong is settled.
"""
