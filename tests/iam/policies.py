"""IAM's decision about one request: what a policy's statements say of an action, a resource and its context.

Written after "Policy evaluation logic" in AWS's IAM User Guide, for one account: an explicit Deny wins; otherwise a
statement of the caller's own policies or of the resource's policy has to allow the request. What is not understood
(an operator, a variable, a key without a value) is an error and never a guess.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Context = Mapping[str, tuple[str, ...]]


class NotUnderstood(Exception):
    """The policy says something, or the request needs something, that is not implemented here."""


@dataclass(frozen=True)
class Request:
    """A permission that is asked for. ``service``: the service principal that asks, where no role does."""

    action: str
    resource: str
    context: Context
    service: str | None = None
    role: str | None = None
    """The ARN of the role."""


@dataclass(frozen=True)
class Statement:
    """One statement of a policy; ``policy`` names where it stands."""

    policy: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Any]]
    principal: Any = None
    without_actions: bool = False
    without_resources: bool = False

    @property
    def text(self) -> str:
        """Which statement it is, for a reader."""
        condition = f" if {dict(self.conditions)}" if self.conditions else ""
        return f"{self.policy}: {', '.join(self.actions)}{condition}"

    def covers(self, request: Request) -> bool:
        """Whether it speaks of this request."""
        if self.principal is not None and not _is_principal(self.principal, request):
            return False
        acts = any(_like(pattern.lower(), request.action.lower()) for pattern in self.actions)
        # A policy of a resource need not name it again (S3, SQS and SNS want it; KMS says "*").
        lies = any(_like(pattern, request.resource) for pattern in self.resources)
        if acts is self.without_actions or lies is self.without_resources:
            return False
        return all(
            _holds(operator, key, _texts(values), request.context)
            for operator, keys in self.conditions.items()
            for key, values in keys.items()
        )


def statements(policy: str, document: Mapping[str, Any]) -> list[Statement]:
    """The statements of a policy document whose intrinsic functions are resolved."""
    return [
        Statement(
            policy=policy,
            effect=statement["Effect"],
            actions=tuple(_texts(statement.get("Action", statement.get("NotAction")))),
            resources=tuple(_texts(statement.get("Resource", statement.get("NotResource", "*")))),
            conditions=statement.get("Condition", {}),
            principal=statement.get("Principal"),
            without_actions="NotAction" in statement,
            without_resources="NotResource" in statement,
        )
        for statement in _list(document["Statement"])
    ]


def decide(request: Request, of_role: Iterable[Statement], of_resource: Iterable[Statement]) -> Statement | None:
    """The statement that allows a request; None where none does, or one denies it."""
    covering = [statement for statement in (*of_role, *of_resource) if statement.covers(request)]
    if any(statement.effect == "Deny" for statement in covering):
        return None
    return next(iter(covering), None)


def _is_principal(principal: Any, request: Request) -> bool:
    if principal == "*":
        return True
    for kind, names in principal.items():
        if kind == "Service" and request.service in _texts(names):
            return True
        if kind == "AWS" and request.role and any(name in ("*", request.role) for name in _texts(names)):
            return True
    return False


# ---- conditions


def _equals(wanted: str, found: str) -> bool:
    return wanted == found


def _like(pattern: str, found: str) -> bool:
    return _pattern(pattern).fullmatch(found) is not None


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    if "${" in pattern:
        raise NotUnderstood(f"a policy variable: {pattern}")
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": _equals,
    "StringEqualsIgnoreCase": lambda wanted, found: wanted.lower() == found.lower(),
    "StringLike": _like,
    "ArnEquals": _like,  # ArnEquals and ArnLike are the same
    "ArnLike": _like,
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
}
_NEGATED = {"StringNotEquals": "StringEquals", "StringNotLike": "StringLike", "ArnNotEquals": "ArnEquals"}


def _holds(operator: str, key: str, wanted: Sequence[str], context: Context) -> bool:
    quantifier, _, rest = operator.rpartition(":")
    name = rest.removesuffix("IfExists")
    found = context.get(key, ())
    if name == "Null":
        return (wanted == ["true"]) is (not found)
    positive = _NEGATED.get(name, name)
    if positive not in _OPERATORS or quantifier not in {"", "ForAllValues", "ForAnyValue"}:
        raise NotUnderstood(f"the condition operator {operator}")
    if not found:
        # What a request does not carry fulfils only what is negated, said of all values, or said "if exists".
        return rest.endswith("IfExists") or quantifier == "ForAllValues" or (name != positive and not quantifier)
    matches = [any(_OPERATORS[positive](one, value) for one in wanted) is (name == positive) for value in found]
    return any(matches) if quantifier == "ForAnyValue" else all(matches)


def _texts(value: Any) -> list[str]:
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in _list(value)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
