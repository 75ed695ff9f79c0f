"""What moto holds, read and emptied without boto3: checks would make thousands of calls of 20 ms each."""

from typing import Any

from boto3.dynamodb.types import TypeDeserializer
from moto.batch.models import batch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends
from moto.sqs.models import Queue, sqs_backends

from heatdrop.local.moto_cloud import REGION


class Stored:
    """The state of one table, one bucket, and of all queues and jobs."""

    def __init__(self, table: str, bucket: str) -> None:
        self._table = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].get_table(table)
        self._keys = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(bucket).keys
        self._queues = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues
        self._batch = batch_backends[DEFAULT_ACCOUNT_ID][REGION]
        self._plain = TypeDeserializer().deserialize

    def items(self) -> list[dict[str, Any]]:
        """Every item of the table, as boto3's resource gives it."""
        typed = (item.to_json()["Attributes"] for item in self._table.all_items())
        return [{name: self._plain(value) for name, value in item.items()} for item in typed]

    def keys_in(self, folder: str) -> list[str]:
        """The keys of the bucket's objects that begin with ``folder``."""
        return [key for key in self._keys if key.startswith(folder)]

    def object(self, key: str) -> bytes:
        """What an object holds."""
        return self._keys[key].value

    def visible(self, url: str) -> int:
        """How many messages of a queue can be received now."""
        return len(self._queue(url).messages)

    def messages(self, url: str) -> int:
        """How many messages are in a queue, in somebody's hands or not."""
        queue = self._queue(url)
        return queue.approximate_number_of_messages + queue.approximate_number_of_messages_not_visible

    def clear(self) -> None:
        """Empty the table, the bucket, every queue, and forget all jobs."""
        self._table.items.clear()
        for key in self.keys_in(""):
            self._keys.pop(key)
        for queue in self._queues.values():
            for collection in (queue._messages, queue.deleted_messages, queue._pending_messages):
                collection.clear()
        self._batch._jobs.clear()
        for job_queue in self._batch._job_queues.values():
            job_queue.jobs.clear()

    def _queue(self, url: str) -> Queue:
        return self._queues[url.rpartition("/")[2]]
