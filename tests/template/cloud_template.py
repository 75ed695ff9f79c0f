"""The template as it is written, and questions about it. Both sides of every ``!If`` count."""

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

from heatdrop.local.transform import read_template
from heatdrop.project import TEMPLATE

Resource = dict[str, Any]


@cache
def template() -> dict[str, Any]:
    """The parsed template; read only."""
    return read_template(TEMPLATE)


def resources(*types: str) -> dict[str, Resource]:
    """The resources of some types, by logical id."""
    found = {name: r for name, r in template()["Resources"].items() if r["Type"] in types}
    assert found, f"the template has no {types}"
    return found


def default(value: Any) -> Any:
    """A value, or the default of the parameter that it refers to."""
    if isinstance(value, dict) and "Ref" in value:
        return template()["Parameters"][value["Ref"]]["Default"]
    return value


def largest(value: Any) -> int:
    """A number, or the largest that the parameter it refers to may be."""
    if isinstance(value, dict) and "Ref" in value:
        return int(template()["Parameters"][value["Ref"]]["MaxValue"])
    return int(value)


def walk(node: Any) -> Iterator[Any]:
    """Every node of a tree of dictionaries and lists."""
    yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from walk(child)


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy statement, with the logical id of its resource."""
    for name, resource in template()["Resources"].items():
        for node in walk(resource):
            if isinstance(node, dict) and "Effect" in node:
                yield name, node


def referenced(node: Any) -> set[str]:
    """The logical ids and parameters that a tree refers to, by Ref, GetAtt or Sub."""
    names = set()
    for part in walk(node):
        if isinstance(part, dict) and "Ref" in part:
            names.add(part["Ref"])
        elif isinstance(part, dict) and "Fn::GetAtt" in part:
            attribute = part["Fn::GetAtt"]
            names.add(attribute[0] if isinstance(attribute, list) else attribute.split(".")[0])
        elif isinstance(part, str):
            pieces = itertools.islice(part.split("${"), 1, None)
            names |= {piece.split("}")[0].split(".")[0] for piece in pieces}
    return names


def one(node: Any) -> str:
    """The only logical id that a tree refers to."""
    (name,) = referenced(node)
    return name


def needed_by(logical_id: str) -> set[str]:
    """The resources that are made before this one and deleted after it, by references and DependsOn."""
    everything, needed, waiting = template()["Resources"], set[str](), [logical_id]
    while waiting:
        resource = everything[waiting.pop()]
        found = referenced(resource.get("Properties", {})) | set(as_list(resource.get("DependsOn", [])))
        waiting += (found & everything.keys()) - needed
        needed |= found & everything.keys()
    return needed


def chosen(node: Any, **conditions: bool) -> Any:
    """A tree with the side of each ``!If`` that is taken; ``!If`` of conditions that are not given stay."""
    nothing = {"Ref": "AWS::NoValue"}
    match node:
        case {"Fn::If": [str(condition), yes, no]} if condition in conditions:
            return chosen(yes if conditions[condition] else no, **conditions)
        case dict():
            parts = {name: chosen(part, **conditions) for name, part in node.items()}
            return {name: part for name, part in parts.items() if part != nothing}
        case list():
            return [part for part in (chosen(part, **conditions) for part in node) if part != nothing]
    return node


def as_list(value: Any) -> list[Any]:
    """A list of one thing or of many."""
    return value if isinstance(value, list) else [value]


def queue_sources() -> Iterator[tuple[str, Resource, str]]:
    """Function, event source and queue of every queue that feeds a function."""
    for name, function in resources("AWS::Serverless::Function").items():
        for event in function["Properties"].get("Events", {}).values():
            if event["Type"] == "SQS":
                yield name, event["Properties"], one(event["Properties"]["Queue"])
