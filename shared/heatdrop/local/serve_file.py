"""The file by which other commands find the cloud of ``heatdrop serve``: it lies in the output folder."""

import os
from pathlib import Path

from pydantic import ValidationError

from heatdrop.errors import InvalidRequest
from heatdrop.vocabulary import FrozenModel

FILE = "serve.json"


class RunningCloud(FrozenModel):
    """Where a local cloud listens, its stack and the stack's outputs; ``pid`` is the process of ``heatdrop serve``."""

    pid: int
    endpoint: str
    region: str
    stack: str
    outputs: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that point the AWS CLI and boto3 at it; it accepts any credentials."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": self.region,
        }

    def write(self, folder: Path) -> Path:
        """Write the file; returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / FILE
        file.write_text(self.model_dump_json(indent=2), encoding="utf-8")
        return file


def find_running(folder: Path) -> RunningCloud | None:
    """The running cloud whose file lies in ``folder``; None if there is no file or its process has ended.

    Raises:
        InvalidRequest: the file was written by something else.
    """
    file = folder / FILE
    try:
        running = RunningCloud.model_validate_json(file.read_bytes())
        os.kill(running.pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        return running
    except ValidationError as error:
        raise InvalidRequest(f"{file} was not left by heatdrop serve; delete it") from error
    return running
