"""Keep what native libraries print at start-up out of a person's terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def native_output_hidden() -> Iterator[None]:
    """Send file descriptor 2 to nowhere meanwhile: TensorFlow and LiteRT greet there, past Python's ``sys.stderr``."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
