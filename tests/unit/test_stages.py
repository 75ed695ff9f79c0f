"""Stages work beside each other, in order, with at most three items in hand, and fail in their place."""

import threading
from collections.abc import Iterator

import pytest

from heatdrop.explaining.stages import in_stages

PATIENCE = 20


def numbers(until: int, taken: list[int]) -> Iterator[int]:
    for number in range(until):
        taken.append(number)
        yield number


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_each_item_passes_all_stages_in_order(count: int) -> None:
    found = in_stages(range(count), lambda n: n + 0.5, lambda n, p: (n, p), lambda n, w: (*w, -n))
    assert list(found) == [(n, (n, n + 0.5, -n)) for n in range(count)]


def test_the_next_is_prepared_and_the_last_is_finished_beside_the_work_on_one() -> None:
    prepared, finishing = [threading.Event() for _ in range(4)], [threading.Event() for _ in range(3)]

    def prepare(n: int) -> None:
        prepared[n].set()

    def work(n: int, _: None) -> None:
        # While this one is worked on, not before or afterwards.
        assert n == 2 or prepared[n + 1].wait(PATIENCE)
        assert n == 0 or finishing[n - 1].wait(PATIENCE)

    def finish(n: int, _: None) -> None:
        finishing[n].set()

    assert len(list(in_stages(range(3), prepare, work, finish))) == 3


def test_work_is_done_by_the_thread_that_takes_the_results() -> None:
    threads = [found for _, found in in_stages("ab", str, lambda *_: threading.current_thread(), lambda _, w: w)]
    assert threads == [threading.main_thread()] * 2


def test_three_items_at_most_are_in_hand() -> None:
    taken: list[int] = []
    for done, (number, _) in enumerate(in_stages(numbers(20, taken), str, lambda *_: None, lambda *_: None), 1):
        assert number == done - 1
        assert len(taken) - done <= 2


@pytest.mark.parametrize("stage", ["prepare", "work", "finish"])
def test_an_error_comes_out_in_the_place_of_its_item(stage: str) -> None:
    def fails(here: str, n: int) -> None:
        if (here, n) == (stage, 2):
            raise ValueError(stage)

    worked: list[int] = []

    def work(n: int, _: None) -> None:
        fails("work", n)
        worked.append(n)

    found = in_stages(range(9), lambda n: fails("prepare", n), work, lambda n, _: fails("finish", n))
    assert next(found) == (0, None)
    assert next(found) == (1, None)
    with pytest.raises(ValueError, match=stage):
        next(found)
    assert max(worked) <= 3


def test_an_error_of_the_items_comes_out_after_the_results_before_it() -> None:
    def broken() -> Iterator[int]:
        yield from range(2)
        raise ValueError("no more")

    found = in_stages(broken(), str, lambda *_: None, lambda *_: None)
    assert next(found) == (0, None)
    with pytest.raises(ValueError, match="no more"):
        next(found)


def test_an_interruption_waits_for_no_result() -> None:
    def work(n: int, _: str) -> None:
        if n == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(in_stages(range(3), str, work, lambda *_: None))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("prepare", "finish"))]
