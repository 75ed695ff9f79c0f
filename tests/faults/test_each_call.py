"""A fault at each single call of each step in turn: random schedules may miss what happens at one of them."""

from collections.abc import Callable

import pytest
from tests.faults.conftest import Expected
from tests.faults.faults import Fault, Kind
from tests.faults.test_invariant import SCHEDULES, check, check_ends
from tests.faults.world import World

Step = Callable[[World, list[Fault]], object]

KINDS: tuple[Kind, ...] = ("crash_after", "lost_answer", "crash_before", "throttle") if SCHEDULES else ("crash_after",)
"""``make test-faults`` tries them all."""


def nothing(world: World) -> None:
    """The drop waits in its queue."""


def classified(world: World) -> None:
    world.infer(10, 0, ())


def failed_job(world: World) -> None:
    """The job was killed, and its event waits."""
    classified(world)
    world.run_job(0, [Fault(0, "crash_before")])
    world.deliver(0, 1)


def dead(world: World) -> None:
    """Inference has given up on the drop."""
    for _ in range(6):
        world.infer(10, 0, [Fault(0, "crash_before")])


def dead_and_unheard(world: World) -> None:
    """Inference has classified the drop, could tell nobody, and has given up."""
    for _ in range(6):
        world.infer(10, 0, [Fault(3, "throttle_from_here")])


def failed(world: World) -> None:
    dead(world)
    world.settle("IngestDeadLetters", ())


def left_out(world: World) -> None:
    """The job ended without the image, and the sweep comes."""
    classified(world)
    world.waiting_jobs()[0].status = "SUCCEEDED"
    world.sweep()


def never_started(world: World) -> None:
    """The job waits for ever, and the sweep has found the image twice."""
    classified(world)
    world.hold(0)
    for _ in range(2):
        world.sweep()
        world.settle("JobEventsQueue", ())
    world.sweep()


def infer(world: World, faults: list[Fault]) -> None:
    world.infer(10, 0, faults)


def run_job(world: World, faults: list[Fault]) -> None:
    world.run_job(0, faults)


def settle(world: World, faults: list[Fault]) -> None:
    world.settle("JobEventsQueue", faults)


def settle_dead(world: World, faults: list[Fault]) -> None:
    world.settle("IngestDeadLetters", faults)


def redrive(world: World, faults: list[Fault]) -> None:
    world.redrive(faults)


STEPS: list[tuple[Callable[[World], None], Step]] = [
    (nothing, infer),
    (classified, run_job),
    (failed_job, settle),
    (dead, settle_dead),
    (dead_and_unheard, settle_dead),
    (failed, redrive),
    (left_out, settle),
    (never_started, settle),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("before", "step"), STEPS, ids=lambda part: part.__name__)
def test_fault_at_each_call_is_made_good(
    world: World, contents: list[bytes], expected: Expected, before: Callable[[World], None], step: Step, kind: Kind
) -> None:
    """Two drops, one sound and one not; every event of Batch that comes of it is lost."""
    at, reached = 0, True
    while reached:
        world.reset()
        with world.running():
            for content in (0, 2):
                world.drop(contents[content], content)
            before(world)
            world.aws.reached = False
            step(world, [Fault(at, kind)])
            reached = world.aws.reached
            while world.deliver(0, 0):
                pass
            world.calm_down()
            check_ends(world)
            world.redrive(())
            world.calm_down()
            check(world, expected)
        at += 1
    assert at > 2, "the step made no calls"
