"""Answers errors with problem documents (RFC 9457): what went wrong, and what to do next."""

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from heatdrop.errors import (
    FileTooLarge,
    HeatdropError,
    InvalidRequest,
    NotFound,
    NotJson,
    NotNow,
    WrongMediaType,
    WrongMethod,
)
from heatdrop.vocabulary import FrozenModel

logger = Logger(child=True)

MEDIA_TYPE = "application/problem+json"


STATUS: dict[type[HeatdropError], HTTPStatus] = {
    NotJson: HTTPStatus.BAD_REQUEST,
    InvalidRequest: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    WrongMethod: HTTPStatus.METHOD_NOT_ALLOWED,
    NotNow: HTTPStatus.CONFLICT,
    FileTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    WrongMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
"""The status of each error that a caller can do something about; every other error is answered with 500."""


class Complaint(FrozenModel):
    """One value that cannot be taken, and why."""

    where: str
    why: str


class Problem(FrozenModel):
    """A problem document; ``type`` is the same for every problem of one kind."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Complaint, ...] = ()


def response(status: HTTPStatus, kind: str, detail: str, errors: tuple[Complaint, ...] = ()) -> Response[str]:
    """A problem document as the answer to a request."""
    problem = Problem(
        type=f"urn:heatdrop:problem:{kind}", title=status.phrase, status=status, detail=detail, errors=errors
    )
    return Response(status.value, content_type=MEDIA_TYPE, body=problem.model_dump_json())


def of_error(error: HeatdropError) -> Response[str]:
    """The problem document of a typed error."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return response(STATUS[kind], _kebab(type(error).__name__), str(error))
    return _internal(error)


def of_validation(error: RequestValidationError) -> Response[str]:
    """The problem document of values that the documented schema refuses."""
    errors = tuple(Complaint(where=_place(e["loc"]), why=e["msg"]) for e in error.errors())
    detail = f"{errors[0].where}: {errors[0].why}"
    return response(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-values", detail, errors)


def _internal(error: Exception) -> Response[str]:
    logger.exception("request failed", error=type(error).__name__)
    detail = "something went wrong here; try again, and look into the log of the API function if it happens again"
    return response(HTTPStatus.INTERNAL_SERVER_ERROR, "our-fault", detail)


def install(app: APIGatewayHttpResolver) -> None:
    """Let every error of a route be answered by a problem document."""
    app.exception_handler(HeatdropError)(of_error)
    app.exception_handler(RequestValidationError)(of_validation)
    app.exception_handler(Exception)(_internal)


def documented(*statuses: HTTPStatus) -> dict[int, Any]:
    """What the OpenAPI document says of the problems of a route."""
    return {
        int(status): {"description": status.phrase, "content": {MEDIA_TYPE: {"model": Problem}}} for status in statuses
    }


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
