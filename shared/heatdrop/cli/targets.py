"""Which cloud a command uses: a deployed stack, or the one that ``heatdrop serve`` runs on this machine."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatdrop.errors import InvalidRequest
from heatdrop.local.serve_file import find_running

if TYPE_CHECKING:
    from heatdrop.api.client import ApiClient
    from heatdrop.aws.signing import AwsSigner

Stack = Annotated[str | None, typer.Option(help="A stack in your AWS account.")]
Local = Annotated[bool, typer.Option("--local", help="The cloud of heatdrop serve, on this machine.")]
Folder = Annotated[Path, typer.Option("--out", help="The --out of heatdrop serve, with --local.")]


@dataclass(frozen=True)
class Target:
    """A cloud: the name of its stack and the stack's outputs; ``local`` if it runs on this machine."""

    stack: str
    outputs: dict[str, str]
    local: bool

    @property
    def api(self) -> "ApiClient":
        """A client of its API."""
        from heatdrop.api.client import ApiClient

        return ApiClient(self.outputs["ApiUrl"], self.signer)

    @property
    def signer(self) -> "AwsSigner | None":
        """Signs requests to its API; None for a local cloud, which takes unsigned ones."""
        from heatdrop.aws.signing import AwsSigner

        return None if self.local else AwsSigner(self.outputs["ApiUrl"])


def find_target(stack: str | None, local: bool, out: Path) -> Target:
    """Find the cloud that the options name; without options, a local one that is running.

    For a local cloud, environment variables are set so that boto3 uses it from then on.

    Raises:
        InvalidRequest: both are named, or there is no such cloud.
        CloudUnreachable: AWS does not answer, or refuses.
    """
    if stack and local:
        raise InvalidRequest("give --stack or --local, not both")
    if stack:
        from heatdrop.aws.stack import outputs_of

        return Target(stack, outputs_of(stack), local=False)
    running = find_running(out)
    if running is None:
        raise InvalidRequest(f"no heatdrop serve is running with --out {out}; start one, or name a stack with --stack")
    # The user's own profile and credentials must not reach the local cloud.
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        os.environ.pop(name, None)
    os.environ.update(running.environment)
    return Target(running.stack, running.outputs, local=True)
