"""Explanations on request: one image explained again, with other settings. The first explanation stays as it is."""

import json
from datetime import UTC, datetime

from heatdrop import ids
from heatdrop.api.models import ExplanationRequest
from heatdrop.aws.explanation_table import ExplanationTable
from heatdrop.aws.jobs import JobQueue
from heatdrop.aws.record import Record, RequestedExplanation
from heatdrop.aws.storage import Manifest, ManifestEntry, Storage
from heatdrop.errors import InvalidRequest, NotNow
from heatdrop.vocabulary import ExplanationSettings, ModelName, State


class Explanations:
    """Takes requests and submits a job for each that is new."""

    def __init__(
        self, table: ExplanationTable, storage: Storage, jobs: JobQueue, defaults: ExplanationSettings
    ) -> None:
        self._table, self._storage, self._jobs, self._defaults = table, storage, jobs, defaults

    def request(self, record: Record, request: ExplanationRequest) -> RequestedExplanation:
        """Have an image explained as asked; the same request again finds the same explanation.

        One that FAILED is tried again. A crash after the record was written leaves an explanation without a job: the
        next request submits it, or the sweep fails it.

        Raises:
            NotNow: it has no predictions that could be explained.
            InvalidRequest: it has no such class.
        """
        model = record.model
        if model is None or not record.predictions:
            raise NotNow(f"the image is {record.state} and has no predictions that could be explained")
        labels = _labels(record, request, self._defaults.top)
        chosen = request.model_dump(exclude_none=True, exclude={"classes"}) | {"top": len(labels)}
        settings = ExplanationSettings.model_validate(self._defaults.model_dump() | chosen)
        wanted = RequestedExplanation(
            explanation_id=_explanation_id(record.image_id, model, settings, labels),
            state=State.RECEIVED,
            settings=settings,
            labels=labels,
            requested_at=datetime.now(UTC),
        )
        record = self._table.find_or_add(record.image_id, wanted)
        kept = record.explanations[wanted.explanation_id]
        if kept.state is State.RECEIVED and kept.job_id is None:
            record = self._submit(record, model, kept)
        return record.explanations[wanted.explanation_id]

    def _submit(self, record: Record, model: ModelName, wanted: RequestedExplanation) -> Record:
        entry = ManifestEntry(
            image_id=record.image_id,
            drop=record.drop,
            predictions=tuple(p for p in record.predictions if p.label in wanted.labels),
        )
        manifest = Manifest(
            manifest_id=wanted.explanation_id,
            model=model,
            bundle_uri=record.bundle_uri,
            settings=wanted.settings,
            images=(entry,),
        )
        key = self._storage.put_manifest(manifest)
        job_id = self._jobs.submit(wanted.explanation_id, key, record.job_definition)
        return self._table.mark_submitted(record.image_id, wanted.explanation_id, job_id)


def _labels(record: Record, request: ExplanationRequest, top: int) -> tuple[str, ...]:
    """The classes to explain, best first, so that the order in which they were asked for does not matter."""
    known = [prediction.label for prediction in record.predictions]
    if request.classes is None:
        return tuple(known[:top])
    for label in request.classes:
        if label not in known:
            raise InvalidRequest(f"the model of this image has no class {label!r}; it has {', '.join(known[:20])}")
    return tuple(label for label in known if label in request.classes)


def _explanation_id(image_id: str, model: ModelName, settings: ExplanationSettings, labels: tuple[str, ...]) -> str:
    """The manifest of its job has the same id, by which the job finds the request in the record."""
    how = json.dumps([settings.model_dump(mode="json"), labels])
    return ids.manifest_id([image_id], model.version, how)
