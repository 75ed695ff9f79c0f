"""What the handlers call, one module each.

``ingest`` classifies drops, ``heatmaps`` explains the images of a manifest, ``job_events`` sees to what went wrong.
"""
