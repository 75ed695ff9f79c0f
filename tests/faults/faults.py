"""What AWS and the machines under us may do wrong, at the level of single API calls."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from unittest import mock

from botocore.client import BaseClient
from botocore.exceptions import ClientError, ReadTimeoutError

Kind = Literal[
    "throttle", "throttle_from_here", "server_error", "lost_answer", "crash_before", "crash_after", "slow", "sigterm"
]
KINDS: tuple[Kind, ...] = Kind.__args__


class Crash(BaseException):
    """The process is gone at this point: nothing of ours runs any more."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong at one of the calls that a step makes."""

    at: int
    kind: Kind

    def __repr__(self) -> str:
        return f"{self.kind}@{self.at}"


@dataclass(frozen=True)
class Meanwhile:
    """Another step that runs from start to end just before one of the calls that a step makes."""

    at: int
    step: Literal["infer", "settle", "run_job", "sweep"]

    def __repr__(self) -> str:
        return f"{self.step}@{self.at}"


class Clock:
    """Simulated time: it ticks a millisecond whenever it is read, and jumps where a test says so."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def advance(self, **time: float) -> None:
        self.now += timedelta(**time)

    @contextmanager
    def patched(self, *modules: str) -> Iterator[None]:
        """Let ``datetime.now`` of some modules tell this time."""
        clock = self

        class Simulated(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                clock.advance(milliseconds=1)
                return clock.now

        with mock.patch.multiple(modules[0], datetime=Simulated):
            if len(modules) > 1:
                with self.patched(*modules[1:]):
                    yield
            else:
                yield


class FaultyAws:
    """Between our code and AWS: counts the calls of a step, and lets them go wrong as planned.

    ``heard`` is given the name and parameters of every call that took effect, whatever the caller was told.
    """

    def __init__(self, heard: Callable[[str, dict[str, Any]], None]) -> None:
        self._heard = heard
        self._call = BaseClient._make_api_call
        self._plan: dict[int, Fault] = {}
        self._meanwhile: dict[int, Callable[[], None]] = {}
        self._count = 0
        self._throttling = False
        self.on_slow: Callable[[], None] = lambda: None
        self.reached = False
        """Whether the step that was planned last came to a call at which something was to go wrong."""

    @contextmanager
    def installed(self) -> Iterator[None]:
        faulty = self

        def call(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
            return faulty._answer(self, operation, parameters)

        with mock.patch.object(BaseClient, "_make_api_call", call):
            yield

    @contextmanager
    def planned(
        self,
        faults: tuple[Fault, ...] = (),
        meanwhile: dict[int, Callable[[], None]] | None = None,
        on_slow: Callable[[], None] = lambda: None,
    ) -> Iterator[None]:
        """One step, with what goes wrong in it; a step within a step has a plan of its own."""
        before = self._plan, self._meanwhile, self._count, self._throttling, self.on_slow
        self._plan, self._meanwhile = {fault.at: fault for fault in faults}, dict(meanwhile or {})
        self._count, self._throttling, self.on_slow = 0, False, on_slow
        self.reached = False
        try:
            yield
        finally:
            self._plan, self._meanwhile, self._count, self._throttling, self.on_slow = before

    def _answer(self, client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        number, self._count = self._count, self._count + 1
        if step := self._meanwhile.pop(number, None):
            with self.planned():  # else what goes wrong here would befall those who play AWS in that step
                step()
        fault = self._plan.get(number)
        self.reached = self.reached or fault is not None
        kind = fault.kind if fault else None
        if self._throttling or kind in ("throttle", "throttle_from_here"):
            self._throttling = self._throttling or kind == "throttle_from_here"
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, operation)
        if kind == "server_error":
            raise ClientError({"Error": {"Code": "InternalServerError", "Message": "try later"}}, operation)
        if kind == "crash_before":
            raise Crash
        if kind == "sigterm":
            os.kill(os.getpid(), signal.SIGTERM)
        answer = self._call(client, operation, parameters)
        self._heard(operation, parameters)
        if kind == "crash_after":
            raise Crash
        if kind == "lost_answer":
            raise ReadTimeoutError(endpoint_url="https://aws")
        if kind == "slow":
            self.on_slow()
        return answer
