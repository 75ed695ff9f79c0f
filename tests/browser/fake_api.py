"""The API and the object store as the viewer knows them, in this process, over artefacts that are real.

It speaks the contract and nothing else; a test moves its images from state to state by hand.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from werkzeug import Request, Response
from werkzeug.serving import make_server

from heatdrop.explaining.explainer import Explanation
from heatdrop.vocabulary import ModelName, Prediction


@dataclass
class Known:
    """An image that was explained for real: what it takes to serve it."""

    predictions: tuple[Prediction, ...]
    explanation: Explanation
    model: ModelName


@dataclass
class FakeApi:
    """Images by id, newest first in lists, and how many requests of which kind came."""

    page: int = 24
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    wishes: list[dict[str, Any]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    empty_pages: int = 0
    broken: bool = False

    def __post_init__(self) -> None:
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._now = datetime.now(UTC) - timedelta(minutes=5)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # What a test does

    def receive(self, key: str, size: int = 7_208_960) -> str:
        """A new image, as after a drop."""
        image_id = f"{len(self.images) + 1:032x}"
        self._now += timedelta(seconds=3)
        drop = {"bucket": "input", "key": key, "version_id": f"v{len(self.images)}", "size": size}
        self.images[image_id] = {"image_id": image_id, "state": "RECEIVED", "key": key, "drop": drop}
        self.images[image_id] |= {"predictions": [], "model": None, "reason": None, "picture": None, "heatmaps": []}
        self.images[image_id] |= {"explanations": {}, "timings_ms": {}, "created_at": self._moment()}
        return self._change(image_id, state="RECEIVED")

    def classify(self, image_id: str, known: Known) -> None:
        predictions = [p.model_dump() for p in known.predictions]
        self._change(image_id, state="CLASSIFIED", predictions=predictions, model=known.model.model_dump())

    def explain(self, image_id: str, known: Known) -> None:
        self.classify(image_id, known)
        prefix = f"images/{image_id}"
        self.files[f"{prefix}/picture.png"] = known.explanation.picture[1]
        heatmaps = self._store(prefix, known.explanation)
        timings = {"decode": 143.9, "predict": 17.8} | known.explanation.timings_ms
        picture = f"{prefix}/picture.png"
        self._change(image_id, state="EXPLAINED", picture=picture, heatmaps=heatmaps, timings_ms=timings)

    def end(self, image_id: str, state: str, reason: str) -> None:
        self._change(image_id, state=state, reason=reason)

    def finish_explanation(self, image_id: str, explanation: Explanation) -> None:
        wanted = list(self.images[image_id]["explanations"].values())[-1]
        heatmaps = self._store(f"images/{image_id}/{wanted['explanation_id']}", explanation)
        wanted |= {"state": "EXPLAINED", "heatmaps": heatmaps}

    def _store(self, prefix: str, explanation: Explanation) -> list[dict[str, str]]:
        heatmaps = []
        for heatmap in explanation.heatmaps:
            keys = [f"{prefix}/{name}" for name, _ in heatmap.files]
            self.files |= dict(zip(keys, (content for _, content in heatmap.files), strict=True))
            heatmaps.append({"label": heatmap.label} | dict(zip(("overlay", "figure", "maps"), keys, strict=True)))
        return heatmaps

    def _change(self, image_id: str, **values: Any) -> str:
        self.images[image_id] |= values | {"updated_at": self._moment()}
        return image_id

    def _moment(self) -> str:
        return self._now.isoformat(timespec="milliseconds")

    # What the API does

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        self.seen.append(f"{request.method} {request.path}")
        # A label may hold slashes: the path is taken as it was sent.
        path = environ["RAW_URI"].split("?")[0]
        for (method, pattern), answer in _ROUTES.items():
            found = re.fullmatch(pattern, path)
            if found and request.method == method:
                broken = self.broken and not path.startswith("/store")
                response = (
                    _problem(503, "Try again in a minute.") if broken else answer(self, request, **found.groupdict())
                )
                return response(environ, start_response)
        return _problem(404, f"There is no {path}.")(environ, start_response)

    def list_images(self, request: Request) -> Response:
        wanted = request.args
        start = int(wanted.get("page_token", "0"))
        if start == 0 and self.empty_pages:
            self.empty_pages -= 1
            return _json({"images": [], "next_page": "0"})
        found = [image for image in reversed(self.images.values()) if _fits(image, wanted)]
        limit = min(int(wanted.get("limit", "50")), self.page)
        rest = found[start : start + limit]
        more = str(start + limit) if start + limit < len(found) else None
        return _json({"images": [_listed(image) for image in rest], "next_page": more})

    def get_image(self, _request: Request, image_id: str) -> Response:
        image = self.images.get(image_id)
        return _json(image) if image else _problem(404, f"There is no image {image_id}.")

    def get_link(self, request: Request, image_id: str, label: str | None = None) -> Response:
        image = self.images.get(image_id)
        if label is None:
            key = image and image.get("picture")
        else:
            chosen = image["explanations"].get(request.args.get("explanation"), image)
            # API Gateway decodes once; a name that holds a slash comes encoded twice.
            names = (unquote(label), unquote(unquote(label)))
            heatmap = next((h for h in chosen["heatmaps"] if h["label"] in names), {})
            key = heatmap.get(request.args["artefact"])
        if not key:
            return _problem(404, "There is no such heatmap.")
        return _json({"url": f"{self.url}/store/{key}", "expires_at": self._moment()})

    def start_upload(self, request: Request) -> Response:
        wanted = json.loads(request.get_data())
        if wanted["media_type"] == "text/plain":
            return _problem(422, "Text is no image; upload JPEG, PNG, BMP, TIFF, WebP or DICOM.")
        key = f"uploads/{len(self.uploads):08}/{wanted['name']}"
        fields = {"key": key, "Content-Type": wanted["media_type"], "policy": "p"}
        return _json({"url": f"{self.url}/store", "fields": fields, "key": key, "expires_at": self._moment()}, 201)

    def ask_again(self, request: Request, image_id: str) -> Response:
        wish = json.loads(request.get_data())
        self.wishes.append(wish)
        settings = {"method": "smoothgrad", "samples": 20, "noise_level": 0.2, "estimator": "mean_abs", "seed": 0}
        explanation = {
            "explanation_id": f"{len(self.wishes):032x}",
            "state": "RECEIVED",
            "settings": settings | {name: value for name, value in wish.items() if name != "classes"},
            "labels": wish["classes"],
            "requested_at": self._moment(),
            "heatmaps": [],
        }
        self.images[image_id]["explanations"][explanation["explanation_id"]] = explanation
        return _json(explanation, 202)

    def take_object(self, request: Request) -> Response:
        with request.files["file"].stream as content:  # a temporary file, if it is large
            self.uploads[request.form["key"]] = content.read()
        return Response(status=204)

    def give_object(self, _request: Request, key: str) -> Response:
        content = self.files.get(unquote(key))
        return Response(content) if content is not None else Response("<Error/>", 404)


_ID = "(?P<image_id>[0-9a-f]{32})"
_ROUTES: dict[tuple[str, str], Callable[..., Response]] = {
    ("GET", "/images"): FakeApi.list_images,
    ("GET", f"/images/{_ID}"): FakeApi.get_image,
    ("GET", f"/images/{_ID}/picture"): FakeApi.get_link,
    ("GET", f"/images/{_ID}/heatmaps/(?P<label>[^/]+)"): FakeApi.get_link,
    ("POST", f"/images/{_ID}/explanations"): FakeApi.ask_again,
    ("POST", "/uploads"): FakeApi.start_upload,
    ("GET", "/labels"): lambda api, _request: _json({"labels": [{"label": name, "models": []} for name in api.labels]}),
    ("GET", "/models"): lambda api, _request: _json({"models": api.models}),
    ("GET", "/health"): lambda _api, _request: _json({"status": "ok"}),
    ("POST", "/store"): FakeApi.take_object,
    ("GET", "/store/(?P<key>.+)"): FakeApi.give_object,
}


def _listed(image: dict[str, Any]) -> dict[str, Any]:
    best = image["predictions"][0] if image["predictions"] else {}
    names = ("image_id", "state", "key", "created_at", "model", "reason")
    return {name: image[name] for name in names} | {"label": best.get("label"), "score": best.get("score")}


def _fits(image: dict[str, Any], wanted: Any) -> bool:
    best = image["predictions"][0] if image["predictions"] else {"label": None, "score": -1}
    return (
        wanted.get("state") in (None, image["state"])
        and wanted.get("label") in (None, best["label"])
        and best["score"] >= float(wanted.get("min_score", -1))
        and image["drop"]["key"].startswith(wanted.get("prefix", ""))
        and image["created_at"] >= wanted.get("since", "")
    )


def _json(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document), status=status, content_type="application/json")


def _problem(status: int, detail: str) -> Response:
    document = {"type": "about:blank", "title": "The API says no", "status": status, "detail": detail}
    return Response(json.dumps(document), status=status, content_type="application/problem+json")
