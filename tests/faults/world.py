"""The real pipeline over the deployed template, moved step by step, with everything that may go wrong.

What moves events in AWS is played here: S3, SQS, EventBridge and Batch are moto's; who receives, when, how often and in
which order is the test's choice.
"""

import hashlib
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import boto3
from moto.batch.models import Job
from moto.moto_api._internal import mock_random
from tests.faults.faults import Clock, Crash, Fault, FaultyAws, Meanwhile
from tests.faults.stored import Stored
from tests.iam.roles import acting, holder_of, under
from tests.integration.cloud import Context, load_handler

from heatdrop.api.explanations import Explanations
from heatdrop.api.models import ExplanationRequest
from heatdrop.aws.explanation_table import ExplanationTable
from heatdrop.aws.image_table import ImageTable, record_of
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.jobs import JobQueue
from heatdrop.aws.notifications import Notification
from heatdrop.aws.queues import DeadLetters, DropQueue
from heatdrop.aws.record import Record, RequestedExplanation
from heatdrop.aws.storage import Storage
from heatdrop.aws.table_schema import Layout
from heatdrop.explaining import explainer as explainers
from heatdrop.ids import image_id
from heatdrop.local.batch_runner import STATUS_REASON, retried, state_change
from heatdrop.local.deployment import Deployment
from heatdrop.local.queue_poller import sqs_record
from heatdrop.local.roles import session_of
from heatdrop.model.bundle import Bundle
from heatdrop.pipeline import heatmaps
from heatdrop.pipeline.redrive import failed_images, redrive
from heatdrop.vocabulary import Drop, ExplanationSettings, State

SPOT = "Host EC2 (instance i-0123456789abcdef0) terminated."
MAX_ROUNDS = 60


class Remembering:
    """The real explainer; what it made of an image it makes again, as it is deterministic (see test_explainer)."""

    _real: dict[str, explainers.Explainer] = {}  # noqa: RUF012
    _made: dict[tuple[str, str], explainers.Explanation] = {}  # noqa: RUF012

    def __init__(self, bundle: Bundle, settings: Any, *more: Any, **options: Any) -> None:
        self._name = f"{bundle.model.version}:{settings.model_dump_json()}"
        if self._name not in self._real:
            self._real[self._name] = explainers.Explainer(bundle, settings, *more, **options)

    def decode(self, data: bytes) -> bytes:
        return data

    def maps(self, seen: bytes, predictions: Sequence[Any]) -> None:
        """Nothing: ``draw`` knows all that the files depend on, and remembers them."""

    def draw(
        self, data: bytes, seen: bytes, predictions: Sequence[Any], made: None, unusual: float | None
    ) -> explainers.Explanation:
        what = (self._name, hashlib.sha256(data + repr((predictions, unusual)).encode()).hexdigest())
        if what not in self._made:
            self._made[what] = self._real[self._name].explain(data, predictions, unusual)
        return self._made[what]


