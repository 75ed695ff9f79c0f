"""The command line, with the calls recorded that its own cloud gets: what tests start in the place of ``heatdrop``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])
    from tests.iam.recording import recorded

    from heatdrop.cli import main

    with recorded():
        main()
