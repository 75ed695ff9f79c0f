"""HTTP servers of this machine, for nobody else."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from werkzeug.serving import make_server

from heatdrop.errors import InvalidRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

NAMES = ("127.0.0.1", "localhost")
"""What a request may call this machine: a page of another name, bent to it (DNS rebinding), is not let in."""


def reserved(port: int, option: str = "--port") -> socket.socket:
    """A place to listen at, this machine's alone; port 0 is any that is free.

    Raises:
        InvalidRequest: the port is taken; another one is chosen with ``option``.
    """
    try:
        return socket.create_server((NAMES[0], port))
    except OSError as error:
        raise InvalidRequest(f"port {port} cannot be used ({error.strerror}); choose another {option}") from error


@contextmanager
def listening(app: "WSGIApplication", place: socket.socket) -> Iterator[str]:
    """Serve ``app`` at a reserved place for as long as the ``with`` block lasts; gives its address."""
    # Its lines about every request, and that it is for development, are noise to one person at one machine.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(NAMES[0], 0, app, threaded=True, fd=place.fileno())
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    try:
        yield f"http://{NAMES[0]}:{server.port}"
    finally:
        server.shutdown()
        server.server_close()
