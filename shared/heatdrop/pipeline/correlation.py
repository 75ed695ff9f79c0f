"""One id in the logs from the drop of an image to its heatmap: that of the image, and that of X-Ray's trace."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.exceptions import OrphanedChildLoggerError


@contextmanager
def correlated(logger: Logger, correlation_id: str, trace_header: str | None = None) -> Iterator[None]:
    """Let every line that is logged within the ``with`` block bear an id.

    Args:
        logger: of the module.
        correlation_id: the id of an image, or of a manifest where all of its images are meant.
        trace_header: the header that came with the drop (``Root=...;Parent=...``), where one did; its root is logged as
            ``trace_id``; ``xray_trace_id`` is that of the invocation itself, which Powertools logs.
    """
    root = (trace_header or "").removeprefix("Root=").partition(";")[0]
    keys = {"correlation_id": correlation_id} | ({"trace_id": root} if root else {})
    with ExitStack() as stack:
        # Where no entry point has made a logger, nothing is logged.
        with suppress(OrphanedChildLoggerError):
            stack.enter_context(logger.append_context_keys(**keys))
        yield
