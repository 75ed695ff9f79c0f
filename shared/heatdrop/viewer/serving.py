"""The viewer as a server of this machine, in front of a deployed stack or a local one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.serving import BaseWSGIServer, make_server

from heatdrop.errors import InvalidRequest
from heatdrop.signing import Signer
from heatdrop.viewer.server import Viewer


@contextmanager
def viewer_server(api_url: str, signer: Signer | None, port: int, token: str | None) -> Iterator[BaseWSGIServer]:
    """A server of the viewer on this machine alone, listening, for as long as the ``with`` block lasts.

    Raises:
        InvalidRequest: the port is taken.
    """
    # Its lines about every request, and that it is for development, are noise to one person at one machine.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    try:
        server = make_server("127.0.0.1", port, Viewer(api_url, signer, token), threaded=True)
    except (OSError, SystemExit) as error:
        raise InvalidRequest(f"port {port} of this machine is taken; choose another with --port") from error
    try:
        yield server
    finally:
        server.server_close()
