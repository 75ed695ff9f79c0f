"""The process behind ``GuardedDecoder``: requests on standard input, pictures on standard output.

A request is a line of JSON and the file; an answer is a line of JSON and, unless the file is rejected, its pixels.
"""

import json
import os
import resource
import sys
import time
from typing import Any, BinaryIO

import cv2
import numpy as np

from heatdrop.errors import RejectedImage
from heatdrop.images import DecodedImage, Limits, decode

FILE_AT_FAULT = 70
"""Exit code where decoding ended in an error that is no rejection; a broken installation ends with others."""


def main() -> None:
    """Serve until there are no more requests."""
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not end up between the answers.
    os.dup2(2, 1)
    cv2.setNumThreads(1)
    _limit(resource.RLIMIT_CORE, 0)
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        _limit(resource.RLIMIT_DATA, request["memory_bytes"])
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + request["cpu_seconds"])
        data = sys.stdin.buffer.read(request["length"])
        try:
            answer(request, data, answers)
        except Exception:
            sys.exit(FILE_AT_FAULT)


def answer(request: dict[str, Any], data: bytes, answers: BinaryIO) -> None:
    """Decode one file and write what came of it."""
    at_least = tuple(request["at_least"]) if request["at_least"] else None
    image: DecodedImage | None = None
    said: dict[str, Any]
    try:
        image = decode(data, at_least=at_least, limits=Limits(request["max_bytes"], request["max_pixels"]))
        said = {"format": image.format, "width": image.width, "height": image.height, "shape": image.pixels.shape}
    except RejectedImage as error:
        said = {"error": type(error).__name__, "message": str(error)}
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        limit = f"{request['memory_bytes'] / 1e9:.1f} GB"
        message = f"Decoding the file takes more than {limit} of memory; upload a smaller picture."
        said = {"error": "UnsafeImage", "message": message}
    answers.write(json.dumps(said).encode() + b"\n")
    if image is not None:
        answers.write(np.ascontiguousarray(image.pixels).reshape(-1).data)
    answers.flush()


def _limit(what: int, value: int) -> None:
    """Set a limit of this process, within what it was given."""
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
