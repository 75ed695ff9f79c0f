"""Heatdrop: every prediction of an image classifier comes back explained.

Research software, not a medical device.
"""

__version__ = "0.1.0"
