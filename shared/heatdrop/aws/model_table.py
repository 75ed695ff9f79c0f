"""The models that have classified images: items of the table of images, in a partition of an index of their own."""

from boto3.dynamodb.conditions import Attr

from heatdrop.aws.item_table import KEY, ItemTable, now, plain
from heatdrop.aws.record import KnownModel
from heatdrop.aws.table_schema import MODELS, iso
from heatdrop.model.certificate import Certificate
from heatdrop.vocabulary import ModelName


class ModelTable:
    """What is known of each model."""

    def __init__(self, items: ItemTable) -> None:
        self._items = items

    def add(self, model: ModelName, labels: tuple[str, ...], certificates: tuple[Certificate, ...] = ()) -> None:
        """Make a model known, with the classes it knows and how far its maps can be trusted.

        One that is known keeps what is known of it, but takes certificates the newest of which is as new as its own
        newest, or newer: a container with the same weights and older certificates must not take the newer ones back.
        """
        moment = now()
        known = KnownModel(
            name=model.name, version=model.version, labels=labels, first_used_at=moment, certificates=certificates
        )
        item = {
            KEY: f"model#{model.version}",
            "shard": MODELS,
            "listed_at": f"{iso(moment)}#{model.version}",
            "known_model": plain(known.model_dump(mode="json", exclude_none=True)),
        }
        newest = max((certificate.measured_on for certificate in certificates), default=None)
        if newest is not None:
            item["certified_on"] = newest
        if self._items.add(item) or newest is None:
            return
        certified_on, earlier = Attr("certified_on"), Attr("known_model.certificate.measured_on")
        self._items.update_if(
            item[KEY],
            # An item of before there were several certificates holds one, and has the day there.
            certified_on.lte(newest) | (certified_on.not_exists() & (earlier.not_exists() | earlier.lte(newest))),
            put={
                "certified_on": newest,
                "known_model.certificates": [c.model_dump(mode="json", exclude_none=True) for c in certificates],
            },
            remove=["known_model.certificate"],
        )
