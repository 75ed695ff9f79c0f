"""The whole cloud on one machine, up for as long as a ``with`` block runs."""

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
from heatdrop.local.lambda_runtime import FunctionProcess
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.local.queue_poller import QueuePoller
from heatdrop.project import TEMPLATE

MAX_CRASHES = 3
"""Crashes in a row after which a function counts as broken."""


class LocalCloud:
    """``template.yaml`` deployed into moto, with its functions and jobs in processes of their own.

    Attributes:
        deployment: what was deployed.
        functions: name of a function to the process that runs it.
    """

    deployment: Deployment
    functions: dict[str, FunctionProcess]

    def __init__(self, parameters: Mapping[str, str], logs: Path) -> None:
        self._parameters, self._logs = parameters, logs
        self._stack = ExitStack()
        self._runner: BatchRunner | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.aws = stack.enter_context(MotoCloud(self._on_job))
            self.deployment = deploy(TEMPLATE, self._parameters)
            environment_of = self.aws.child_environment
            self._runner = BatchRunner(self.deployment.job_code, environment_of, self._logs / "heatmaps.log")
            self._start(self._runner, stack)
            self.functions = {
                function.name: FunctionProcess(
                    function, environment_of(function.role), self._logs / f"{function.code.name}.log"
                )
                for function in self.deployment.functions
            }
            for process in self.functions.values():
                stack.callback(process.stop)
            for source in self.deployment.event_sources:
                self._start(QueuePoller(source, self.functions[source.function]), stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def check(self) -> None:
        """Check that the cloud still works.

        Raises:
            FunctionFailed: a function crashes again and again, or a thread that feeds functions or jobs has died.
        """
        for process in self.functions.values():
            if process.crashes > MAX_CRASHES:
                raise FunctionFailed(f"{process.function.code.name} does not start; see {process.log}")
        for thread in self._threads:
            if not thread.is_alive():
                raise FunctionFailed(f"the local cloud's {thread.name} has stopped; see what was printed above")

    @property
    def waiting_jobs(self) -> int:
        """How many heatmap jobs wait for their turn."""
        return self._runner.waiting if self._runner else 0

    def processes(self) -> dict[str, int]:
        """Names and ids of the processes that run now; ``cloud`` is this process."""
        found = {process.function.code.name: process.pid for process in self.functions.values()}
        found |= {"cloud": os.getpid(), "heatmaps": self._runner.pid if self._runner else None}
        return {name: pid for name, pid in found.items() if pid}

    def _start(self, thread: BatchRunner | QueuePoller, stack: ExitStack) -> None:
        thread.start()
        stack.callback(thread.stop)
        self._threads.append(thread)

    def _on_job(self, job: Job) -> None:
        assert self._runner is not None, "a job was submitted before the cloud was ready"  # noqa: S101
        self._runner.submit(job)
