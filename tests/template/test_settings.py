"""What a handler reads is declared, and nothing else; what a parameter offers is used."""

import json
import re

import pytest
from pydantic_settings import BaseSettings
from tests.template.cloud_template import referenced, resources, template

from heatdrop.api.service import ApiSettings
from heatdrop.cli.options import bounds
from heatdrop.pipeline.heatmaps import HeatmapSettings
from heatdrop.pipeline.ingest import InferenceSettings
from heatdrop.pipeline.job_events import JobEventSettings
from heatdrop.project import TEMPLATE
from heatdrop.vocabulary import NoiseLevel, Samples, Top

SETTINGS: dict[str, type[BaseSettings]] = {
    "InferenceFunction": InferenceSettings,
    "JobEventsFunction": JobEventSettings,
    "ApiFunction": ApiSettings,
}
# Read by Powertools itself.
POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"}


def wanted(settings: type[BaseSettings]) -> set[str]:
    return {name.upper() for name in settings.model_fields}


def test_every_function_has_a_settings_class_here() -> None:
    assert SETTINGS.keys() == resources("AWS::Serverless::Function").keys()


@pytest.mark.parametrize("function", sorted(SETTINGS))
def test_function_declares_what_its_handler_reads_and_nothing_else(function: str) -> None:
    own = resources("AWS::Serverless::Function")[function]["Properties"]["Environment"]["Variables"]
    shared = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert own.keys() | shared.keys() == wanted(SETTINGS[function]) | POWERTOOLS


def test_job_declares_what_it_reads_and_nothing_else() -> None:
    container = resources("AWS::Batch::JobDefinition")["HeatmapJobDefinition"]["Properties"]["ContainerProperties"]
    declared = {variable["Name"] for variable in container["Environment"]}
    assert declared == wanted(HeatmapSettings) | POWERTOOLS


def test_every_parameter_is_used_and_explained() -> None:
    used = referenced({name: part for name, part in template().items() if name != "Parameters"})
    for name, parameter in template()["Parameters"].items():
        assert name in used, f"nothing uses {name}"
        assert len(parameter["Description"].split()) >= 5, name
        assert "Default" in parameter, f"{name} must be answered before anything can be deployed"


def test_every_condition_is_used() -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    for name in template()["Conditions"]:
        assert text.count(name) > 1, name


def test_outputs_name_what_a_user_needs_next() -> None:
    outputs = template()["Outputs"]
    assert {
        "InputBucket",
        "ResultsBucket",
        "NotificationsTopic",
        "AlarmTopic",
        "Dashboard",
        "HeatmapsRepository",
    } <= outputs.keys()
    assert all(output["Description"].endswith(".") for output in outputs.values())


def test_dashboard_is_json_once_its_names_are_filled_in() -> None:
    body = resources("AWS::CloudWatch::Dashboard")["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(body)["widgets"]
    assert {widget["type"] for widget in widgets} == {"metric", "log"}
    assert all(widget["x"] + widget["width"] <= 24 for widget in widgets)


def test_sample_event_exists_for_every_trigger() -> None:
    events = {file.stem for file in (TEMPLATE.parent / "events").glob("*.json")}
    assert {"inference-drop", "inference-test-event", "job-events-dead-drop"} <= events
    assert {"job-events-failed-job", "job-events-sweep", "api"} <= events


@pytest.mark.parametrize(("parameter", "bounded"), [("Top", Top), ("Samples", Samples)])
def test_parameter_has_the_bounds_of_the_type_that_it_becomes(parameter: str, bounded: object) -> None:
    declared = template()["Parameters"][parameter]
    assert {"min": declared["MinValue"], "max": declared["MaxValue"]} == bounds(bounded)


@pytest.mark.parametrize("text", ["0.20", ".5", "1", "1.0", "0.000001", "1.1", "2", "-0.1", "1.01"])
def test_noise_level_takes_what_its_type_takes(text: str) -> None:
    """CloudFormation has no decimal numbers, so the parameter is a string with a pattern."""
    limits = bounds(NoiseLevel)
    taken = re.fullmatch(template()["Parameters"]["NoiseLevel"]["AllowedPattern"], text) is not None
    assert taken == (limits["min"] <= float(text) <= limits["max"])
