"""The container image of the heatmap job: what it is made of, under which tag, and its way into the registry.

Its tag is the digest of all that it is made of. So the same content is never built or pushed twice, whoever deploys it
and from whichever machine, and no tag ever names two different images.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from heatdrop.aws.registry import ImageRepository
from heatdrop.deploying.programs import run_program
from heatdrop.errors import DeploymentFailed

DOCKERFILE = Path("functions/heatmaps/Dockerfile")
PLATFORM = "linux/amd64"
"""Batch's GPU instances and Fargate as the template asks for them, whatever the machine that builds."""

_TAG_LENGTH = 32
_ARGUMENT = re.compile(r"^ARG (\w+)=(\S+)$", re.MULTILINE)
_COPY = re.compile(r"^COPY (?!--from)(.+) \S+$", re.MULTILINE)


@dataclass(frozen=True)
class HeatmapImage:
    """The image of one state of the project's files, for GPUs or for CPUs."""

    root: Path
    gpu: bool

    @property
    def arguments(self) -> dict[str, str]:
        """The build arguments that differ from those that the Dockerfile has by itself."""
        return {} if self.gpu else {"TENSORFLOW": ""}

    @property
    def tag(self) -> str:
        """The digest of Dockerfile, build arguments, platform and every file that the Dockerfile copies.

        The base image is not part of it: that is fetched, by a name that the Dockerfile holds.

        Raises:
            DeploymentFailed: a file that it copies is not there.
        """
        digest = hashlib.sha256(f"{PLATFORM} {sorted(self.arguments.items())}".encode())
        for file in (self.root / DOCKERFILE, *self._copied()):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(self.root).as_posix()} {content}\n".encode())
        return digest.hexdigest()[:_TAG_LENGTH]

    def push_unless_there(self, repository: ImageRepository) -> bool:
        """Build the image and push it; returns whether that was needed.

        Raises:
            DeploymentFailed: it cannot be built or pushed.
        """
        if repository.has(self.tag):
            return False
        name = f"{repository.uri}:{self.tag}"
        arguments = [f"--build-arg={argument}={value}" for argument, value in self.arguments.items()]
        build = ["docker", "build", f"--platform={PLATFORM}", f"--file={DOCKERFILE}", *arguments, f"--tag={name}", "."]
        run_program(build, self.root)
        user, password = repository.credentials()
        login = ["docker", "login", f"--username={user}", "--password-stdin", repository.registry]
        run_program(login, self.root, typed=password)
        run_program(["docker", "push", name], self.root)
        return True

    def _copied(self) -> Iterator[Path]:
        """Every file that the Dockerfile copies out of the project, in an order that is always the same."""
        dockerfile = (self.root / DOCKERFILE).read_text()
        defaults = dict(_ARGUMENT.findall(dockerfile))
        for sources in _COPY.findall(dockerfile):
            for source in re.sub(r"\$\{(\w+)\}", lambda name: defaults[name[1]], sources).split():
                path = self.root / source
                if not path.exists():
                    raise DeploymentFailed(f"{source} is not there; `make setup` builds the bundle")
                yield from sorted(file for file in _files(path) if "__pycache__" not in file.parts)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
