"""Encodes paths and queries of requests to the API, so that what is signed is what is sent (RFC 3986)."""

from collections.abc import Iterable
from urllib.parse import quote, urlencode


def segment(text: str) -> str:
    """Any text as one segment of a path; encoded twice where API Gateway, which decodes once, would split it."""
    once = quote(text, safe="")
    return quote(once.replace(".", "%2E"), safe="") if text in (".", "..") or set(text) & set("/?#%") else once


def query(given: Iterable[tuple[str, object]]) -> str:
    """Names and values as a query string; a space is ``%20``, because ``+`` is signed as a plus."""
    return urlencode(list(given), quote_via=quote, safe="")
