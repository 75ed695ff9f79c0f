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

    def add(self, model: ModelName, labels: tuple[str, ...], certificate: Certificate | None = None) -> None:
        """Make a model known, with the classes it knows and whether its maps can be trusted.

        One that is known keeps what is known of it, but takes a certificate that is as new as its own, or newer: a
        container with the same weights and an older certificate must not take the newer one back.
        """
        moment = now()
        known = KnownModel(
            name=model.name, version=model.version, labels=labels, first_used_at=moment, certificate=certificate
        )
        item = {
            KEY: f"model#{model.version}",
            "shard": MODELS,
            "listed_at": f"{iso(moment)}#{model.version}",
            "known_model": plain(known.model_dump(mode="json", exclude_none=True)),
        }
        if self._items.add(item) or certificate is None:
            return
        measured_on = Attr("known_model.certificate.measured_on")
        self._items.update_if(
            item[KEY],
            measured_on.not_exists() | measured_on.lte(certificate.measured_on),
            put={"known_model.certificate": certificate.model_dump(mode="json", exclude_none=True)},
        )
