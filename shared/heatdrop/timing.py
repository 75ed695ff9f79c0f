"""Durations in the form that records and results use."""


def milliseconds(start: float, end: float) -> float:
    """Milliseconds between two values of ``time.perf_counter()``, rounded to a tenth."""
    return round((end - start) * 1000, 1)
