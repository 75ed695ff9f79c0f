"""Batch job: explain every image of a manifest."""

import argparse
import sys

from aws_lambda_powertools import Logger

from heatdrop.errors import HeatdropError
from heatdrop.pipeline.heatmaps import HeatmapJob, HeatmapSettings
from heatdrop.saliency import one_batch_a_core

logger = Logger()

UNUSABLE = 2
"""Exit code where nothing could be explained at all: no GPU, or not the model that made the predictions."""


def main() -> int:
    """Run the job; the exit code tells Batch whether every image has its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", required=True, help="S3 key of the manifest in the results bucket")
    manifest = parser.parse_args().manifest
    one_batch_a_core()
    try:
        report = HeatmapJob(HeatmapSettings()).run(manifest)
    except HeatdropError as error:
        logger.error(str(error))
        return UNUSABLE
    logger.info("job done", **vars(report))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
