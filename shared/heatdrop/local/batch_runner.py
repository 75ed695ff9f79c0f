"""AWS Batch on one machine: a submitted job's command runs as a process, one job at a time.

Command, environment, timeout and retry rules are those of the deployed job definition.
"""

import fnmatch
import itertools
import json
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
from moto.batch.models import Job

logger = logging.getLogger(__name__)

STATUS_REASON = "Essential container in task exited"


@dataclass(order=True)
class _Waiting:
    """A job and its turn, or the sign to stop."""

    turn: tuple[int, int]
    job: Job | None = field(compare=False)


class BatchRunner(threading.Thread):
    """Runs jobs by the priority of their queue, then in the order of their submission.

    It sends the state-change events that Batch would send.

    ``environment_of`` gives the environment in which a process works under a role, by the role's ARN.
    """

    def __init__(
        self, job_code: Mapping[str, Path], environment_of: Callable[[str], Mapping[str, str]], log: Path
    ) -> None:
        super().__init__(name="batch-runner", daemon=True)
        self._job_code, self._environment_of, self._log = job_code, environment_of, log
        self._jobs: queue.PriorityQueue[_Waiting] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.put(_Waiting((-int(job.job_queue.priority), next(self._numbers)), job))

    def run(self) -> None:
        """Run jobs until stopped."""
        while (job := self._jobs.get().job) is not None:
            try:
                self._run_job(job)
            except Exception:
                logger.exception("job %s could not be run", job.job_id)
                self._finish(job, "FAILED", None, "the local runner could not start it")

    @property
    def waiting(self) -> int:
        """How many jobs are queued."""
        return self._jobs.qsize()

    @property
    def pid(self) -> int | None:
        """Process id of the running job, if one runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def stop(self) -> None:
        """Discard the queued jobs and end the running one with SIGTERM, as Batch does."""
        self._stopping = True
        while not self._jobs.empty():
            self._jobs.get_nowait()
        self._jobs.put(_Waiting((0, 0), None))
        if self._process and self._process.poll() is None:
            self._process.terminate()
        self.join(timeout=20)

    def _run_job(self, job: Job) -> None:
        definition = job.job_definition.describe()
        strategy = definition.get("retryStrategy") or {"attempts": 1}
        if job.stop:
            return self._finish(job, "FAILED", None, job.job_stopped_reason or "the job was cancelled")
        for status in ("RUNNABLE", "STARTING"):
            job.status = status
        for attempt in range(1, strategy["attempts"] + 1):
            job.status, job.job_started_at = "RUNNING", datetime.now()
            self._announce(job)
            code = self._run_attempt(job, definition, attempt)
            if code == 0:
                return self._finish(job, "SUCCEEDED", 0, STATUS_REASON)
            if self._stopping or not retried(strategy.get("evaluateOnExit", []), code):
                break
        return self._finish(job, "FAILED", code, STATUS_REASON)

    def _run_attempt(self, job: Job, definition: dict[str, Any], attempt: int) -> int:
        container = job.describe()["container"]
        variables = {variable["name"]: variable["value"] for variable in container["environment"]}
        environment = self._environment_of(definition["containerProperties"]["jobRoleArn"])
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                _command(container["command"], job.parameters),
                cwd=self._job_code[job.job_definition.arn],
                env={**environment, **variables, "AWS_BATCH_JOB_ATTEMPT": str(attempt)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            return self._process.wait(definition["timeout"]["attemptDurationSeconds"])
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _finish(self, job: Job, status: str, exit_code: int | None, reason: str) -> None:
        job.exit_code, job.job_stopped_reason = exit_code, reason
        job.job_stopped, job.job_stopped_at, job.status = True, datetime.now(), status
        self._announce(job)

    def _announce(self, job: Job) -> None:
        """Put a state-change event on the bus; the deployed rule decides who receives it."""
        boto3.client("events").put_events(Entries=[state_change(job)])  # type: ignore[list-item]


def state_change(job: Job) -> dict[str, Any]:
    """The entry for PutEvents that describes a job's status."""
    detail = job.describe()
    if job.job_stopped and job.exit_code is not None:
        detail["container"]["exitCode"] = job.exit_code
    return {
        "Source": "aws.batch",
        "DetailType": "Batch Job State Change",
        "Detail": json.dumps(detail, default=str),
        "Resources": [job.arn],
    }


def _command(command: Sequence[str], parameters: Mapping[str, str]) -> list[str]:
    """Fill in the job's parameters (``Ref::name``), and replace the container's ``python`` by this interpreter."""
    filled = [
        parameters.get(word.removeprefix("Ref::"), word) if word.startswith("Ref::") else word for word in command
    ]
    return [sys.executable if word == "python" else word for word in filled]


def retried(rules: Sequence[Mapping[str, str]], exit_code: int | None, status_reason: str = STATUS_REASON) -> bool:
    """Whether Batch tries again after a failed attempt: the first matching rule decides; if none matches, it does.

    ``exit_code`` is None when the attempt ended because its host was lost.
    """
    facts = {
        "onExitCode": "" if exit_code is None else str(exit_code),
        "onStatusReason": status_reason,
        "onReason": "",
    }
    for rule in rules:
        patterns = {name: pattern for name, pattern in rule.items() if name != "action"}
        if all(fnmatch.fnmatchcase(facts[name], pattern) for name, pattern in patterns.items()):
            return rule["action"].upper() == "RETRY"
    return True
