"""Objects of the local S3 on disk: they read as from memory, and hold neither memory nor files open."""

import gc
import os
import tracemalloc
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

import boto3
from hypothesis import given
from hypothesis import strategies as st

from heatdrop.local.disk_buffer import DiskBuffer
from heatdrop.local.moto_cloud import REGION, MotoCloud

MEGABYTE = 1 << 20

calls = st.lists(
    st.one_of(
        st.tuples(st.just("seek"), st.integers(0, 40)),
        st.tuples(st.just("read"), st.integers(-1, 40)),
        st.tuples(st.just("write"), st.binary(max_size=20)),
        st.tuples(st.just("truncate"), st.none()),
    )
)


@given(calls=calls)
def test_a_buffer_on_disk_reads_as_a_temporary_file_does(calls, tmp_path_factory) -> None:
    buffer = DiskBuffer(tmp_path_factory.mktemp("objects"))
    with TemporaryFile() as expected:
        for name, argument in calls:
            arguments = () if argument is None else (argument,)
            found = getattr(buffer, name)(*arguments)
            wanted = getattr(expected, name)(*arguments)
            if name == "read":
                assert found == wanted
        buffer.seek(0)
        expected.seek(0)
        assert buffer.read() == expected.read()


def test_objects_of_the_local_s3_hold_neither_memory_nor_open_files() -> None:
    content = os.urandom(2 * MEGABYTE)
    with MotoCloud(lambda job: None):
        s3, bucket = boto3.client("s3"), new_bucket()
        s3.put_object(Bucket=bucket, Key="0", Body=content)
        open_before = open_files()
        tracemalloc.start()
        try:
            for number in range(1, 40):
                s3.put_object(Bucket=bucket, Key=str(number), Body=content)
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert open_files() - open_before < 10
        assert held < 5 * len(content)
        assert s3.get_object(Bucket=bucket, Key="7")["Body"].read() == content
        s3.put_object(Bucket=bucket, Key="7", Body=b"short")
        assert s3.get_object(Bucket=bucket, Key="7", Range="bytes=1-3")["Body"].read() == b"hor"


def test_nothing_of_the_local_s3_is_left_on_disk(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with MotoCloud(lambda job: None):
        boto3.client("s3").put_object(Bucket=new_bucket(), Key="a", Body=b"content")
        assert any(tmp_path.iterdir())
    assert not any(tmp_path.iterdir())


def new_bucket() -> str:
    """A bucket of this test alone, also where a cloud of other tests is up."""
    name = f"results-{uuid4()}"
    boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