class World:
    """One cloud for many schedules; ``reset`` empties it."""

    def __init__(self, deployment: Deployment, jobs: list[Job], bundles: Sequence[Bundle]) -> None:
        self.deployment, self.jobs, self.bundles = deployment, jobs, bundles
        outputs = deployment.outputs
        self.queues = {name: outputs[name] for name in ("IngestQueue", "JobEventsQueue", "JobEventsDeadLetters")}
        self.queues["IngestDeadLetters"] = deployment.physical_ids["IngestDeadLetters"]
        code = {function.code.name: function for function in deployment.functions}
        self.inference = [load_handler(code["inference"], BUNDLE_URI=str(bundle.folder)) for bundle in bundles]
        self.job_events = load_handler(code["job_events"])
        self._layout = Layout.of_stack(outputs)
        self.records = ImageTable(self._items())
        self.clock = Clock()
        self.aws = FaultyAws(self._hear)
        self._sqs, self._s3, self._events = (boto3.client(service) for service in ("sqs", "s3", "events"))
        self._stored = Stored(outputs["ImagesTable"], outputs["ResultsBucket"])
        self._arns = {name: self._arn(url) for name, url in self.queues.items()}
        (definition,) = boto3.client("batch").describe_job_definitions()["jobDefinitions"]
        self._definition = definition
        job_role = session_of(definition["containerProperties"]["jobRoleArn"])
        self._environment = {v["name"]: v["value"] for v in definition["containerProperties"]["environment"]}
        with acting(session_of(code["api"].role)):
            by_api = self._items()
            self._read_by_api = ImageTable(by_api)
            jobs = JobQueue(outputs["RequestJobQueue"], definition["jobDefinitionArn"])
            settings = ExplanationSettings(top=2, samples=1)
            self._explanations = Explanations(
                ExplanationTable(by_api), Storage(outputs["ResultsBucket"]), jobs, settings
            )
        self._redriver = holder_of(deployment, "RedrivePolicy")
        self._main = under(job_role, _job_main(next(iter(deployment.job_code.values())) / "job.py"))
        self.reset()

    def _items(self) -> ItemTable:
        """The table of images, for whoever acts now."""
        return ItemTable(self.deployment.outputs["ImagesTable"], self._layout)

    def reset(self) -> None:
        """Forget everything; what is random in moto begins anew."""
        mock_random.seed(0)
        self._stored.clear()
        self.jobs.clear()
        self.model = 0
        self.drops: list[tuple[Drop, int]] = []
        self.told: list[Notification] = []
        self.bodies: list[str] = []
        self.held: set[str] = set()
        self.attempts: dict[str, int] = defaultdict(int)
        self.bundle_of_job: dict[str, Bundle] = {}
        self.batch_events: list[dict[str, Any]] = []

    @contextmanager
    def running(self, explainer: type = Remembering) -> Iterator[None]:
        """Everything installed that a schedule needs."""
        before = signal.getsignal(signal.SIGTERM)
        clock = self.clock.patched("heatdrop.aws.item_table", "heatdrop.api.explanations")
        try:
            with clock, self.aws.installed(), mock.patch.object(heatmaps, "Explainer", explainer):
                yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _hear(self, operation: str, parameters: dict[str, Any]) -> None:
        if operation == "Publish":
            self.told.append(Notification.model_validate_json(parameters["Message"]))

    # ---- what happens

    def drop(self, data: bytes, content: int) -> None:
        """Somebody uploads an image; S3 tells the queue."""
        key = f"ward {len(self.drops)}/ü+{content}.bin"
        bucket = self.deployment.outputs["InputBucket"]
        answer = self._s3.put_object(Bucket=bucket, Key=key, Body=data)
        drop = Drop(bucket=bucket, key=key, version_id=answer["VersionId"], etag=answer["ETag"].strip('"'))
        self.drops.append((drop, content))

    def tell_again(self, number: int) -> None:
        """S3 delivers an old event once more."""
        drop, _ = self.drops[number % len(self.drops)]
        DropQueue(self.queues["IngestQueue"]).send(drop)

    def infer(self, count: int, order: int, faults: Sequence[Fault], meanwhile: Sequence[Meanwhile] = ()) -> bool:
        """An invocation of the inference function with some of the drops that wait."""
        return self._invoke("IngestQueue", self.inference[self.model], count, order, faults, meanwhile)

    def settle(self, queue: str, faults: Sequence[Fault], meanwhile: Sequence[Meanwhile] = ()) -> bool:
        """An invocation of the job events function."""
        return self._invoke(queue, self.job_events, 10, 0, faults, meanwhile)

    def _invoke(
        self,
        queue: str,
        handler: Callable[..., Any],
        count: int,
        order: int,
        faults: Sequence[Fault],
        meanwhile: Sequence[Meanwhile],
    ) -> bool:
        messages = self._receive(queue, count)
        messages = messages[order % max(1, len(messages)) :] + messages[: order % max(1, len(messages))]
        if not messages:
            return False
        context = Context()

        def slow() -> None:
            context.remaining_ms -= 70_000
            if context.remaining_ms < 0:
                raise Crash

        event = {"Records": [sqs_record(message, self._arns[queue]) for message in messages]}
        back = {message["MessageId"] for message in messages}
        try:
            with self.aws.planned(tuple(faults), self._steps(meanwhile), slow):
                answer = handler(event, context)
            back = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        except (Crash, Exception):  # noqa: S110 (as Lambda does: the whole batch comes back)
            pass
        for message in messages:
            handle = message["ReceiptHandle"]
            if message["MessageId"] in back:
                self._sqs.change_message_visibility(
                    QueueUrl=self.queues[queue], ReceiptHandle=handle, VisibilityTimeout=0
                )
            else:
                self._sqs.delete_message(QueueUrl=self.queues[queue], ReceiptHandle=handle)
        return True

    def _arn(self, url: str) -> str:
        return self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def _receive(self, queue: str, count: int) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        while len(messages) < count and self._stored.visible(self.queues[queue]):
            page = self._sqs.receive_message(
                QueueUrl=self.queues[queue],
                MaxNumberOfMessages=min(10, count - len(messages)),
                VisibilityTimeout=40_000,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            messages += page
            if not page:
                break
        return messages

    def _steps(self, meanwhile: Sequence[Meanwhile]) -> dict[int, Callable[[], None]]:
        steps: dict[str, Callable[[], object]] = {
            "infer": lambda: self.infer(10, 0, ()),
            "settle": lambda: self.settle("JobEventsQueue", ()),
            "run_job": lambda: self.run_job(0, ()),
            "sweep": lambda: (self.sweep(), self.settle("JobEventsQueue", ())),
        }
        return {one.at: steps[one.step] for one in meanwhile}  # type: ignore[misc]

    def waiting_jobs(self) -> list[Job]:
        """Jobs that may start; those that were cancelled end."""
        for job in self.jobs:
            if job.stop and not job.job_stopped:
                self._finish(job, "FAILED", None, job.job_stopped_reason)
        for job in self.jobs:
            self.bundle_of_job.setdefault(job.job_id, self.bundles[self.model])
        return [job for job in self.jobs if job.status in ("SUBMITTED", "RUNNABLE") and job.job_id not in self.held]

    def run_job(
        self, number: int, faults: Sequence[Fault], meanwhile: Sequence[Meanwhile] = (), spot: bool = False
    ) -> bool:
        """An attempt of one of the jobs that wait; ``spot``: a crash takes the whole host away."""
        waiting = self.waiting_jobs()
        if not waiting:
            return False
        job = waiting[number % len(waiting)]
        self.attempts[job.job_id] += 1
        job.status = "RUNNING"
        environment = self._environment | {"BUNDLE_URI": str(self.bundle_of_job[job.job_id].folder)}
        reason, code = STATUS_REASON, None
        with self.aws.planned(tuple(faults), self._steps(meanwhile), self._too_long):
            try:
                with (
                    mock.patch.dict(os.environ, environment),
                    mock.patch.object(sys, "argv", ["job.py", "--manifest", job.parameters["manifest"]]),
                ):
                    code = self._main()
            except SystemExit as end:
                code = end.code
            except Crash:
                reason, code = (SPOT, None) if spot else (STATUS_REASON, 137)
        strategy = self._definition["retryStrategy"]
        if code == 0:
            self._finish(job, "SUCCEEDED", 0, reason)
        elif self.attempts[job.job_id] < strategy["attempts"] and retried(strategy["evaluateOnExit"], code, reason):
            job.status = "RUNNABLE"
        else:
            self._finish(job, "FAILED", code, reason)
        return True

    def _too_long(self) -> None:
        self.clock.advance(minutes=40)

    def _finish(self, job: Job, status: str, code: int | None, reason: str) -> None:
        job.status, job.exit_code, job.job_stopped, job.job_stopped_reason = status, code, True, reason
        self.batch_events.append(state_change(job))

    def deliver(self, number: int, times: int) -> bool:
        """EventBridge delivers an event of Batch, ``times`` times: 0 loses it."""
        if not self.batch_events:
            return False
        event = self.batch_events.pop(number % len(self.batch_events))
        for _ in range(times):
            self._events.put_events(Entries=[event])
        return True

    def hold(self, number: int) -> None:
        """A job waits for ever, and Batch says nothing."""
        waiting = self.waiting_jobs()
        if waiting:
            self.held.add(waiting[number % len(waiting)].job_id)

    def sweep(self) -> None:
        """Hours pass, and the clock sends its message."""
        self.clock.advance(minutes=200)
        rule = self._events.list_targets_by_rule(Rule=self.deployment.physical_ids["SweepRule"].split("/")[-1])
        (target,) = rule["Targets"]
        self._sqs.send_message(QueueUrl=self.queues["JobEventsQueue"], MessageBody=target["Input"])

    def ask(self, number: int, faults: Sequence[Fault]) -> None:
        """Somebody asks the API for another explanation of an image."""
        drop, _ = self.drops[number % len(self.drops)]
        try:
            with self.aws.planned(tuple(faults)):
                record = self._read_by_api.get(image_id(drop))
                if record:
                    self._explanations.request(record, ExplanationRequest(estimator="squared"))
        except (Crash, Exception):  # noqa: S110 (they see the error; also that of an image without predictions)
            pass

    def redrive(self, faults: Sequence[Fault]) -> None:
        """Somebody calls ``heatdrop redrive``."""
        try:
            with acting(self._redriver), self.aws.planned(tuple(faults)):
                letters = DeadLetters(self.queues["JobEventsDeadLetters"], self.queues["JobEventsQueue"])
                if letters.count():
                    letters.send_back()
                records = ImageTable(self._items())
                redrive(list(failed_images(records)), records, DropQueue(self.queues["IngestQueue"]))
        except (Crash, Exception):  # noqa: S110 (they see the error, and call it again some day)
            pass

    def upgrade(self) -> None:
        """A newer model is deployed; jobs that were submitted before keep theirs."""
        self.waiting_jobs()
        self.model = (self.model + 1) % len(self.bundles)

    # ---- what came of it

    def calm_down(self) -> None:
        """Nothing goes wrong any more: run until nothing moves and no image is open."""
        for _ in range(MAX_ROUNDS):
            moved = self.infer(50, 0, ())
            while self.run_job(0, ()):
                moved = True
            while self.deliver(0, 1):
                moved = True
            for queue in ("JobEventsQueue", "IngestDeadLetters"):
                while self.settle(queue, ()):
                    moved = True
            if not moved:
                if not self.open_images() and not self.messages("JobEventsDeadLetters"):
                    return
                if self.messages("JobEventsDeadLetters"):
                    self.redrive(())
                self.sweep()
        raise AssertionError(f"the pipeline does not come to rest: {self.all_records()}")

    def all_records(self) -> dict[str, Record]:
        return {item["image_id"]: record_of(item) for item in self._stored.items()}

    def open_images(self) -> list[str]:
        return [item["image_id"] for item in self._stored.items() if "open_shard" in item]

    def messages(self, queue: str) -> int:
        return self._stored.messages(self.queues[queue])

    def artefacts(self, folder: str) -> dict[str, str]:
        """What is stored in a folder of the results: file name to digest."""
        names = {key: key.removeprefix(folder) for key in self._stored.keys_in(folder)}
        return {
            name: hashlib.sha256(self._stored.object(key)).hexdigest() for key, name in names.items() if "/" not in name
        }

    def images(self) -> dict[str, int]:
        """Image id to content of everything that was dropped."""
        return {image_id(drop): content for drop, content in self.drops}


def final(part: Record | RequestedExplanation) -> bool:
    return part.state in {State.EXPLAINED, State.REJECTED, State.FAILED}


def folder(record: Record, explanation: str | None = None) -> str:
    """Where the artefacts of an image lie, or those of an explanation on request."""
    return f"images/{record.image_id}/{record.model.version}/" + (f"{explanation}/" if explanation else "")


def _job_main(path: Any) -> Callable[[], int]:
    """The entry point of the Batch job."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("deployed_job", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main
