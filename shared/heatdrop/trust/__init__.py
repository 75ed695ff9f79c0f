"""Can the maps of a model be trusted? Measured, and written into its bundle as a certificate.

``randomisation``: do maps depend on what the model has learnt? ``perturbation``: do they point at what its score
depends on? ``repeatability``: are they the same with other noise? ``shortcut``: do they all point at one spot near the
border? ``certify`` asks all of it.
"""
