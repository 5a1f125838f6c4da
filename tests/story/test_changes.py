"""Asking lists what is new: nothing is missed, and nothing is read where there is nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from time import sleep
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceDenied
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.simulator import Fault
from cw_pipeline.sync.changes import find_changes
from cw_pipeline.warehouse import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.sync.changes import Changes
    from tests.story.conftest import Story

TICKETS, BOARDS, TYPES = "service/tickets", "service/boards", "service/boards/types"
ALL = (TICKETS, BOARDS, TYPES)


@pytest.fixture
def synced(story: Story) -> Iterator[Watched]:
    """A few records, synced."""
    for own in range(1, 4):
        story.tenant.put("/service/tickets", {"id": own, "summary": f"Ticket {own}"})
    story.tenant.put("/service/boards", {"id": 1, "name": "Help Desk"})
    story.tenant.put("/service/boards/1/types", {"id": 1, "name": "Incident"})
    story.sync(*ALL)
    story.sync(*ALL)  # children are read again where their parent was read at the same moment
    with Pipeline(story.settings(entities=",".join(ALL))) as pipeline:
        yield Watched(story, pipeline)


class Watched:
    """A story, and a connection that asks from time to time."""

    def __init__(self, story: Story, pipeline: Pipeline) -> None:
        self.story = story
        self._pipeline = pipeline

    def look(self, **options: float) -> Changes:
        return self._pipeline.find_changes(**options)

    def watermarks(self) -> dict[str, object]:
        return {name: self.story.checkpoint(name)["watermark"] for name in (TICKETS, BOARDS)}

    def age(self, name: str, hours: float) -> None:
        """Makes a list's last pass, and its watermark, as old as that."""
        self.story.rows(
            "update cw_sync.checkpoint set updated_at = updated_at - %s, watermark = watermark - %s"
            " where entity = %s returning entity",
            *[timedelta(hours=hours)] * 2,
            name,
        )


