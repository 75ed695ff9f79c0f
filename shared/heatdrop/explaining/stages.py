"""Images in three stages at once: one is prepared and another one finished, each in a thread, beside the main work."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Worked = TypeVar("Worked")
Finished = TypeVar("Finished")


def in_stages(
    items: Iterable[Item],
    prepare: Callable[[Item], Prepared],
    work: Callable[[Item, Prepared], Worked],
    finish: Callable[[Item, Worked], Finished],
) -> Iterator[tuple[Item, Finished]]:
    """Yield each item with ``finish(item, work(item, prepare(item)))``, in order.

    ``work`` is called by the thread that takes the results. Meanwhile one thread prepares the next item and another one
    finishes the last, so that no more than three are in memory. An item is taken from ``items`` just before the work on
    the one before it.

    An Exception that a stage raises comes out in the place of its item, after the results of all items before it; later
    items are dropped. Whatever else is raised (KeyboardInterrupt) comes out at once.
    """
    left = iter(items)
    with ThreadPoolExecutor(1, "prepare") as preparing, ThreadPoolExecutor(1, "finish") as finishing:

        def ahead() -> tuple[Item, Future[Prepared]] | None:
            return next(((item, preparing.submit(prepare, item)) for item in left), None)

        behind: tuple[Item, Future[Finished]] | None = None
        current = ahead()
        while current:
            item, prepared = current
            try:
                ready = prepared.result()
                current = ahead()
                worked = work(item, ready)
            except Exception:
                if behind:
                    yield behind[0], behind[1].result()
                raise
            # Waited for, so that items do not pile up where finishing takes longest.
            done = (behind[0], behind[1].result()) if behind else None
            behind = item, finishing.submit(finish, item, worked)
            if done:
                yield done
        if behind:
            yield behind[0], behind[1].result()
