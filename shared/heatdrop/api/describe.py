"""Writes the documents of the API and of the notifications: ``python -m heatdrop.api.describe``.

They are committed, for readers and so that a change shows in review; a test compares them with the code.
"""

import json
import os
from pathlib import Path
from typing import Any

from heatdrop.api.routes import DESCRIPTION, Api
from heatdrop.aws.notifications import Notification
from heatdrop.project import ROOT
from heatdrop.version import __version__


def openapi() -> dict[str, Any]:
    """The OpenAPI document."""
    text = Api(None).app.get_openapi_json_schema(title="Heatdrop", version=__version__, description=DESCRIPTION)
    document: dict[str, Any] = json.loads(text)
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _never_null(parameter["schema"])
    return document


def notification() -> dict[str, Any]:
    """The JSON schema of a notification."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Notification.model_json_schema()}


DOCUMENTS = {"openapi.json": openapi, "notification.schema.json": notification}


def text_of(document: dict[str, Any]) -> str:
    """A document as it is kept in the repository."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an optional parameter without null, which a query string cannot hold."""
    kept = [choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"]
    if len(kept) != 1:
        return schema
    rest: dict[str, Any] = {name: value for name, value in schema.items() if name != "anyOf"}
    rest.update(kept[0])
    return rest


def main(folder: Path = ROOT / "docs") -> None:
    """Write the documents."""
    for name, make in DOCUMENTS.items():
        (folder / name).write_text(text_of(make()), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
    main()
