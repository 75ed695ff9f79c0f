"""The whole cloud on one machine: deployed, and its events moving, for as long as a ``with`` block lasts."""

import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from moto.batch.models import Job

from heatdrop.errors import FunctionFailed
from heatdrop.local.batch_runner import BatchRunner
from heatdrop.local.deployment import Deployment, deploy
from heatdrop.local.lambda_runtime import LambdaWorker
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.local.queue_poller import QueuePoller
from heatdrop.project import TEMPLATE

MAX_CRASHES = 3


class LocalCloud:
    """``template.yaml`` deployed into moto, its functions and jobs in processes of their own.

    Attributes:
        deployment: what was deployed.
        workers: function name to the process that runs it.
    """

    deployment: Deployment
    workers: dict[str, LambdaWorker]

    def __init__(self, parameters: Mapping[str, str], logs: Path) -> None:
        self._parameters, self._logs = parameters, logs
        self._stack = ExitStack()
        self._runner: BatchRunner | None = None
        self._movers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.aws = stack.enter_context(MotoCloud(self._on_job))
            self.deployment = deploy(TEMPLATE, self._parameters)
            environment_of = self.aws.child_environment
            self._runner = BatchRunner(self.deployment.job_code, environment_of, self._logs / "heatmaps.log")
            self._start(self._runner, stack)
            self.workers = {
                function.name: LambdaWorker(
                    function, environment_of(function.role), self._logs / f"{function.code.name}.log"
                )
                for function in self.deployment.functions
            }
            for worker in self.workers.values():
                stack.callback(worker.stop)
            for source in self.deployment.event_sources:
                self._start(QueuePoller(source, self.workers[source.function]), stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def check(self) -> None:
        """Find out whether the cloud can still do its work.

        Raises:
            FunctionFailed: a function's process dies whenever it is started, or nothing moves its events any more.
        """
        for worker in self.workers.values():
            if worker.crashes > MAX_CRASHES:
                raise FunctionFailed(f"{worker.function.code.name} does not start; see {worker.log}")
        for mover in self._movers:
            if not mover.is_alive():
                raise FunctionFailed(f"the local cloud's {mover.name} has stopped; see what was printed above")

    @property
    def waiting_jobs(self) -> int:
        """How many heatmap jobs wait for their turn."""
        return self._runner.waiting if self._runner else 0

    def processes(self) -> dict[str, int]:
        """What runs now, by name, with its process id: this process is the cloud itself."""
        found = {worker.function.code.name: worker.pid for worker in self.workers.values()}
        found |= {"cloud": os.getpid(), "heatmaps": self._runner.pid if self._runner else None}
        return {name: pid for name, pid in found.items() if pid}

    def _start(self, mover: BatchRunner | QueuePoller, stack: ExitStack) -> None:
        mover.start()
        stack.callback(mover.stop)
        self._movers.append(mover)

    def _on_job(self, job: Job) -> None:
        assert self._runner is not None, "a job was submitted before the cloud was ready"  # noqa: S101
        self._runner.submit(job)
