"""``python -m heatdrop.cli``."""

from heatdrop.cli import main

main()
