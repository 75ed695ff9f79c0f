"""What the pipeline costs and where it is full, computed: per-image times, a dated price table, a small simulation."""
