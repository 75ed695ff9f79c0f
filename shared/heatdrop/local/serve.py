"""The local cloud with its HTTP API, for other programs of this machine."""

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
from heatdrop.loopback import open_port, served
from heatdrop.model.bundle import Bundle
from heatdrop.vocabulary import ExplanationSettings


@contextmanager
def cloud_with_api(
    bundle: Bundle, settings: ExplanationSettings, out: Path, port: int
) -> Iterator[tuple[LocalCloud, RunningCloud]]:
    """Start a cloud, and its API on ``port`` (0: any that is free). Other commands find both by a file in ``out``.

    Raises:
        InvalidRequest: the port is taken.
    """
    with (
        open_port(port) as listener,
        LocalCloud(parameters_of(bundle, settings), out / "logs") as cloud,
        served(HttpApi(cloud.deployment, cloud.functions), listener) as api,
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
