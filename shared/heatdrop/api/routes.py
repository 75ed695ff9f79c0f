"""The routes: what is asked, checked by its types, and which of the service's answers it gets."""

import base64
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any
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
    """Pydantic would take a number for seconds since 1970, which the documented format does not."""
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
    """Powertools' router, whose parts of a path may be any text: a label can be a word in any script, or an emoji."""

    @staticmethod
    def _compile_regex(rule: str, base_regex: str = "^{}$") -> re.Pattern[str]:
        return re.compile(base_regex.format(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", rule)))


class Api:
    """The HTTP API. Without a service its routes can be described, but answer nothing."""

    def __init__(self, service: Service | None) -> None:
        self._service = service
        self.app = Resolver(enable_validation=True)
        self._paths: list[tuple[str, re.Pattern[str]]] = []
        problems.install(self.app)
        self.app.not_found(self._not_found)
        self._add_lists()
        self._add_images()
        self._add_requests()

    @property
    def service(self) -> Service:
        """What answers."""
        assert self._service is not None, "these routes were made to be described"  # noqa: S101
        return self._service

    def handle(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Answer an event of API Gateway (payload format 2.0)."""
        try:
            read_json(event)
        except HeatdropError as error:
            refused = problems.of_error(error)
            return {"statusCode": refused.status_code, "headers": {"Content-Type": MEDIA_TYPE}, "body": refused.body}
        return self.app.resolve(event, context)

    def _add_lists(self) -> None:
        def list_images(
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
            return self.service.page(wanted, limit, page_token)

        def list_labels() -> Labels:
            return self.service.labels()

        def list_models() -> Models:
            return self.service.models()

        def health() -> Health:
            return Health(version=__version__)

        self._get("/images", list_images, "List images, newest first", HTTPStatus.BAD_REQUEST)
        self._get("/labels", list_labels, "List the classes that models here know")
        self._get("/models", list_models, "List the models that have classified images here")
        self._get("/health", health, "Ask whether the API answers")

    def _add_images(self) -> None:
        def get_image(image_id: ImageId) -> Image:
            return as_image(self.service.record(image_id))

        def get_picture(image_id: ImageId) -> Link:
            return self.service.picture(image_id)

        def get_heatmap(
            image_id: ImageId,
            label: Annotated[str, Path(min_length=1, description="A class that is explained.")],
            artefact: Annotated[Artefact, Query()] = "overlay",
            explanation: ExplanationId = None,
        ) -> Link:
            return self.service.heatmap(image_id, (label, unquote(label)), artefact, explanation)

        missing = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
        self._get("/images/<image_id>", get_image, "Get everything known about an image", HTTPStatus.NOT_FOUND)
        self._get("/images/<image_id>/picture", get_picture, "Get a link to the image as it is shown", *missing)
        self._get("/images/<image_id>/heatmaps/<label>", get_heatmap, "Get a link to what explains one class", *missing)

    def _add_requests(self) -> None:
        def request_upload(request: UploadRequest) -> UploadLink:
            return self.service.upload(request)

        def request_explanation(image_id: ImageId, request: ExplanationRequest) -> RequestedExplanation:
            return self.service.explanations.request(self.service.record(image_id), request)

        body = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        self._post(
            "/uploads",
            request_upload,
            "Get a form to upload one image with",
            HTTPStatus.CREATED,
            *body,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )
        self._post(
            "/images/<image_id>/explanations",
            request_explanation,
            "Have an image explained again, with other settings",
            HTTPStatus.ACCEPTED,
            *body,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
        )

    def _get(self, path: str, answer: Any, summary: str, *statuses: HTTPStatus) -> None:
        self._route("GET", path, answer, summary, HTTPStatus.OK, statuses)

    def _post(self, path: str, answer: Any, summary: str, success: HTTPStatus, *statuses: HTTPStatus) -> None:
        self._route("POST", path, answer, summary, success, statuses)

    def _route(
        self, method: str, path: str, answer: Any, summary: str, success: HTTPStatus, statuses: tuple[HTTPStatus, ...]
    ) -> None:
        self._paths.append((method, re.compile(re.sub(r"<\w+>", "[^/]+", path))))
        every = (*statuses, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.INTERNAL_SERVER_ERROR)
        self.app.route(
            path,
            method=method,
            summary=summary,
            operation_id=answer.__name__,
            status_code=success.value,
            responses={success.value: {"description": success.phrase}, **problems.documented(*every)},
        )(answer)

    def _not_found(self, error: NotFoundError) -> Response[str]:
        path = self.app.current_event.path
        allowed = sorted({method for method, pattern in self._paths if pattern.fullmatch(path)})
        if not allowed:
            return problems.of_error(NotFound(f"there is nothing at {path}; the OpenAPI document lists what there is"))
        answer = problems.of_error(WrongMethod(f"{path} takes {' and '.join(allowed)} only"))
        answer.headers["Allow"] = ", ".join(allowed)
        return answer


def read_json(event: Mapping[str, Any]) -> None:
    """Look at the body before anything else does: what cannot be read at all is refused, whatever the route.

    Raises:
        WrongMediaType: it is not said to be JSON.
        NotJson: it is none.
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
