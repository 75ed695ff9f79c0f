"""The routes of the API: what each takes, checked by its types, and the method of the service that answers it."""

# ruff: noqa: D102 (what a method of Routes does is said by the summary of its route)

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from pydantic import AwareDatetime, BeforeValidator

from heatdrop.api import problems
from heatdrop.api.models import (
    IMAGE_ID,
    Artefact,
    ExplanationRequest,
    Health,
    Image,
    ImagePage,
    Labels,
    Models,
    UploadRequest,
    as_image,
)
from heatdrop.api.problems import MEDIA_TYPE
from heatdrop.api.service import Service
from heatdrop.aws.links import Link, UploadLink
from heatdrop.aws.listing import Filter
from heatdrop.aws.record import RequestedExplanation
from heatdrop.errors import HeatdropError, NotFound, NotJson, WrongMediaType, WrongMethod
from heatdrop.version import __version__
from heatdrop.vocabulary import State


def _no_number(value: object) -> object:
    """Refuse what pydantic would take for seconds since 1970: the documented format is a date and time."""
    if isinstance(value, str) and "-" not in value[1:]:
        raise ValueError("give a date and time with its zone, like 2026-11-24T06:33:19Z")
    return value


Moment = Annotated[AwareDatetime | None, BeforeValidator(_no_number)]
ImageId = Annotated[str, Path(pattern=IMAGE_ID)]
ExplanationId = Annotated[str | None, Query(pattern=IMAGE_ID, description="Of an explanation on request.")]

DESCRIPTION = """\
Images that were dropped, their classes and the heatmaps that explain them. Research software, not a medical device.

Lists are newest first. A page may be short or even empty and still have a next one: go on until `next_page` is null.
Links end after minutes; ask for a new one. A class whose name holds one of `/ ? # %` is percent-encoded twice in a
path, because API Gateway decodes it once. Problems are documents of RFC 9457."""


