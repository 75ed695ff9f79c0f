"""Nothing lost, nothing twice: whatever goes wrong on the way, every drop comes to the end of an undisturbed run.

``make test-faults`` runs many more schedules; SCHEDULES says how many, and ``--hypothesis-seed`` which.
"""

import os
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.faults.conftest import Digests, Expected
from tests.faults.faults import KINDS, Fault, Meanwhile
from tests.faults.world import Remembering, World, final, folder

from heatdrop.aws.record import Record, RequestedExplanation
from heatdrop.explaining.explainer import Explainer
from heatdrop.vocabulary import State

SCHEDULES = int(os.environ.get("SCHEDULES", "0"))
FEW = 50

calls = st.integers(0, 24)
faults = st.lists(st.builds(Fault, calls, st.sampled_from(KINDS)), max_size=2)
lambda_faults = st.lists(
    st.builds(Fault, calls, st.sampled_from([kind for kind in KINDS if kind != "sigterm"])), max_size=2
)
meanwhile = st.lists(st.builds(Meanwhile, calls, st.sampled_from(["infer", "settle", "run_job", "sweep"])), max_size=1)
small = st.integers(0, 9)


def machine(world: World, contents: list[bytes], expected: Expected, explainer: type) -> type[RuleBasedStateMachine]:
    """Schedules over ``world``."""

    class Schedule(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            world.reset()
            self.running = world.running(explainer)
            self.running.__enter__()
            self.ends: dict[tuple[str, int], tuple[State, frozenset[str]]] = {}

        @initialize(content=st.lists(st.integers(0, len(contents) - 1), min_size=1, max_size=3))
        def first_drops(self, content: list[int]) -> None:
            for number in content:
                world.drop(contents[number], number)

        @rule(content=st.integers(0, len(contents) - 1))
        def drop(self, content: int) -> None:
            world.drop(contents[content], content)

        @rule(number=small)
        def tell_again(self, number: int) -> None:
            world.tell_again(number)

        @rule(count=st.integers(1, 10), order=small, wrong=lambda_faults, others=meanwhile)
        def infer(self, count: int, order: int, wrong: list[Fault], others: list[Meanwhile]) -> None:
            world.infer(count, order, wrong, others)

        @rule(number=small, wrong=faults, others=meanwhile, spot=st.booleans())
        def run_job(self, number: int, wrong: list[Fault], others: list[Meanwhile], spot: bool) -> None:
            world.run_job(number, wrong, others, spot)

        @rule(number=small, times=st.sampled_from([0, 1, 1, 2]))
        def deliver(self, number: int, times: int) -> None:
            world.deliver(number, times)

        @rule(number=small)
        def hold(self, number: int) -> None:
            world.hold(number)

        @rule(
            queue=st.sampled_from(["JobEventsQueue", "JobEventsQueue", "IngestDeadLetters"]),
            wrong=lambda_faults,
            others=meanwhile,
        )
        def settle(self, queue: str, wrong: list[Fault], others: list[Meanwhile]) -> None:
            world.settle(queue, wrong, others)

        @rule()
        def sweep(self) -> None:
            world.sweep()

        @rule(number=small, wrong=lambda_faults)
        def ask(self, number: int, wrong: list[Fault]) -> None:
            world.ask(number, wrong)

        @rule(wrong=lambda_faults)
        def redrive(self, wrong: list[Fault]) -> None:
            world.redrive(wrong)

        @rule()
        def upgrade(self) -> None:
            world.upgrade()

        @invariant()
        def what_is_final_stays_as_it_is(self) -> None:
            for image, record in world.all_records().items():
                if final(record):
                    end = record.state, record.artefacts
                    assert self.ends.setdefault((image, record.attempt), end) == end

        def teardown(self) -> None:
            try:
                world.calm_down()
                check_ends(world)
                world.redrive(())
                world.calm_down()
                check(world, expected)
            finally:
                self.running.__exit__(None, None, None)

    return Schedule


def check_ends(world: World) -> None:
    """Every drop has one record with a final state, as has every explanation on request; no queue holds anything."""
    records = world.all_records()
    assert records.keys() == world.images().keys()
    assert all(final(record) for record in records.values())
    assert all(final(wanted) for record in records.values() for wanted in record.explanations.values())
    assert {queue: world.messages(queue) for queue in world.queues} == dict.fromkeys(world.queues, 0)


def check(world: World, expected: Expected) -> None:
    """After a redrive nothing is FAILED, and all is as an undisturbed run leaves it."""
    check_ends(world)
    news = defaultdict(list)
    for one in world.told:
        news[one.image_id].append(one)
    records = world.all_records()
    for image, content in world.images().items():
        record = records[image]
        (state,) = {state for (number, _), (state, _, _) in expected.items() if number == content}
        assert record.state is state, f"{record.state}: {record.reason}"
        if state is State.EXPLAINED:
            check_artefacts(world, record, expected[content, record.model.version][1])
        for name, wanted in record.explanations.items():
            if wanted.state is State.EXPLAINED:
                check_explanation(world, name, wanted, content, expected)
        check_news(record, [(one.id, one.state, one.label, one.model) for one in news[image]])


def check_artefacts(world: World, record: Record, files: Digests) -> None:
    assert record.artefacts == {folder(record) + name for name in files}
    assert world.artefacts(folder(record)) == files


def check_explanation(world: World, name: str, wanted: RequestedExplanation, content: int, expected: Expected) -> None:
    """An explanation on request is of the model that the image had when it was asked for."""
    place, _, _ = wanted.picture.rpartition("/")
    version, found = place.split("/")[-2:]
    assert found == name
    assert world.artefacts(place + "/") == expected[content, version][2]


def check_news(record: Record, told: list[tuple]) -> None:
    again = f":{record.attempt}" if record.attempt > 1 else ""
    states = [State.CLASSIFIED, State.EXPLAINED] if record.state is State.EXPLAINED else [record.state]
    for state in states:
        assert f"{record.image_id}:{state}{again}" in {name for name, *_ in told}
    # Whatever was said twice was the same.
    assert len(set(told)) == len({name for name, *_ in told})


def run(schedule: type[RuleBasedStateMachine], count: int, *, random: bool) -> None:
    run_state_machine_as_test(
        schedule,
        settings=settings(
            max_examples=count,
            stateful_step_count=14,
            deadline=None,
            derandomize=not random,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_drop_comes_to_its_end_whatever_goes_wrong(
    world: World, contents: list[bytes], expected: Expected
) -> None:
    run(machine(world, contents, expected, Remembering), SCHEDULES or FEW, random=bool(SCHEDULES))


@pytest.mark.slow
def test_the_same_with_every_map_made_anew(world: World, contents: list[bytes], expected: Expected) -> None:
    run(machine(world, contents, expected, Explainer), max(2, SCHEDULES // 100), random=bool(SCHEDULES))
