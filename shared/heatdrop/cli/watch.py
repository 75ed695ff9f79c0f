"""``heatdrop watch``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from heatdrop.cli import console
from heatdrop.cli.options import Json
from heatdrop.cli.targets import Folder, Local, Stack, find_target
from heatdrop.vocabulary import State


def watch(
    stack: Stack = None,
    local: Local = False,
    label: Annotated[
        list[str] | None, typer.Option(help="Only images whose best class this is; may be repeated.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Least score of the best class.")] = None,
    state: Annotated[list[State] | None, typer.Option(help="Only this state; may be repeated.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many notifications.")] = None,
    out: Folder = Path("out"),
    as_json: Json = False,
) -> None:
    """Print notifications as they arrive, until Ctrl-C.

    They come through a queue that is deleted at the end.

    Example: heatdrop watch --stack heatdrop --state EXPLAINED --label NORMAL --min-score 0.9
    """
    topic = find_target(stack, local, out).outputs["NotificationsTopic"]
    from botocore.exceptions import BotoCoreError, ClientError

    from heatdrop.aws.subscription import Subscription
    from heatdrop.errors import CloudUnreachable

    try:
        subscription = Subscription(topic, policy_of(label, min_score, state), wait_seconds=2)
        try:
            console.messages.print("Listening; Ctrl-C ends it.")
            _print_notifications(subscription, count, as_json)
        finally:
            subscription.close()
    except (BotoCoreError, ClientError) as error:
        raise CloudUnreachable(f"notifications cannot be received: {error}") from error


def policy_of(label: list[str] | None, min_score: float | None, state: list[State] | None) -> dict[str, Any]:
    """The subscription's filter policy, by the attributes of a notification."""
    policy: dict[str, Any] = {}
    if label:
        policy["label"] = label
    if min_score is not None:
        policy["score"] = [{"numeric": [">=", min_score]}]
    if state:
        policy["state"] = [wanted.value for wanted in state]
    return policy


def _print_notifications(subscription: Any, count: int | None, as_json: bool) -> None:
    received = 0
    while True:
        for notification in subscription.pending():
            if as_json:
                console.print_json(notification)
            else:
                console.show_notification(notification)
            received += 1
            if received == count:
                return
