"""Every call that a role of the deployed template makes, judged by the template's policies as it arrives.

moto is where all calls end, whether a client in this process makes them, a function's process, a container or the
holder of a link, and each tells by its credentials whose it is (see ``heatdrop.local.roles``). What is not a role's
is the account's owner's: a test's own look at things, or what AWS does by itself.

Each process with a cloud of its own writes what it finds into a file; ``FOLDER_VARIABLE`` says where.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import unquote

import xmltodict
from moto.core.request import Request as HttpRequest
from moto.core.responses import BaseResponse
from moto.core.routing import NotFound, get_service_router
from moto.iam.models import iam_backends
from moto.s3.models import FakeBucket, s3_backends
from tests.iam import calls, stacks
from tests.iam.plugin import FOLDER_VARIABLE
from tests.iam.policies import NotUnderstood, Request, Statement, decide


@dataclass(frozen=True)
class Judged:
    """A kind of call, with resources as the template calls them; ``allowed_by`` is empty where it would be denied."""

    role: str
    operation: str
    action: str
    resource: str
    """What was called; where it is allowed, the pattern that the statement allows."""
    allowed_by: str


@dataclass(frozen=True)
class Granted:
    """An action that a role may do on a resource, whether or not it ever does."""

    role: str
    action: str
    resource: str


class Recorder:
    """Judges the calls that arrive at the moto of this process."""

    def __init__(self) -> None:
        self._written: set[str] = set()

    def hear(self, response: BaseResponse, request: HttpRequest) -> None:
        """A request has come in; ``response`` is moto's half-made answer."""
        role = _role_of(response, request)
        if role is None:
            return
        try:
            call = _call_of(response, request)
            wanted = calls.needed(call)
            if wanted and _is_absent(call):
                wanted += calls.if_absent(call)
            for permission in list(wanted):
                if key := self._policies.key_of(permission.resource):
                    wanted += calls.of_key(permission, key)
        except NotUnderstood as problem:
            self._write(Judged(self._policies.named(role), request.path, "?", str(problem), ""))
            return
        for permission in wanted:
            self._judge(role, call, permission)

    @cached_property
    def _policies(self) -> stacks.Policies:
        found = stacks.deployed()
        for role, statements in found.of_role.items():
            for statement in statements:
                if statement.effect == "Allow":
                    for action, resource in product(statement.actions, statement.resources):
                        self._write(Granted(found.named(role), action, found.named(resource)))
        return found

    def _judge(self, role: str, call: calls.Call, permission: calls.Permission) -> None:
        if role not in self._policies.of_role:  # another stack was deployed since
            del self._policies
            self._policies.of_role.setdefault(role, [])
        policies = self._policies
        request = Request(permission.action, permission.resource, permission.context, role=role)
        try:
            statement = decide(request, policies.of_role[role], policies.of_resources)
        except NotUnderstood as problem:
            self._write(Judged(policies.named(role), call.operation, permission.action, str(problem), ""))
            return
        if statement is None:
            resource, allowed_by = permission.resource, ""
        else:
            resource, allowed_by = pattern_of(statement, request), statement.text
        self._write(
            Judged(policies.named(role), call.operation, permission.action, policies.named(resource), allowed_by)
        )

    def _write(self, found: Judged | Granted) -> None:
        line = json.dumps(asdict(found))
        if line not in self._written:
            self._written.add(line)
            with (Path(os.environ[FOLDER_VARIABLE]) / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
                file.write(line + "\n")


@contextmanager
def recorded() -> Iterator[None]:
    """Judge the calls of every cloud that is made in the ``with`` block, if there is a folder to write to."""
    if FOLDER_VARIABLE not in os.environ:
        yield
        return
    recorder = Recorder()
    set_up = BaseResponse.setup_class

    def heard(self: BaseResponse, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        set_up(self, request, *args, **kwargs)
        recorder.hear(self, request)

    with mock.patch.object(BaseResponse, "setup_class", heard):
        yield


def pattern_of(statement: Statement, request: Request) -> str:
    """The resource of a statement by which it covers a request."""
    return next(pattern for pattern in statement.resources if Statement("", "", ("*",), (pattern,), {}).covers(request))


def _role_of(response: BaseResponse, request: HttpRequest) -> str | None:
    """The ARN of the role under which a request is made, also one that a link or a form was signed for."""
    signed = request.args.get("X-Amz-Credential") or request.form.get("x-amz-credential")
    key = signed.partition("/")[0] if signed else response.access_key
    known = iam_backends[response.current_account]["aws"].access_keys.get(key)
    return known.role_arn if known else None


def _call_of(response: BaseResponse, request: HttpRequest) -> calls.Call:
    """The call that a request is, by botocore's description of the service."""
    service = response.boto3_service_name
    place = {"region": response.region, "account": response.current_account}
    if service == "s3" and request.method == "POST" and "key" in request.form:
        bucket = unquote(request.path).strip("/") or request.host.partition(".")[0]
        return calls.Call(service, "PostObject", {"Bucket": bucket, "Key": request.form["key"]}, **place)
    try:
        operation, parameters = get_service_router(service).match(request)
    except NotFound as error:
        raise NotUnderstood(f"{request.method} {request.path} is no operation of {service}") from error
    parameters = dict(parameters)
    if service == "s3":
        parameters |= request.args.to_dict()
        if operation.name == "DeleteObjects":
            parameters |= _deleted(request.data)
    else:
        parameters |= getattr(response, "params", None) or json.loads(request.data or b"{}")
    return calls.Call(service, operation.name, parameters, **place)


def _deleted(body: bytes) -> dict[str, Any]:
    """The keys that a DeleteObjects names, and whether it deletes versions of them, for which S3 asks another right."""
    objects = xmltodict.parse(body, force_list=("Object",))["Delete"]["Object"]
    versions = {one["Key"] for one in objects if "VersionId" in one}
    if versions not in (set(), {one["Key"] for one in objects}):
        raise NotUnderstood("a DeleteObjects deletes versions of some of its keys only (tests/iam/recording.py)")
    return {"Keys": [one["Key"] for one in objects]} | ({"versionId": "some"} if versions else {})


def _is_absent(call: calls.Call) -> bool:
    """Whether an object that is read is not there."""
    if call.operation not in {"GetObject", "HeadObject"}:
        return False
    bucket: FakeBucket | None = s3_backends[call.account][call.partition].buckets.get(call.parameters["Bucket"])
    if bucket is None:
        return False
    version = call.parameters.get("versionId")
    versions = bucket.keys.getlist(call.parameters["Key"], [])
    return not (any(str(one.version_id) == version for one in versions) if version else versions)
