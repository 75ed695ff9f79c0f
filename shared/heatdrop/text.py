"""Text that comes from outside, made harmless to show."""


def printable(text: str) -> str:
    """``text`` without control characters, which a terminal would obey and a font cannot draw."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
