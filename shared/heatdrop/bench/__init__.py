"""Measurements on the user's own machine. Every measured figure in the documents comes from one of these."""
