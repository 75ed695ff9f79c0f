"""Small helpers for texts that a person reads."""

from pydantic import ValidationError


def printable(text: str) -> str:
    """``text`` without control characters, which a terminal would obey and a font cannot draw."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def first_problem(error: ValidationError) -> str:
    """The first problem that pydantic found, in one line: where it is, and what."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]


def first_line(error: Exception) -> str:
    """What an error says first, as far as a person will read it; its kind if it says nothing."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def counted(number: int, thing: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
