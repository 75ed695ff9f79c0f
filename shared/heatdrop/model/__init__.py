"""Models: the bundle format, and how a bundle is trained and packed."""
