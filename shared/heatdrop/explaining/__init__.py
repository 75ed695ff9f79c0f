"""An image and a model to heatmaps: arrays to maps, maps to pictures, files to results. Needs no AWS."""
