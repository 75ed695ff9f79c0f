"""Calls are heard wherever they are made, and judged under the role whose credentials they carry."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import requests
from tests.iam.plugin import FOLDER_VARIABLE
from tests.iam.recording import recorded
from tests.iam.roles import acting, under

from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.local.roles import session_of

STACK = {
    "Resources": {
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "judged"}},
        "Reader": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {"Statement": []},
                "Policies": [
                    {
                        "PolicyName": "read",
                        "PolicyDocument": {
                            "Statement": [
                                {
                                    "Effect": "Allow",
                                    "Action": ["s3:GetObject", "s3:PutObject"],
                                    "Resource": {"Fn::Sub": "${Bucket.Arn}/open/*"},
                                }
                            ]
                        },
                    }
                ],
            },
        },
    }
}
ALLOWED, REFUSED = "read: s3:GetObject, s3:PutObject", ""


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoCloud]:
    with MotoCloud(lambda job: None) as aws:
        boto3.client("cloudformation").create_stack(StackName="judged", TemplateBody=json.dumps(STACK))
        for key in ("open/one", "closed/one"):
            boto3.client("s3").put_object(Bucket="judged", Key=key, Body=b"x")
        yield aws


@pytest.fixture
def reader(aws: MotoCloud) -> boto3.Session:
    (role,) = (role for role in boto3.client("iam").list_roles()["Roles"] if "judged-Reader" in role["RoleName"])
    return session_of(role["Arn"])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is refused here is not the run's matter."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def heard(folder: Path) -> set[tuple[str, str, str, str]]:
    lines = [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    calls = [line for line in lines if "operation" in line]
    assert {call["role"] for call in calls} <= {"Reader"}
    return {(call["operation"], call["action"], call["resource"], call["allowed_by"]) for call in calls}


@pytest.mark.parametrize("over_http", [False, True])
def test_calls_of_clients(aws: MotoCloud, reader: boto3.Session, folder: Path, over_http: bool) -> None:
    with recorded():
        s3 = reader.client("s3", endpoint_url=aws.endpoint if over_http else None)
        for key in ("open/one", "closed/one"):
            s3.get_object(Bucket="judged", Key=key)
    assert heard(folder) == {
        ("GetObject", "s3:GetObject", "Bucket/open/*", ALLOWED),
        ("GetObject", "s3:GetObject", "Bucket/closed/one", REFUSED),
    }


def test_reading_what_is_not_there(reader: boto3.Session, folder: Path) -> None:
    with recorded(), pytest.raises(Exception, match="NoSuchKey"):
        reader.client("s3").get_object(Bucket="judged", Key="open/none")
    assert ("GetObject", "s3:ListBucket", "Bucket", REFUSED) in heard(folder)


def test_links_and_forms_are_used_under_the_role_that_signed_them(
    aws: MotoCloud, reader: boto3.Session, folder: Path
) -> None:
    with recorded():
        s3 = reader.client("s3", endpoint_url=aws.endpoint)
        link = s3.generate_presigned_url("get_object", {"Bucket": "judged", "Key": "closed/one"})
        urllib.request.urlopen(link, timeout=60).close()
        form = s3.generate_presigned_post("judged", "open/new")
        assert requests.post(form["url"], form["fields"], files={"file": b"x"}, timeout=60).ok
    assert heard(folder) == {
        ("GetObject", "s3:GetObject", "Bucket/closed/one", REFUSED),
        ("PostObject", "s3:PutObject", "Bucket/open/*", ALLOWED),
    }


def test_code_in_this_process_acts_under_a_role_while_it_runs(reader: boto3.Session, folder: Path) -> None:
    def read(key: str) -> None:
        boto3.client("s3").get_object(Bucket="judged", Key=key)

    with recorded():
        read("closed/one")
        assert heard(folder) == set()  # the account's owner
        under(reader, read)("open/one")
        with acting(reader):
            kept = boto3.client("s3")
        kept.get_object(Bucket="judged", Key="closed/one")
    assert {call[2:] for call in heard(folder)} == {("Bucket/open/*", ALLOWED), ("Bucket/closed/one", REFUSED)}


@pytest.mark.parametrize(
    ("version", "action"), [({}, "s3:DeleteObject"), ({"VersionId": "null"}, "s3:DeleteObjectVersion")]
)
def test_deleting_many_objects_asks_for_each_and_for_another_right_where_versions_are_named(
    reader: boto3.Session, folder: Path, version: dict[str, str], action: str
) -> None:
    with recorded():
        objects = [{"Key": f"gone/{number}", **version} for number in range(2)]
        reader.client("s3").delete_objects(Bucket="judged", Delete={"Objects": objects})
    assert heard(folder) == {("DeleteObjects", action, f"Bucket/gone/{number}", REFUSED) for number in range(2)}
