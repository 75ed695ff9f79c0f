"""moto as the cloud: within this process for the deployment, over HTTP for the processes of functions and jobs.

moto is patched where it differs from AWS in a way that matters to the pipeline.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self
from unittest import mock

import moto.s3.models
import moto.s3.notifications
import yaml
from moto import mock_aws
from moto.batch.models import Job
from moto.batch_simple.models import BatchSimpleBackend
from moto.cloudformation import parsing
from moto.events.models import EventPattern
from moto.server import ThreadedMotoServer
from moto.sqs.models import Queue

from heatdrop.local import moto_speed, resources, roles
from heatdrop.local.clients import client
from heatdrop.local.disk_buffer import DiskBuffer

REGION = "eu-west-1"

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_SESSION_TOKEN": "local",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
# Unset, so that the user's own AWS configuration is neither used nor reached.
_FOREIGN = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")

# Nothing here starts an instance, and moto takes half a second to read its machine images.
_MOTO = {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}


class MotoCloud:
    """A cloud that exists while its ``with`` block runs; ``on_job`` is called with each submitted Batch job.

    Only this machine can reach it. For containers, ``address`` must be that of their network bridge.
    """

    def __init__(self, on_job: Callable[[Job], None], address: str = "127.0.0.1") -> None:
        self._on_job, self._address = on_job, address
        self._stack = ExitStack()
        self.endpoint = ""

    def __enter__(self) -> Self:
        environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        self._stack.enter_context(mock.patch.dict(os.environ, environment | _CREDENTIALS | _MOTO, clear=True))
        for name in ("werkzeug", "moto"):
            logging.getLogger(name).setLevel(logging.ERROR)
        objects = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="heatdrop-s3-")))
        for patch in [*_patches(self._on_job, objects), *moto_speed.patches()]:
            self._stack.enter_context(patch)
        resources.install()
        self._stack.callback(client.cache_clear)
        self._stack.enter_context(mock_aws(config={"lambda": {"use_docker": False}, "batch": {"use_docker": False}}))
        server = ThreadedMotoServer(ip_address=self._address, port=0, verbose=False)
        server.start()
        self._stack.callback(server.stop)
        host, port = server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def child_environment(self, role: str) -> dict[str, str]:
        """The environment for a process that uses this cloud under a role (an ARN).

        As in AWS, the process gets temporary credentials of the role, so each of its calls tells whose it is. Of the
        user's own variables only a few are passed on.
        """
        kept = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "SSL_CERT_FILE")
        inherited = {name: os.environ[name] for name in kept if name in os.environ}
        here = _CREDENTIALS | {"AWS_ENDPOINT_URL": self.endpoint, "PYTHONUNBUFFERED": "1"}
        return inherited | here | roles.environment_of(role)


def _patches(on_job: Callable[[Job], None], objects: Path) -> list[Any]:
    def keep_submitted(self: Any, include_start_attempt: bool, job: Job) -> None:
        """Hand the job to the runner; moto would let it succeed at once."""
        self.backend._jobs[job.job_id] = job
        job.status = "SUBMITTED"
        on_job(job)

    matches = EventPattern.matches_event

    def only_with_pattern(self: EventPattern, event: Any) -> bool:
        """Match no event to a rule without a pattern (a schedule); moto would match all."""
        return bool(self.get_pattern()) and matches(self, event)

    describe_s3_event = moto.s3.notifications._get_s3_event

    def with_version(event_name: str, bucket: Any, key: Any, notification_id: str) -> dict[str, Any]:
        """Add the version and the sequencer of the object, which moto leaves out."""
        event: dict[str, Any] = describe_s3_event(event_name, bucket, key, notification_id)
        described = event["Records"][0]["s3"]["object"]
        described["sequencer"] = f"{time.time_ns():016X}"
        if bucket.is_versioned:
            described["versionId"] = key.version_id
        return event

    resolve = parsing.clean_json

    def without_no_value(value: Any, resources_map: Any) -> Any:
        """Leave ``AWS::NoValue`` out of lists, where moto puts None."""
        resolved = resolve(value, resources_map)
        return [item for item in resolved if item is not None] if isinstance(resolved, list) else resolved

    def on_disk(max_size: int) -> DiskBuffer:
        """Keep objects on disk; moto holds small ones in memory and a file open for each large one."""
        return DiskBuffer(objects)

    return [
        mock.patch.object(moto.s3.models, "tempfile", SimpleNamespace(SpooledTemporaryFile=on_disk)),
        mock.patch.object(parsing, "clean_json", without_no_value),
        # moto reads a stack's template twice, as YAML: the loader written in C saves a second of processor time.
        mock.patch.object(yaml, "Loader", yaml.CLoader),
        mock.patch.object(BatchSimpleBackend, "_mark_job_as_finished", keep_submitted),
        mock.patch.object(EventPattern, "matches_event", only_with_pattern),
        mock.patch.object(moto.s3.notifications, "_get_s3_event", with_version),
        # moto would call the function inside send_message; here a poller does.
        mock.patch.object(Queue, "lambda_event_source_mappings", _NeverFilled(), create=True),
    ]


class _NeverFilled:
    """An attribute that is always an empty dictionary, whatever is assigned to it."""

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        return {}

    def __set__(self, instance: object, value: object) -> None:
        """Forget it."""
