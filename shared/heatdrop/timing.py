"""How long a step took, as records and results say it."""


def milliseconds(start: float, end: float) -> float:
    """From one ``time.perf_counter()`` to another, to a tenth."""
    return round((end - start) * 1000, 1)
