"""Is the model bundle where the stack says, whole, and the one that was packed?"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from botocore.exceptions import ClientError

from heatdrop.aws.bundles import open_bundle_at
from heatdrop.aws.doctor.deployed import DeployedStack
from heatdrop.aws.doctor.findings import Finding
from heatdrop.errors import InvalidBundle


def bundle(stack: DeployedStack) -> Iterator[Finding]:
    """Every file of the bundle under the digest that it was packed with."""
    check, uri = "bundle", stack.parameters["BundleUri"]
    if not (uri.startswith("s3://") or stack.local):
        yield Finding.ok(check, f"{uri} lies in both container images, which check it when they start")
        return
    with tempfile.TemporaryDirectory(prefix="heatdrop-doctor-") as folder:
        try:
            opened = open_bundle_at(uri, Path(folder))
            for name in opened.files:
                opened.read(name)
        except InvalidBundle as error:
            yield Finding.problem(check, f"{error}; push a sound bundle there with `heatdrop bundle push`")
            return
        except ClientError as error:
            yield Finding.unknown(check, f"{uri} cannot be read with these credentials ({error})")
            return
    yield Finding.ok(check, f"{uri} holds {opened.model.name} {opened.model.version}, every file as it was packed")
