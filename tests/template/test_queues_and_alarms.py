"""Nothing waits, dies or fails unseen."""

import json
import re
from functools import cache

import pytest
from tests.template.cloud_template import (
    as_list,
    default,
    largest,
    one,
    queue_sources,
    referenced,
    resources,
    template,
)

from heatdrop.project import ROOT

QUEUES = sorted(resources("AWS::SQS::Queue"))
DEAD_LETTERS = {
    one(queue["Properties"]["RedrivePolicy"]["deadLetterTargetArn"])
    for queue in resources("AWS::SQS::Queue").values()
    if "RedrivePolicy" in queue["Properties"]
}
ALARMS = resources("AWS::CloudWatch::Alarm")


def alarms_of(logical_id: str, *metrics: str) -> list[str]:
    """The alarms on some metrics of a resource."""
    return [
        name
        for name, alarm in ALARMS.items()
        if logical_id in referenced(alarm["Properties"]["Dimensions"]) and alarm["Properties"]["MetricName"] in metrics
    ]


@pytest.mark.parametrize("source", list(queue_sources()), ids=lambda source: f"{source[2]} to {source[0]}")
def test_message_stays_hidden_for_six_timeouts_and_the_window(source: tuple) -> None:
    function, event, queue = source
    own = resources("AWS::Serverless::Function")[function]["Properties"]
    timeout = own.get("Timeout", template()["Globals"]["Function"]["Timeout"])
    hidden = resources("AWS::SQS::Queue")[queue]["Properties"]["VisibilityTimeout"]
    assert hidden >= 6 * timeout + largest(event["MaximumBatchingWindowInSeconds"])


def test_drop_that_failed_is_tried_again_within_ten_minutes() -> None:
    assert resources("AWS::SQS::Queue")["IngestQueue"]["Properties"]["VisibilityTimeout"] <= 600


@pytest.mark.parametrize("source", list(queue_sources()), ids=lambda source: f"{source[2]} to {source[0]}")
def test_function_returns_single_messages_and_its_concurrency_is_limited(source: tuple) -> None:
    _, event, _ = source
    assert event["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert int(default(event["ScalingConfig"]["MaximumConcurrency"])) >= 2


@pytest.mark.parametrize("queue", QUEUES)
def test_queue_has_dead_letters_after_five_attempts_or_holds_them(queue: str) -> None:
    properties = resources("AWS::SQS::Queue")[queue]["Properties"]
    assert queue in DEAD_LETTERS or properties["RedrivePolicy"]["maxReceiveCount"] >= 5
    assert properties["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize("queue", sorted(DEAD_LETTERS))
def test_dead_letters_raise_an_alarm_at_the_first(queue: str) -> None:
    fed = {name for _, _, name in queue_sources()}
    # A function empties it at once, so lying there cannot be relied upon.
    metric = "NumberOfMessagesReceived" if queue in fed else "ApproximateNumberOfMessagesVisible"
    (alarm,) = alarms_of(queue, metric)
    properties = ALARMS[alarm]["Properties"]
    assert (properties["Threshold"], properties["ComparisonOperator"]) == (0, "GreaterThanThreshold")


@pytest.mark.parametrize("queue", sorted({queue for _, _, queue in queue_sources()}))
def test_queue_that_is_not_emptied_raises_an_alarm(queue: str) -> None:
    assert alarms_of(queue, "ApproximateAgeOfOldestMessage")


@pytest.mark.parametrize("function", sorted(resources("AWS::Serverless::Function")))
def test_function_that_fails_raises_an_alarm(function: str) -> None:
    # Whoever asks the API gets a 5xx when its function fails.
    assert alarms_of("Api", "5xx") if function == "ApiFunction" else alarms_of(function, "Errors")


OWN_METRICS = {
    alarm["Properties"]["MetricName"]: alarm["Properties"]
    for alarm in ALARMS.values()
    if not str(alarm["Properties"]["Namespace"]).startswith("AWS/")
}


@pytest.mark.parametrize("metric", ["ImagesStuck", "OldestOpenImageSeconds"])
def test_stuck_images_and_a_backlog_that_grows_raise_an_alarm(metric: str) -> None:
    variables = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert OWN_METRICS[metric]["Namespace"] == variables["POWERTOOLS_METRICS_NAMESPACE"]
    assert OWN_METRICS[metric]["Dimensions"] == [{"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}]


@cache
def emitted() -> set[str]:
    """The names of the metrics that the code emits."""
    sources = (ROOT / "shared/heatdrop").rglob("*.py")
    return {name for source in sources for name in re.findall(r'add_metric\("(\w+)"', source.read_text())}


def test_every_metric_of_ours_is_one_that_the_code_emits_and_is_shown() -> None:
    body = resources("AWS::CloudWatch::Dashboard")["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    shown, namespace = set[str](), ""
    for widget in json.loads(body)["widgets"]:
        for metric in widget["properties"].get("metrics", []):
            # "." repeats what the line before has in that place, "..." all but the last of it.
            namespace = metric[0] if not metric[0].startswith(".") else namespace
            if namespace.startswith("Heatdrop/") and metric[0] != "...":
                shown.add(metric[1])
    assert OWN_METRICS.keys() <= shown == emitted()


def test_alarm_on_a_backlog_has_a_sweep_to_look_at() -> None:
    (minutes,) = (
        int(rule["Properties"]["ScheduleExpression"].removeprefix("rate(").removesuffix(" minutes)"))
        for rule in resources("AWS::Events::Rule").values()
        if "ScheduleExpression" in rule["Properties"]
    )
    assert OWN_METRICS["OldestOpenImageSeconds"]["Period"] >= 60 * minutes
    assert OWN_METRICS["OldestOpenImageSeconds"]["Statistic"] == "Maximum"


def test_failed_jobs_raise_an_alarm() -> None:
    (rule,) = (
        name
        for name, rule in resources("AWS::Events::Rule").items()
        if rule["Properties"].get("EventPattern", {}).get("source") == ["aws.batch"]
    )
    assert alarms_of(rule, "TriggeredRules")


@pytest.mark.parametrize("alarm", sorted(ALARMS))
def test_alarm_is_told_to_the_alarm_topic_and_says_what_is_wrong(alarm: str) -> None:
    properties = ALARMS[alarm]["Properties"]
    assert [one(action) for action in as_list(properties["AlarmActions"])] == ["AlarmTopic"]
    assert properties["TreatMissingData"] == "notBreaching"
    assert len(properties["AlarmDescription"].split()) >= 6


def test_lone_drop_waits_no_longer_than_the_window_and_a_batch_has_a_size() -> None:
    (event,) = (event for function, event, _ in queue_sources() if function == "InferenceFunction")
    assert event["MaximumBatchingWindowInSeconds"] == {"Ref": "BatchingWindowSeconds"}
    assert event["BatchSize"] == {"Ref": "ImagesPerJob"}


@pytest.mark.parametrize("group", sorted(resources("AWS::Logs::LogGroup")))
def test_log_has_an_end(group: str) -> None:
    properties = resources("AWS::Logs::LogGroup")[group]["Properties"]
    assert int(default(properties["RetentionInDays"])) > 0


@pytest.mark.parametrize("function", sorted(resources("AWS::Serverless::Function")))
def test_function_writes_into_a_log_of_the_stack(function: str) -> None:
    group = one(resources("AWS::Serverless::Function")[function]["Properties"]["LoggingConfig"]["LogGroup"])
    assert group in resources("AWS::Logs::LogGroup")
