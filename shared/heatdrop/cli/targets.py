"""Which cloud a command speaks to: a deployed stack, or the one that ``heatdrop serve`` keeps up on this machine."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatdrop.errors import InvalidRequest
from heatdrop.local.serve_file import FILE, find_running

if TYPE_CHECKING:
    from heatdrop.api.client import ApiClient
    from heatdrop.aws.signing import AwsSigner

Stack = Annotated[str | None, typer.Option(help="A stack in your AWS account.")]
Local = Annotated[bool, typer.Option("--local", help="The cloud that heatdrop serve keeps up.")]
Folder = Annotated[Path, typer.Option("--out", help="The --out of that heatdrop serve.")]


@dataclass(frozen=True)
class Target:
    """A cloud, by its stack and the outputs of that."""

    stack: str
    outputs: dict[str, str]
    local: bool

    @property
    def api(self) -> "ApiClient":
        """Its API."""
        from heatdrop.api.client import ApiClient

        return ApiClient(self.outputs["ApiUrl"], self.signer)

    @property
    def signer(self) -> "AwsSigner | None":
        """What signs requests to its API; a local one takes any."""
        from heatdrop.aws.signing import AwsSigner

        return None if self.local else AwsSigner(self.outputs["ApiUrl"])


def find_target(stack: str | None, local: bool, out: Path) -> Target:
    """The cloud that a person means; without a word from them, a local one that is running.

    From then on boto3 speaks to it.

    Raises:
        InvalidRequest: none is meant, both are, or there is none.
        CloudUnreachable: AWS cannot be asked.
    """
    if stack and local:
        raise InvalidRequest("say --stack or --local, not both")
    if stack:
        from heatdrop.aws.stack import outputs_of

        return Target(stack, outputs_of(stack), local=False)
    running = find_running(out)
    if running is None:
        raise InvalidRequest(
            f"no heatdrop serve is running that left {out / FILE}; start one, or name a stack with --stack"
        )
    # A profile or credentials of the person's own must not be mixed in.
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        os.environ.pop(name, None)
    os.environ.update(running.environment)
    return Target(running.stack, running.outputs, local=True)
