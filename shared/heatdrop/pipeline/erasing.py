"""Erases images: what was dropped, with all its versions, everything made of it, and the records of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.listing import Filter, ListedImage, Listing
from heatdrop.aws.object_versions import ObjectVersion, ObjectVersions
from heatdrop.aws.record import Record
from heatdrop.aws.storage import Storage, artefact_folder, manifest_key
from heatdrop.aws.table_schema import Layout
from heatdrop.ids import image_id
from heatdrop.vocabulary import Drop


@dataclass(frozen=True)
class Traces:
    """All that is kept of some images."""

    records: tuple[Record, ...]
    inputs: tuple[ObjectVersion, ...]
    """Of the input bucket: versions of dropped objects, and delete markers."""
    artefacts: tuple[ObjectVersion, ...]
    """Of the results bucket."""
    manifests: tuple[str, ...]
    """S3 keys of the manifests that name the images."""

    @property
    def open_images(self) -> int:
        """How many of the images are still being worked on."""
        return sum(not record.state.final or bool(record.pending_explanations) for record in self.records)

    @property
    def counts(self) -> dict[str, int]:
        """How much there is of each kind."""
        markers = sum(version.is_marker for version in self.inputs)
        return {
            "records": len(self.records),
            "input_versions": len(self.inputs) - markers,
            "delete_markers": markers,
            "artefacts": len(self.artefacts),
            "manifests": len(self.manifests),
        }


class Eraser:
    """Finds what is kept of images, and deletes it. A second run finds what a first one, cut short, has left."""

    def __init__(self, items: ItemTable, listing: Listing, input_bucket: str, storage: Storage) -> None:
        self._items, self._images, self._listing, self._storage = items, ImageTable(items), listing, storage
        self._inputs, self._results = ObjectVersions(input_bucket), ObjectVersions(storage.results_bucket)

    @classmethod
    def of_stack(cls, outputs: Mapping[str, str]) -> Self:
        """The eraser of a deployed stack, by its outputs."""
        layout = Layout.of_stack(outputs)
        table = outputs["ImagesTable"]
        return cls(
            ItemTable(table, layout), Listing(table, layout), outputs["InputBucket"], Storage(outputs["ResultsBucket"])
        )

    def of_prefix(self, prefix: str) -> Traces:
        """All that is kept of every image whose key begins with ``prefix``."""
        return self._of_keys(prefix, lambda key: key.startswith(prefix))

    def of_key(self, key: str) -> Traces:
        """All that is kept of every image that was ever dropped under ``key``."""
        return self._of_keys(key, lambda other: other == key)

    def of_image(self, name: str) -> Traces:
        """All that is kept of one image, by its id; other versions of the object that was dropped are other images."""
        record = self._images.get(name)
        inputs: list[ObjectVersion] = []
        if record:
            same_key = [v for v in self._inputs.under(record.drop.key) if v.key == record.drop.key]
            inputs = [v for v in same_key if not v.is_marker and self._image_id(v) == name]
            if not [v for v in same_key if not v.is_marker and v not in inputs]:
                # Delete markers of a key without versions tell only that there was one.
                inputs = same_key
        return self._traces({name}, inputs)

    def erase(self, found: Traces) -> None:
        """Delete what was found. The records go last: by them a second run finds what is left.

        Raises:
            NotErased: S3 refuses to delete some of it.
        """
        for record in found.records:
            if not record.state.final:
                # From now on no job begins with it.
                self._images.mark_failed(record.image_id, "the image was erased on request")
        self._results.delete(found.artefacts)
        names = {record.image_id for record in found.records}
        for key in found.manifests:
            self._storage.remove_from_manifest(key, names)
        self._inputs.delete(found.inputs)
        for record in found.records:
            self._items.delete(record.image_id)

    def _of_keys(self, prefix: str, wanted: Callable[[str], bool]) -> Traces:
        inputs = [version for version in self._inputs.under(prefix) if wanted(version.key)]
        # The index lags behind the table a little, and versions may have expired: each finds what the other does not.
        listed = {image.image_id for image in self._listed(prefix) if wanted(image.key)}
        return self._traces(listed | {self._image_id(v) for v in inputs if not v.is_marker}, inputs)

    def _listed(self, prefix: str) -> Iterator[ListedImage]:
        position = None
        while True:
            page = self._listing.page(Filter(prefix=prefix), 100, position)
            yield from page.images
            position = page.next_position
            if position is None:
                return

    def _image_id(self, version: ObjectVersion) -> str:
        return image_id(
            Drop(bucket=self._inputs.bucket, key=version.key, version_id=version.version_id, etag=version.etag)
        )

    def _traces(self, names: set[str], inputs: Iterable[ObjectVersion]) -> Traces:
        records = tuple(record for name in sorted(names) if (record := self._images.get(name)))
        artefacts = tuple(version for name in sorted(names) for version in self._results.under(artefact_folder(name)))
        manifests = {name for r in records for name in (r.manifest_id, *r.explanations) if name}
        kept = tuple(key for key in map(manifest_key, sorted(manifests)) if self._storage.has_manifest(key))
        return Traces(records, tuple(inputs), artefacts, kept)