class Resolver(APIGatewayHttpResolver):
    """Powertools' router, but a part of a path may hold any letter: a label may be Chinese, or an emoji."""

    @staticmethod
    def _compile_regex(rule: str, base_regex: str = "^{}$") -> re.Pattern[str]:
        return re.compile(base_regex.format(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", rule)))


@dataclass(frozen=True)
class Route:
    """A method and path of the API, the method of ``Routes`` that answers it, and what the OpenAPI document says."""

    name: str
    method: str
    path: str
    summary: str
    success: HTTPStatus
    problems: tuple[HTTPStatus, ...]

    def matches(self, path: str) -> bool:
        """Whether a path is one of this route, whatever its method."""
        return re.fullmatch(re.sub(r"<\w+>", "[^/]+", self.path), path) is not None


ROUTES: list[Route] = []
"""Every route, in the order in which ``Routes`` defines them."""

_Answer = TypeVar("_Answer", bound=Callable[..., Any])


def _route(
    method: str, path: str, summary: str, *problems: HTTPStatus, success: HTTPStatus = HTTPStatus.OK
) -> Callable[[_Answer], _Answer]:
    """Let the decorated method answer a route; ``problems`` beside 422 and 500, which every route may answer with."""

    def add(answer: _Answer) -> _Answer:
        ROUTES.append(Route(answer.__name__, method, path, summary, success, problems))
        return answer

    return add


class Routes:
    """What answers each route. Without a service the routes can be described, but not called."""

    def __init__(self, service: Service | None) -> None:
        self._maybe_service = service

    @property
    def _service(self) -> Service:
        assert self._maybe_service is not None, "these routes were made to be described"  # noqa: S101
        return self._maybe_service

    @_route("GET", "/images", "List images, newest first", HTTPStatus.BAD_REQUEST)
    def list_images(
        self,
        state: Annotated[State | None, Query()] = None,
        label: Annotated[str | None, Query(min_length=1, max_length=1000, description="The best class.")] = None,
        min_score: Annotated[float | None, Query(ge=0, le=1, description="Of the best class.")] = None,
        model: Annotated[str | None, Query(max_length=200, description="Name or version of the model.")] = None,
        prefix: Annotated[str | None, Query(max_length=1024, description="How the key begins.")] = None,
        since: Annotated[Moment, Query(description="Dropped at this time or later.")] = None,
        until: Annotated[Moment, Query(description="Dropped before this time.")] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
        page_token: Annotated[
            str | None, Query(max_length=400, description="`next_page` of the page before; same filters.")
        ] = None,
    ) -> ImagePage:
        wanted = Filter(
            state=state, label=label, min_score=min_score, model=model, prefix=prefix, since=since, until=until
        )
        return self._service.page(wanted, limit, page_token)

    @_route("GET", "/labels", "List the classes that models here know")
    def list_labels(self) -> Labels:
        return self._service.labels()

    @_route("GET", "/models", "List the models that have classified images here")
    def list_models(self) -> Models:
        return self._service.models()

    @_route("GET", "/health", "Ask whether the API answers")
    def health(self) -> Health:
        return Health(version=__version__)

    @_route("GET", "/images/<image_id>", "Get everything known about an image", HTTPStatus.NOT_FOUND)
    def get_image(self, image_id: ImageId) -> Image:
        return as_image(self._service.record(image_id))

    @_route(
        "GET",
        "/images/<image_id>/picture",
        "Get a link to the image as it is shown",
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
    )
    def get_picture(self, image_id: ImageId) -> Link:
        return self._service.picture(image_id)

    @_route(
        "GET",
        "/images/<image_id>/heatmaps/<label>",
        "Get a link to what explains one class",
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
    )
    def get_heatmap(
        self,
        image_id: ImageId,
        label: Annotated[str, Path(min_length=1, description="A class that is explained.")],
        artefact: Annotated[Artefact, Query()] = "overlay",
        explanation: ExplanationId = None,
    ) -> Link:
        return self._service.heatmap(image_id, (label, unquote(label)), artefact, explanation)

    @_route(
        "POST",
        "/uploads",
        "Get a form to upload one image with",
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        success=HTTPStatus.CREATED,
    )
    def request_upload(self, request: UploadRequest) -> UploadLink:
        return self._service.upload(request)

    @_route(
        "POST",
        "/images/<image_id>/explanations",
        "Have an image explained again, with other settings",
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        success=HTTPStatus.ACCEPTED,
    )
    def request_explanation(self, image_id: ImageId, request: ExplanationRequest) -> RequestedExplanation:
        return self._service.explanations.request(self._service.record(image_id), request)


class Api:
    """The HTTP API: every route, registered with Powertools, and its errors as problem documents."""

    def __init__(self, service: Service | None) -> None:
        self.app = Resolver(enable_validation=True)
        problems.install(self.app)
        self.app.not_found(self._not_found)
        answers = Routes(service)
        for route in ROUTES:
            every = (*route.problems, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.INTERNAL_SERVER_ERROR)
            self.app.route(
                route.path,
                method=route.method,
                summary=route.summary,
                operation_id=route.name,
                status_code=route.success.value,
                responses={
                    route.success.value: {"description": route.success.phrase},
                    **problems.documented(*every),
                },
            )(getattr(answers, route.name))

    def handle(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Answer an event of API Gateway (payload format 2.0)."""
        try:
            check_json(event)
        except HeatdropError as error:
            refused = problems.of_error(error)
            return {"statusCode": refused.status_code, "headers": {"Content-Type": MEDIA_TYPE}, "body": refused.body}
        return self.app.resolve(event, context)

    def _not_found(self, error: NotFoundError) -> Response[str]:
        path = self.app.current_event.path
        allowed = sorted({route.method for route in ROUTES if route.matches(path)})
        if not allowed:
            return problems.of_error(NotFound(f"there is nothing at {path}; the OpenAPI document lists what there is"))
        answer = problems.of_error(WrongMethod(f"{path} takes {' and '.join(allowed)} only"))
        answer.headers["Allow"] = ", ".join(allowed)
        return answer


def check_json(event: Mapping[str, Any]) -> None:
    """Check that a body is JSON, before any route is looked for.

    Raises:
        WrongMediaType: its media type is not application/json.
        NotJson: it cannot be parsed.
    """
    body = event.get("body")
    if not body:
        return
    media_type = str(event.get("headers", {}).get("content-type", "application/json")).partition(";")[0].strip()
    if media_type.lower() != "application/json":
        raise WrongMediaType(f"the body is {media_type}; send application/json")
    try:
        json.loads(base64.b64decode(body) if event.get("isBase64Encoded") else body)
    except (ValueError, RecursionError) as error:
        raise NotJson(f"the body is not JSON: {error}") from error
