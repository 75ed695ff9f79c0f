"""Batch job: explain every image of a manifest."""

import argparse
import sys

from aws_lambda_powertools import Logger

from heatdrop.pipeline.heatmaps import HeatmapJob, HeatmapSettings

logger = Logger()


def main() -> int:
    """Run the job; the exit code tells Batch whether every image has its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", required=True, help="S3 key of the manifest in the results bucket")
    report = HeatmapJob(HeatmapSettings()).run(parser.parse_args().manifest)
    logger.info("job done", **vars(report))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
