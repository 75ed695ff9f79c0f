"""Batch job: explain every image of a manifest."""

import argparse
import signal
import sys

from aws_lambda_powertools import Logger

from heatdrop.aws.jobs import RETRY_EXIT_CODE
from heatdrop.errors import HeatdropError

logger = Logger()

UNUSABLE = 2
"""Exit code where nothing could be explained at all: no GPU, or not the model that made the predictions."""


def main() -> int:
    """Run the job; the exit code tells Batch whether every image has its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", required=True, help="S3 key of the manifest in the results bucket")
    manifest = parser.parse_args().manifest
    # The first process of a container hears no SIGTERM unless it handles it, and TensorFlow takes seconds to import.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(RETRY_EXIT_CODE))
    from heatdrop.pipeline.heatmaps import HeatmapJob, HeatmapSettings
    from heatdrop.saliency.parallelism import run_batches_in_parallel

    run_batches_in_parallel()
    try:
        report = HeatmapJob(HeatmapSettings()).run(manifest)
    except HeatdropError as error:
        logger.error(str(error))
        return UNUSABLE
    except Exception:
        logger.exception("the job cannot go on; its retry does what is left")
        return RETRY_EXIT_CODE
    logger.info("job done", **vars(report))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
