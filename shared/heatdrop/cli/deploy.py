"""``heatdrop deploy``."""

import os
from typing import Annotated

import typer

from heatdrop.cli import console
from heatdrop.cli.options import Json
from heatdrop.errors import InvalidRequest
from heatdrop.project import INSTALLED, ROOT


def deploy(
    stack: Annotated[str, typer.Option(help="The stack's name, in small letters: that of the input bucket begins so.")],
    region: Annotated[str | None, typer.Option(help="By default that of your AWS settings.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the template; may be given several times.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build everything and deploy it into your AWS account; parameters that are not given keep their values.

    Example: heatdrop deploy --stack heatdrop --region eu-west-1 --parameter UseGpu=false
    """
    if INSTALLED:
        raise InvalidRequest("deploy from a checkout of the project: the containers are built from its files")
    if region:
        # boto3 reads the one, other tools the other.
        os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"] = region
    # These load boto3 and the SAM translator, which other commands can do without.
    from botocore.exceptions import BotoCoreError, ClientError

    from heatdrop.deploying.stack import deploy_stack, read_parameters
    from heatdrop.errors import CloudUnreachable

    def say(sentence: str) -> None:
        console.messages.print(f"heatdrop: {sentence}", markup=False, soft_wrap=True)

    try:
        deployed = deploy_stack(ROOT, stack, region, read_parameters(parameter or []), say)
    except (BotoCoreError, ClientError) as error:
        raise CloudUnreachable(f"the deployment stopped half-way; run it again: {error}") from error
    if as_json:
        answer = {"outputs": deployed.outputs, "heatmaps_tag": deployed.heatmaps_tag, "pushed": deployed.pushed}
        console.print_json(answer)
    else:
        wanted = ("ApiUrl", "DropHere", "Dashboard")
        console.show_facts((name, deployed.outputs[name]) for name in wanted if name in deployed.outputs)
