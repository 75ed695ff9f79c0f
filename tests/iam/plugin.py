"""A run's view of the calls that were recorded: AWS would refuse none of them, and docs/iam.md has them all."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER_VARIABLE = "HEATDROP_IAM_CALLS"
"""Where the processes of this worker write the calls that they judged; see ``tests.iam.recording``."""
_RUN_VARIABLE = "HEATDROP_IAM_RUN"
"""The folder that holds those of all workers of a run."""

_READ = pytest.StashKey[dict[Path, int]]()
_PROBLEMS = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-iam", action="store_true", help="write docs/iam.md from the calls of this run")


def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        os.environ[_RUN_VARIABLE] = tempfile.mkdtemp(prefix="heatdrop-iam-")
    folder = Path(os.environ[_RUN_VARIABLE]) / os.environ.get("PYTEST_XDIST_WORKER", "main")
    folder.mkdir()
    os.environ[FOLDER_VARIABLE] = str(folder)
    config.stash[_READ], config.stash[_PROBLEMS] = {}, []


def pytest_unconfigure(config: pytest.Config) -> None:
    if not _is_worker(config):
        shutil.rmtree(os.environ[_RUN_VARIABLE], ignore_errors=True)


@pytest.fixture(autouse=True)
def every_call_would_be_allowed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail after a test that made a call, in whatever process, that the policies of the template deny."""
    yield
    refused = [
        f"{call['role']} may not {call['action']} on {call['resource']} ({call['operation']})"
        for call in _new_lines(request.config.stash[_READ])
        if "operation" in call and not call["allowed_by"]
    ]
    assert not refused, "AWS would refuse: " + "; ".join(refused)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Compare docs/iam.md with what all workers have seen, or write it."""
    config = session.config
    lines = [] if _is_worker(config) else list(_all_lines())
    if not lines:
        return
    from tests.iam import document
    from tests.iam.recording import Granted, Judged

    judged = [Judged(**line) for line in lines if "operation" in line]
    granted = [Granted(**line) for line in lines if "operation" not in line]
    seen = {document.call_row(one) for one in judged if one.allowed_by}
    known, known_unused = document.read()
    whole = _is_whole(session)
    if config.getoption("update_iam"):
        rows = seen if whole else seen | known
        document.write(rows, document.unused_rows(granted, rows)[0])
        known, known_unused = document.read()
    # The run of the containers sees done what the others only have a reason for.
    explained = set() if whole else {row[:3] for row in known_unused}
    problems = [
        f"docs/iam.md lacks: {' | '.join(row)}"
        for row in sorted(seen - known)
        if document.permission_of(row) not in explained
    ]
    if whole:
        unused, without_reason = document.unused_rows(granted, seen)
        problems += [f"docs/iam.md holds what no test does: {' | '.join(row)}" for row in sorted(known - seen)]
        problems += [f"docs/iam.md lacks: {' | '.join(row)}" for row in sorted(set(unused) - known_unused)]
        problems += [f"docs/iam.md is wrong: {' | '.join(row)}" for row in sorted(known_unused - set(unused))]
        problems += [
            f"no test needs {action} on {resource} for {role}: take it out of template.yaml, or say in "
            "tests/iam/document.py why it is allowed"
            for role, action, resource, _ in without_reason
        ]
    config.stash[_PROBLEMS] = problems
    if problems and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if problems := config.stash[_PROBLEMS]:
        terminalreporter.section("what roles may do, and do")
        for problem in problems:
            terminalreporter.line(problem)
        terminalreporter.line("`pytest --update-iam` writes docs/iam.md anew.")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _is_whole(session: pytest.Session) -> bool:
    """Whether this was a run of all tests, and every one passed."""
    config = session.config
    all_of_them = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.getoption("keyword")
    return all_of_them and session.testsfailed == 0


def _new_lines(read: dict[Path, int]) -> Iterator[dict[str, Any]]:
    for file in Path(os.environ[FOLDER_VARIABLE]).glob("*.jsonl"):
        lines = file.read_text(encoding="utf-8").splitlines()
        yield from map(json.loads, lines[read.get(file, 0) :])
        read[file] = len(lines)


def _all_lines() -> Iterator[dict[str, Any]]:
    for file in Path(os.environ[_RUN_VARIABLE]).glob("*/*.jsonl"):
        yield from map(json.loads, file.read_text(encoding="utf-8").splitlines())
