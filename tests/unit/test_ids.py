"""Ids follow from content: the same drop has the same id, another one has another."""

import re

from hypothesis import given
from hypothesis import strategies as st

from heatdrop.ids import image_id, manifest_id
from heatdrop.vocabulary import Drop

DROP = Drop(bucket="in", key="a.jpg", version_id="v1", etag="e1", size=10)


def test_an_id_is_32_hexadecimal_digits_and_stays_the_same() -> None:
    # Written down, because records of earlier versions are found by it.
    assert image_id(DROP) == "bc1a69f793cd100ae532aa288b22f222"


def test_bucket_key_and_version_tell_drops_apart() -> None:
    others = [{"bucket": "in2"}, {"key": "b.jpg"}, {"version_id": "v2"}, {"bucket": "", "key": "ina.jpg"}]
    ids = {image_id(DROP.model_copy(update=change)) for change in others} | {image_id(DROP)}
    assert len(ids) == len(others) + 1


def test_the_etag_counts_only_where_there_is_no_version() -> None:
    assert image_id(DROP.model_copy(update={"etag": "e2"})) == image_id(DROP)
    without = DROP.model_copy(update={"version_id": None})
    assert image_id(without.model_copy(update={"etag": "e2"})) != image_id(without)


def test_what_an_event_may_leave_out_does_not_count() -> None:
    assert image_id(DROP.model_copy(update={"size": None})) == image_id(DROP)


@given(st.text(st.characters(), max_size=40))
def test_every_key_has_an_id(key: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", image_id(Drop(bucket="in", key=key)))


def test_a_manifest_is_told_by_its_images_in_any_order_its_model_and_its_settings() -> None:
    name = manifest_id(["a", "b"], "v1", "{}")
    assert manifest_id(iter(["b", "a"]), "v1", "{}") == name
    others = {manifest_id(["a"], "v1", "{}"), manifest_id(["a", "b"], "v2", "{}"), manifest_id(["a", "b"], "v1", "")}
    assert len(others | {name}) == 4
