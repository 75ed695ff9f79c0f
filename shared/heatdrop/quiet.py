"""Keep what native libraries print out of a person's terminal."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_lock = threading.Lock()
_inside = 0
"""How many callers, in whatever threads, are hiding output now."""
_saved = -1
"""The terminal meanwhile; -1 where there is none."""


@contextmanager
def native_output_hidden() -> Iterator[None]:
    """Send file descriptor 2 to nowhere meanwhile: native libraries write there, past Python's ``sys.stderr``.

    May be nested and used by several threads: the terminal comes back when the last of them is done.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _saved
    with _lock:
        _inside += 1
        # A process without a terminal has nothing to hide from.
        with suppress(OSError):
            if _inside == 1:
                _saved = os.dup(2)
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                os.close(nowhere)


def _leave() -> None:
    global _inside, _saved
    with _lock:
        _inside -= 1
        if _inside == 0 and _saved >= 0:
            os.dup2(_saved, 2)
            os.close(_saved)
            _saved = -1
