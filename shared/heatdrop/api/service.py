"""What the routes answer with. It is made once a container, and used for every request."""

from typing import Annotated

from pydantic import Field

from heatdrop.api.explanations import Explanations
from heatdrop.api.models import Artefact, ImagePage, LabelOfModels, Labels, Models, UploadRequest
from heatdrop.api.tokens import PageTokens, key_in
from heatdrop.aws.explanation_table import ExplanationTable
from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.jobs import JobQueue
from heatdrop.aws.links import Link, Links, UploadLink
from heatdrop.aws.listing import Filter, Listing
from heatdrop.aws.record import Record, RequestedExplanation
from heatdrop.aws.settings import Destinations, ExplanationDefaults
from heatdrop.aws.storage import Storage
from heatdrop.errors import FileTooLarge, NotFound, NotNow


class ApiSettings(Destinations, ExplanationDefaults):
    """The environment of the API function."""

    input_bucket: str
    request_job_queue: str
    job_definition: str
    page_token_secret: str
    link_seconds: Annotated[int, Field(gt=0)]
    max_bytes: Annotated[int, Field(gt=0)]


class Service:
    """Records, lists, links and explanations on request."""

    def __init__(self, settings: ApiSettings) -> None:
        self._max_bytes = settings.max_bytes
        items = ItemTable(settings.images_table, settings.layout)
        self._images = ImageTable(items)
        self._listing = Listing(settings.images_table, settings.layout)
        self._links = Links(settings.input_bucket, settings.results_bucket, settings.link_seconds)
        self._tokens = PageTokens(key_in(settings.page_token_secret))
        jobs = JobQueue(settings.request_job_queue, settings.job_definition)
        self.explanations = Explanations(
            ExplanationTable(items), Storage(settings.results_bucket), jobs, settings.explanation
        )

    def page(self, wanted: Filter, limit: int, page_token: str | None) -> ImagePage:
        """One page of a list.

        Raises:
            InvalidRequest: ``page_token`` is not one that was given for this list.
        """
        asked = wanted.model_dump_json()
        position = self._tokens.read(page_token, asked) if page_token is not None else None
        page = self._listing.page(wanted, limit, position)
        token = self._tokens.sign(page.next_position, asked) if page.next_position is not None else None
        return ImagePage(images=page.images, next_page=token)

    def record(self, image_id: str) -> Record:
        """The record of an image.

        Raises:
            NotFound: there is none.
        """
        record = self._images.get(image_id)
        if record is None:
            raise NotFound(f"there is no image {image_id}")
        return record

    def picture(self, image_id: str) -> Link:
        """A link to the image as it is shown.

        Raises:
            NotFound: there is no such image.
            NotNow: it is not explained yet, or never will be.
        """
        record = self.record(image_id)
        if record.picture is None:
            raise NotNow(_nothing("there is no picture", record))
        return self._links.to_result(record.picture)

    def heatmap(
        self, image_id: str, spellings: tuple[str, ...], artefact: Artefact, explanation_id: str | None
    ) -> Link:
        """A link to what explains one class, in the first explanation or in one on request.

        ``spellings`` are names that the class may have been asked for by; the first that is explained is taken.

        Raises:
            NotFound: no such image, explanation, class or artefact.
            NotNow: it is not explained yet, or never will be.
        """
        record = self.record(image_id)
        explained: Record | RequestedExplanation = record
        if explanation_id is not None:
            if explanation_id not in record.explanations:
                raise NotFound(f"image {image_id} has no explanation {explanation_id}")
            explained = record.explanations[explanation_id]
        if not explained.heatmaps:
            raise NotNow(_nothing("there are no heatmaps", explained))
        found = {heatmap.label: heatmap for heatmap in explained.heatmaps}
        for label in spellings:
            if label in found:
                key: str | None = getattr(found[label], artefact)
                if key is None:
                    raise NotFound("this heatmap is not kept as DICOM: the image is none, or it was not asked for")
                return self._links.to_result(key)
        raise NotFound(f"class {spellings[0]!r} is not explained; {', '.join(found)} are")

    def upload(self, request: UploadRequest) -> UploadLink:
        """A link to upload one image with.

        Raises:
            FileTooLarge: the pipeline would reject it.
        """
        if request.size > self._max_bytes:
            raise FileTooLarge.over(self._max_bytes, request.size)
        return self._links.for_upload(request.name, request.size, request.media_type)

    def models(self) -> Models:
        """The models that have classified images here."""
        return Models(models=self._listing.models())

    def labels(self) -> Labels:
        """The classes that these models know: those of the newest model first, each with all models that know it."""
        versions: dict[str, list[str]] = {}
        for model in self._listing.models():
            for label in model.labels:
                versions.setdefault(label, []).append(model.version)
        return Labels(labels=tuple(LabelOfModels(label=name, models=tuple(known)) for name, known in versions.items()))


def _nothing(what: str, explained: Record | RequestedExplanation) -> str:
    if explained.state.final:
        return f"{what}: the state is {explained.state}" + (f", {explained.reason}" if explained.reason else "")
    return f"{what} yet: the state is {explained.state}; ask again later"
