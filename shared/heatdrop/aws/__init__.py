"""Every call of an AWS service is made in here. This file stays empty, so that a function loads only what it uses."""
