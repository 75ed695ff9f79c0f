"""The local cloud, kept up with its API until it is told to stop."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heatdrop.local.cloud import LocalCloud
from heatdrop.local.deployment import STACK
from heatdrop.local.http_api import HttpApi
from heatdrop.local.moto_cloud import REGION
from heatdrop.local.send import parameters_of
from heatdrop.local.serve_file import RunningCloud
from heatdrop.loopback import listening, reserved
from heatdrop.model.bundle import Bundle
from heatdrop.vocabulary import ExplanationSettings


@contextmanager
def serving(
    bundle: Bundle, settings: ExplanationSettings, out: Path, port: int
) -> Iterator[tuple[LocalCloud, RunningCloud]]:
    """A cloud with its API on ``port`` (0: any), which other commands find through a file in ``out`` while it lasts.

    Raises:
        InvalidRequest: the port is taken.
    """
    with (
        reserved(port) as place,
        LocalCloud(parameters_of(bundle, settings), out / "logs") as cloud,
        listening(HttpApi(cloud.deployment, cloud.workers), place) as api,
    ):
        outputs = cloud.deployment.outputs | {"ApiUrl": api}
        running = RunningCloud(
            pid=os.getpid(), endpoint=cloud.aws.endpoint, region=REGION, stack=STACK, outputs=outputs
        )
        file = running.write(out)
        try:
            yield cloud, running
        finally:
            file.unlink(missing_ok=True)
