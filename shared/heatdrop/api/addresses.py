"""How a request to the API is written down: what is signed has to be what RFC 3986 allows, letter by letter."""

from collections.abc import Iterable
from urllib.parse import quote, urlencode


def segment(text: str) -> str:
    """Any text as one segment of a path; encoded twice where API Gateway, which decodes once, would see another."""
    once = quote(text, safe="")
    return quote(once.replace(".", "%2E"), safe="") if text in (".", "..") or set(text) & set("/?#%") else once


def query(given: Iterable[tuple[str, object]]) -> str:
    """Names and values behind a ``?``; a space is ``%20``, since a signature reads ``+`` as a plus."""
    return urlencode(list(given), quote_via=quote, safe="")
