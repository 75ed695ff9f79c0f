"""The judge itself: what IAM's documents say of statements, principals and conditions."""

from typing import Any

import pytest
from tests.iam.policies import NotUnderstood, Request, decide, statements

ROLE = "arn:aws:iam::123456789012:role/one"
TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/images"
READ = {"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:Query"], "Resource": TABLE}
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def allowed(
    of_role: list[dict[str, Any]],
    of_resource: list[dict[str, Any]] | None = None,
    action: str = "dynamodb:GetItem",
    resource: str = TABLE,
    service: str | None = None,
    **context: str | tuple[str, ...],
) -> bool:
    given = {name.replace("__", ":"): (value,) if isinstance(value, str) else value for name, value in context.items()}
    request = Request(action, resource, given, service, None if service else ROLE)
    found = decide(
        request, statements("own", {"Statement": of_role}), statements("theirs", {"Statement": of_resource or []})
    )
    return found is not None


@pytest.mark.parametrize(
    ("statement", "action", "resource", "answer"),
    [
        (READ, "dynamodb:GetItem", TABLE, True),
        (READ, "DynamoDB:getitem", TABLE, True),  # actions are compared without regard to case
        (READ, "dynamodb:Scan", TABLE, False),
        (READ, "dynamodb:GetItem", TABLE.upper(), False),  # resources are not
        (READ, "dynamodb:Query", f"{TABLE}/index/by_state", False),  # an index is not its table
        (READ | {"Resource": f"{TABLE}/index/*"}, "dynamodb:Query", f"{TABLE}/index/by_state", True),
        (READ | {"Resource": f"{TABLE}?"}, "dynamodb:Query", f"{TABLE}2", True),
        (READ | {"Resource": f"{TABLE}?"}, "dynamodb:Query", TABLE, False),
        (READ | {"Action": "dynamodb:*Item"}, "dynamodb:UpdateItem", TABLE, True),
        (READ | {"Resource": "arn:aws:s3:::b.c/*"}, "dynamodb:GetItem", "arn:aws:s3:::bxc/k", False),
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, "s3:GetObject", TABLE, True),
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, "iam:PassRole", TABLE, False),
        ({"Effect": "Allow", "Action": "*", "NotResource": TABLE}, "dynamodb:GetItem", TABLE, False),
        ({"Effect": "Allow", "Action": "*", "NotResource": TABLE}, "dynamodb:GetItem", TABLE + "2", True),
    ],
)
def test_statement_allows_the_actions_and_resources_that_it_names(
    statement: dict[str, Any], action: str, resource: str, answer: bool
) -> None:
    assert allowed([statement], action=action, resource=resource) is answer


def test_nothing_is_allowed_that_no_statement_allows() -> None:
    assert not allowed([])


@pytest.mark.parametrize("of_resource", [True, False])
def test_a_denial_wins_wherever_it_stands(of_resource: bool) -> None:
    deny = {"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"}
    if of_resource:
        assert not allowed([EVERYTHING], [deny | {"Principal": "*"}])
    else:
        assert not allowed([EVERYTHING, deny])


@pytest.mark.parametrize(
    ("principal", "service", "answer"),
    [
        ("*", None, True),
        ({"AWS": "*"}, None, True),
        ({"AWS": [ROLE]}, None, True),
        ({"AWS": "arn:aws:iam::123456789012:role/other"}, None, False),
        ({"Service": "s3.amazonaws.com"}, None, False),
        ({"Service": ["sns.amazonaws.com", "s3.amazonaws.com"]}, "s3.amazonaws.com", True),
        ({"Service": "sns.amazonaws.com"}, "s3.amazonaws.com", False),
    ],
)
def test_policy_of_a_resource_speaks_of_its_principals(principal: Any, service: str | None, answer: bool) -> None:
    assert allowed([], [EVERYTHING | {"Principal": principal}], service=service) is answer


@pytest.mark.parametrize(
    ("condition", "context", "answer"),
    [
        ({"StringEquals": {"s3:prefix": "a/"}}, {"s3__prefix": "a/"}, True),
        ({"StringEquals": {"s3:prefix": ["b/", "a/"]}}, {"s3__prefix": "a/"}, True),
        ({"StringEquals": {"s3:prefix": "a/"}}, {"s3__prefix": "A/"}, False),
        ({"StringEqualsIgnoreCase": {"s3:prefix": "a/"}}, {"s3__prefix": "A/"}, True),
        ({"StringEquals": {"s3:prefix": "a*"}}, {"s3__prefix": "a/"}, False),
        ({"StringLike": {"s3:prefix": "a*"}}, {"s3__prefix": "a/"}, True),
        ({"StringEquals": {"s3:prefix": "a/"}}, {}, False),
        ({"StringEqualsIfExists": {"s3:prefix": "a/"}}, {}, True),
        ({"StringEqualsIfExists": {"s3:prefix": "a/"}}, {"s3__prefix": "b/"}, False),
        ({"StringNotEquals": {"s3:prefix": "a/"}}, {"s3__prefix": "a/"}, False),
        ({"StringNotEquals": {"s3:prefix": "a/"}}, {}, True),
        ({"StringNotEquals": {"s3:prefix": ["a/", "b/"]}}, {"s3__prefix": "b/"}, False),
        ({"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::in"}}, {"aws__SourceArn": "arn:aws:s3:::in"}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"}}, {"aws__SourceArn": "arn:aws:s3:::in"}, True),
        ({"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::in"}}, {"aws__SourceArn": "arn:aws:s3:::out"}, False),
        ({"Bool": {"aws:SecureTransport": False}}, {"aws__SecureTransport": "false"}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, {"aws__SecureTransport": "true"}, False),
        ({"Null": {"s3:prefix": "true"}}, {}, True),
        ({"Null": {"s3:prefix": "false"}}, {}, False),
        # All keys of all operators have to hold.
        ({"StringLike": {"s3:prefix": "a*", "s3:delimiter": "/"}}, {"s3__prefix": "a", "s3__delimiter": "/"}, True),
        ({"StringLike": {"s3:prefix": "a*", "s3:delimiter": "/"}}, {"s3__prefix": "a"}, False),
        ({"ForAllValues:StringEquals": {"k": ["1", "2"]}}, {"k": ("1", "2")}, True),
        ({"ForAllValues:StringEquals": {"k": ["1", "2"]}}, {"k": ("1", "3")}, False),
        ({"ForAllValues:StringEquals": {"k": ["1", "2"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"k": ["1", "2"]}}, {"k": ("3", "2")}, True),
        ({"ForAnyValue:StringEquals": {"k": ["1", "2"]}}, {"k": ("3",)}, False),
        ({"ForAnyValue:StringEquals": {"k": ["1", "2"]}}, {}, False),
    ],
)
def test_condition_holds_as_iam_says(condition: dict[str, Any], context: dict[str, Any], answer: bool) -> None:
    assert allowed([READ | {"Condition": condition}], **context) is answer


@pytest.mark.parametrize(
    "change",
    [
        {"Condition": {"NumericLessThan": {"s3:max-keys": "10"}}},
        {"Condition": {"ForSomeValues:StringEquals": {"k": "1"}}},
        {"Resource": "arn:aws:s3:::b/${aws:username}/*"},
    ],
)
def test_what_is_not_understood_is_an_error_and_no_guess(change: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstood):
        allowed([READ | change])
