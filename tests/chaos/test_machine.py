"""The same happenings in any order Hypothesis can think of, shrunk when one breaks a promise."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.chaos.histories import new_world
from tests.chaos.proof import check_always, check_when_quiet
from tests.chaos.server_faults import ServerFaults

if TYPE_CHECKING:
    from cw_pipeline.dev import EmbeddedPostgres
    from tests.chaos.world import World

late = st.booleans()
few = st.integers(1, 4)


class Life(RuleBasedStateMachine):
    """A tenant and its warehouse; the ground is put in by the test."""

    ground: EmbeddedPostgres
    world: World

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.stack = ExitStack()
        self.world = self.stack.enter_context(new_world(self.ground, seed))
        self.sound = True

    @rule(late=late, times=few)
    def create(self, *, late: bool, times: int) -> None:
        for _ in range(times):
            self.world.people.create(late=late)

    @rule(late=late, times=few)
    def edit(self, *, late: bool, times: int) -> None:
        for _ in range(times):
            self.world.people.edit(late=late)

    @rule(times=few)
    def edit_silently(self, times: int) -> None:
        for _ in range(times):
            self.world.people.edit_silently()

    @rule(times=few)
    def delete(self, times: int) -> None:
        for _ in range(times):
            self.world.people.delete()

    @rule()
    def restore(self) -> None:
        self.world.people.restore()

    @rule()
    def spoil(self) -> None:
        self.world.people.spoil()

    @rule()
    def mend(self) -> None:
        self.world.people.mend()

    @rule()
    def pass_time(self) -> None:
        self.world.pass_time()

    @rule()
    def skew(self) -> None:
        self.world.skew()

    @rule()
    def set_source_clock(self) -> None:
        self.world.set_source_clock()

    @rule()
    def fault(self) -> None:
        self.world.fault()

    @rule()
    def calm(self) -> None:
        self.world.calm()

    @rule()
    def sync(self) -> None:
        self.world.sync()

    @rule()
    def sync_while_people_work(self) -> None:
        self.world.live_on()

    @rule()
    def backfill(self) -> None:
        self.world.backfill_plan()()

    @rule()
    def reconcile(self) -> None:
        self.world.reconcile_plan()()

    @rule()
    def reread(self) -> None:
        self.world.reread_plan()()

    @rule()
    def replay(self) -> None:
        self.world.replay_plan()()

    @rule(
        action=st.sampled_from(("added", "updated", "deleted")),
        ahead=st.sampled_from((None, -3600, 0, 3600)),
    )
    def take_hints(self, action: str, ahead: float | None) -> None:
        self.world.take_hints(action, ahead)

    @rule()
    def two_at_once(self) -> None:
        self.world.at_once()

    @rule()
    def kill_worker(self) -> None:
        self.world.kill_worker()

    @rule()
    def kill_postgres(self) -> None:
        self.world.kill_postgres()

    @rule()
    def server_fault(self) -> None:
        ServerFaults(self.world).strike_mildly()

    @invariant()
    def what_differs_is_accounted_for(self) -> None:
        self.sound = False
        check_always(self.world)
        self.sound = True

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        with self.stack:
            if self.sound:
                check_when_quiet(self.world)


@pytest.mark.timeout(0)  # as long as so many histories take
def test_whatever_happens_nothing_is_lost(
    ground: EmbeddedPostgres, request: pytest.FixtureRequest
) -> None:
    histories: int = request.config.getoption("--histories")
    bound = type("Life", (Life,), {"ground": ground})
    run_state_machine_as_test(
        bound,
        settings=settings(
            max_examples=max(3, histories // 2),
            stateful_step_count=15,
            deadline=None,
            database=None,
            derandomize=histories <= 10,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