class TestARound:
    def test_where_nothing_changed_asks_each_list_once_and_moves_the_watermarks_on(
        self, synced: Watched
    ) -> None:
        before, runs = synced.watermarks(), len(synced.story.rows("select from cw_sync.run"))
        synced.story.tenant.advance(3600)
        synced.story.simulator.requests.clear()
        found = synced.look()
        assert (found.changed, str(found)) == ((), "nothing changed in 3 lists")
        asked = synced.story.simulator.count_by_path()
        # What the overlap shows is known, and another question says that nothing is behind it.
        assert (asked["/service/tickets"], asked["/service/boards"]) == (2, 2)
        assert asked["/service/boards/1/types"] == 0
        assert all(now > before[name] for name, now in synced.watermarks().items())
        assert len(synced.story.rows("select from cw_sync.run")) == runs
        synced.story.tenant.advance(3600)
        synced.story.simulator.requests.clear()
        assert synced.look().changed == ()
        asked = synced.story.simulator.count_by_path()
        assert (asked["/service/tickets"], asked["/service/boards"]) == (1, 1)

    def test_takes_no_short_page_for_the_end(self, synced: Watched) -> None:
        """A server may give fewer records than it was asked for."""
        synced.story.simulator.max_page_size = 2
        synced.story.tenant.advance(3600)
        for own in (1, 2):
            synced.story.tenant.edit("/service/tickets", own, summary="edited")
        synced.story.sync(*ALL)
        synced.story.tenant.edit("/service/tickets", 3, summary="edited behind a page of these")
        assert synced.look().changed == (TICKETS,)

    def test_names_what_changed_and_leaves_its_watermark_to_the_pass(self, synced: Watched) -> None:
        synced.story.tenant.advance(3600)
        before = synced.watermarks()
        synced.story.tenant.edit("/service/tickets", 2, summary="edited")
        assert synced.look().changed == (TICKETS,)
        assert synced.watermarks()[TICKETS] == before[TICKETS]
        synced.story.sync(TICKETS)
        assert synced.story.table(TICKETS)[2]["summary"] == "edited"

    def test_is_not_misled_by_what_the_overlap_shows_again(self, synced: Watched) -> None:
        synced.story.tenant.edit("/service/tickets", 2, summary="edited")
        assert synced.look().changed == (TICKETS,)
        synced.story.sync(TICKETS)
        assert synced.look().changed == ()

    def test_sees_a_second_edit_within_the_second_of_the_first(self, synced: Watched) -> None:
        synced.story.tenant.edit("/service/tickets", 2, summary="edited")
        synced.story.sync(TICKETS)
        synced.story.tenant.edit("/service/tickets", 2, touch=False, summary="and again")
        assert synced.look().changed == (TICKETS,)

    def test_a_list_below_a_parent_follows_its_parent_and_its_rotation(
        self, synced: Watched
    ) -> None:
        synced.story.tenant.edit("/service/boards", 1, name="edited")
        assert synced.look().changed == (BOARDS, TYPES)
        synced.story.sync(BOARDS, TYPES)
        assert synced.look().changed == ()
        synced.age(TYPES, 24.5)
        assert synced.look().changed == (TYPES,)

    @pytest.mark.parametrize(
        "statement",
        [
            "update cw_sync.checkpoint set pass_since = watermark, pass_until = now(), cursor = 0",
            (
                "insert into cw_sync.dead_letter (tenant, entity, record_id, reason, retry_at)"
                " select 'connectwise', 'service/tickets', 9, 'a test', now()"
            ),
            "delete from cw_sync.checkpoint",
        ],
    )
    def test_a_list_that_needs_a_pass_anyhow_is_not_asked(
        self, statement: str, synced: Watched
    ) -> None:
        where = "" if statement.startswith("insert") else " where entity = 'service/tickets'"
        synced.story.rows(f"{statement}{where} returning entity")
        synced.story.simulator.requests.clear()
        assert TICKETS in synced.look().changed
        assert synced.story.simulator.count_by_path()["/service/tickets"] == 0

    def test_a_list_that_is_being_read_is_left_to_its_reader(self, synced: Watched) -> None:
        with (
            synced.story.engine() as engine,
            open_store(engine.database, CATALOG[TICKETS], "refresh"),
        ):
            assert TICKETS in synced.look().changed

    def test_a_list_that_does_not_answer_is_read_where_people_look(self, synced: Watched) -> None:
        synced.story.simulator.role.forbid("/service/tickets")
        assert synced.look().changed == (TICKETS,)

    def test_a_list_that_is_refused_is_read_once_an_hour_until_it_answers(
        self, synced: Watched
    ) -> None:
        story, role = synced.story, synced.story.simulator.role
        role.forbid("/service/tickets")
        assert story.sync(TICKETS)[TICKETS].failure is not None
        assert synced.look().changed == (), "a run each minute would only say so again"
        story.rows(
            "update cw_sync.capability set checked_at = checked_at - interval '1 hour'"
            " where entity = %s returning entity",
            TICKETS,
        )
        assert synced.look().changed == (TICKETS,)

    def test_ends_when_time_is_up_and_begins_with_the_rest_the_next_time(
        self, synced: Watched
    ) -> None:
        slow = Fault("slow", path="/service/tickets", seconds=3, times=1)
        synced.story.simulator.faults.add(slow)
        found = synced.look(seconds=0.5)
        assert found.unasked == 1
        assert str(found) == "nothing changed, but time was up, 2 of 3 lists asked"
        assert synced.look().changed == ()

    def test_does_not_take_back_an_interrupt_that_comes_meanwhile(self, synced: Watched) -> None:
        slow = Fault("slow", path="/service/tickets", seconds=3, times=1)
        synced.story.simulator.faults.add(slow)
        with synced.story.engine(entities=TICKETS) as engine:

            def interrupt_the_question() -> None:
                while not slow.fired:
                    sleep(0.05)
                engine.stopping.set()

            with ThreadPoolExecutor() as beside:
                beside.submit(interrupt_the_question)
                found = find_changes(engine, [CATALOG[TICKETS]], 20)
            assert found.unasked == 1
            assert engine.stopping.is_set()

    def test_ends_at_a_pause_that_connectwise_asks_for(self, synced: Watched) -> None:
        synced.story.simulator.faults.add(Fault("429", path="/service/tickets", retry_after=60))
        found = synced.look()
        assert found.stopped == "ConnectWise asks for a pause of 60 s"
        assert TICKETS not in found.changed

    def test_refused_keys_are_raised(self, synced: Watched) -> None:
        keys = synced.story.simulator.keys
        synced.story.simulator.keys = replace(keys, public="other")
        with pytest.raises(SourceDenied):
            synced.look()
