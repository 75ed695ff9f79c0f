"""HTTP servers that only this machine can reach: the local API and the viewer."""

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

ACCEPTED_HOSTS = ("127.0.0.1", "localhost")
"""Accepted Host headers: refusing others stops DNS rebinding, where a foreign site's name points at this machine."""


def open_port(port: int, option: str = "--port") -> socket.socket:
    """A socket that listens on ``port`` of this machine; 0 takes any free port.

    Raises:
        InvalidRequest: the port is taken. The message tells to choose another with ``option``.
    """
    try:
        return socket.create_server((ACCEPTED_HOSTS[0], port))
    except OSError as error:
        raise InvalidRequest(f"port {port} cannot be used ({error.strerror}); choose another {option}") from error


@contextmanager
def served(app: "WSGIApplication", listener: socket.socket) -> Iterator[str]:
    """Serve ``app`` on an open port while the ``with`` block runs; gives the server's URL."""
    # Werkzeug logs each request, and warns that it is for development; neither helps a single user.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(ACCEPTED_HOSTS[0], 0, app, threaded=True, fd=listener.fileno())
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    try:
        yield f"http://{ACCEPTED_HOSTS[0]}:{server.port}"
    finally:
        server.shutdown()
        server.server_close()
