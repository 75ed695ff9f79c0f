"""The SDK in the inference image is cut down to the services that the function can ask for."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import grimp

from heatdrop.project import ROOT

FUNCTION = ROOT / "functions/inference"


def imported_by(file: Path) -> set[str]:
    """The modules that a file imports from the package."""
    tree = ast.parse(file.read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name for name in names if name.startswith("heatdrop.")}


def services_asked_for(file: Path) -> Iterator[str]:
    """The names of services that a file makes boto3 clients or resources of."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr="client" | "resource"), args=[ast.Constant(value=service), *_]):
                yield str(service)


def test_the_inference_image_keeps_every_service_that_its_code_can_ask_for() -> None:
    graph = grimp.build_graph("heatdrop")
    entered = imported_by(FUNCTION / "app.py")
    reachable = entered.union(*(graph.find_upstream_modules(module) for module in entered))
    asked = set[str]()
    for module in reachable:
        spec = importlib.util.find_spec(module)
        assert spec
        assert spec.origin
        asked.update(services_asked_for(Path(spec.origin)))
    kept = set(re.findall(r"! -name (\w+)", (FUNCTION / "Dockerfile").read_text()))
    assert {"s3", "dynamodb", "batch", "events", "sns"} <= asked
    assert asked <= kept
