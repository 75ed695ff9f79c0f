"""Acting under the roles of the deployed template in the process of the tests."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import boto3

from heatdrop.local.deployment import Deployment
from heatdrop.local.roles import session_of

_acting: ContextVar[boto3.Session | None] = ContextVar("acting", default=None)
_default_session = boto3._get_default_session


def _session_of_this_context(**options: Any) -> boto3.Session:
    return _acting.get() or _default_session(**options)


# What `boto3.client` takes its credentials from; in other threads, and outside of a role, it stays as it is.
boto3._get_default_session = _session_of_this_context


@contextmanager
def acting(session: boto3.Session | None) -> Iterator[None]:
    """Let the clients that this thread makes in the ``with`` block act as the session's role; None: as the owner."""
    token = _acting.set(session)
    try:
        yield
    finally:
        _acting.reset(token)


P = ParamSpec("P")
T = TypeVar("T")


def under(session: boto3.Session, call: Callable[P, T]) -> Callable[P, T]:
    """The same callable, acting as the session's role."""

    @wraps(call)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with acting(session):
            return call(*args, **kwargs)

    return called


def holder_of(deployment: Deployment, policy: str) -> boto3.Session:
    """Somebody who may do what a policy allows, which the template has for people, and nothing else."""
    iam = boto3.client("iam")
    nobody = {"Version": "2012-10-17", "Statement": []}
    name = f"holder-of-{policy}"
    try:
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(nobody))["Role"]
        iam.attach_role_policy(RoleName=name, PolicyArn=deployment.outputs[policy])
    except iam.exceptions.EntityAlreadyExistsException:
        role = iam.get_role(RoleName=name)["Role"]
    return session_of(role["Arn"])
