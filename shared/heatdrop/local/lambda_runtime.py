"""Lambda on one machine: each deployed function runs in its own process, connected by the Lambda Runtime API.

Inside that process AWS's own runtime interface client imports the handler. Handler, environment, memory and timeout
are those of the deployed function.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from heatdrop.errors import FunctionFailed
from heatdrop.local.deployment import DeployedFunction


@dataclass(frozen=True)
class _Answer:
    payload: Any
    failed: bool


class FunctionProcess:
    """The process of one function. It starts with the first invocation and takes one invocation at a time.

    ``crashes`` counts the invocations in a row during which the process died; an answer sets it back to 0.
    """

    def __init__(self, function: DeployedFunction, environment: dict[str, str], log: Path) -> None:
        self.function = function
        self._environment = environment
        self.log = log
        self._invocations: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._answers: queue.Queue[_Answer] = queue.Queue()
        self._lock = threading.Lock()
        self.crashes = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_class(self))
        threading.Thread(target=self._server.serve_forever, name=f"runtime-{function.name}", daemon=True).start()

    def invoke(self, event: dict[str, Any]) -> Any:
        """Call the handler with ``event`` and return its answer.

        Raises:
            FunctionFailed: the handler raised, ran out of time, or its process died.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            self._invocations.put((str(uuid.uuid4()), json.dumps(event).encode()))
            answer = self._wait()
        if answer.failed:
            raise FunctionFailed(f"{self.function.name}: {answer.payload}")
        return answer.payload

    @property
    def pid(self) -> int | None:
        """Id of the process; None before the first invocation and after a crash."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def stop(self) -> None:
        """End the process and close its Runtime API."""
        self._server.shutdown()
        self._server.server_close()
        self._kill()

    def _start(self) -> None:
        # What an earlier process left unread must not reach the new one.
        for stale in (self._invocations, self._answers):
            while not stale.empty():
                stale.get_nowait()
        function = self.function
        environment = (
            self._environment
            | function.environment
            | {
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
                "AWS_LAMBDA_FUNCTION_NAME": function.name,
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
                "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
                "AWS_LAMBDA_LOG_STREAM_NAME": "local",
                "LAMBDA_TASK_ROOT": str(function.code),
                "_HANDLER": function.handler,
            }
        )
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "heatdrop.local.lambda_process", function.handler],
                cwd=function.code,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait(self) -> _Answer:
        # 30 s more than the timeout, for the imports: Lambda does not count its init phase either.
        deadline = time.monotonic() + self.function.timeout_s + 30
        while time.monotonic() < deadline:
            try:
                answer = self._answers.get(timeout=0.2)
                self.crashes = 0
                return answer
            except queue.Empty:
                if self._process and self._process.poll() is not None and self._answers.empty():
                    self.crashes += 1
                    return _Answer(f"the process ended with {self._process.returncode}; see {self.log}", failed=True)
        self._kill()
        return _Answer(f"timed out after {self.function.timeout_s} s", failed=True)

    def _kill(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def next_invocation(self) -> tuple[str, bytes]:
        """Wait for the next invocation; returns its id and event (Runtime API: ``GET invocation/next``)."""
        return self._invocations.get()

    def answer(self, payload: Any, *, failed: bool) -> None:
        """Hand over the handler's answer or error (Runtime API: ``POST response`` and ``POST error``)."""
        self._answers.put(_Answer(payload, failed))

    @property
    def deadline_ms(self) -> int:
        """By when an invocation that starts now must end, in milliseconds since 1970."""
        return round((time.time() + self.function.timeout_s) * 1000)


def _handler_class(function_process: FunctionProcess) -> type[BaseHTTPRequestHandler]:
    class RuntimeApi(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            request_id, body = function_process.next_invocation()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
            self.send_header("Lambda-Runtime-Deadline-Ms", str(function_process.deadline_ms))
            self.send_header(
                "Lambda-Runtime-Invoked-Function-Arn",
                f"arn:aws:lambda:{os.environ['AWS_DEFAULT_REGION']}:123456789012:function:{function_process.function.name}",
            )
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            payload = json.loads(body or b"null")
            failed = self.path.endswith("/error")
            if failed and isinstance(payload, dict):
                payload = f"{payload.get('errorType', 'Error')}: {payload.get('errorMessage', '')}"
            function_process.answer(payload, failed=failed)
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log no requests: the function writes its own log."""

    return RuntimeApi
