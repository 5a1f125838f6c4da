"""Entities are worked on side by side, each after its parent and not after strangers."""

from __future__ import annotations

from threading import Event, Lock
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.sync.context import in_parent_order

if TYPE_CHECKING:
    from cw_pipeline.model import Entity

BOARDS, TYPES = CATALOG["service/boards"], CATALOG["service/boards/types"]
TICKETS, NOTES = CATALOG["service/tickets"], CATALOG["service/tickets/notes"]
PATIENCE = 10


def test_a_child_begins_when_its_parent_is_done_whatever_else_is_still_read() -> None:
    typed = Event()

    def work(entity: Entity) -> str:
        if entity is TICKETS:
            assert typed.wait(PATIENCE)  # as long as the child of another has not been read
        if entity is TYPES:
            typed.set()
        return entity.name

    order = list(in_parent_order([TICKETS, NOTES, TYPES, BOARDS], work, 2, Event()))
    assert sorted(order) == sorted(one.name for one in (TICKETS, NOTES, TYPES, BOARDS))
    assert order.index(BOARDS.name) < order.index(TYPES.name)
    assert order.index(TICKETS.name) < order.index(NOTES.name)


def test_no_more_are_worked_on_at_a_time_than_said() -> None:
    lock, running, most = Lock(), set[str](), 0

    def work(entity: Entity) -> None:
        nonlocal most
        with lock:
            running.add(entity.name)
            most = max(most, len(running))
        with lock:
            running.remove(entity.name)

    chosen = [entity for entity in CATALOG.values() if entity.core][:60]
    assert len(list(in_parent_order(chosen, work, 3, Event()))) == len(chosen)
    assert most <= 3


def test_an_error_is_raised_and_what_has_not_begun_never_does() -> None:
    begun: list[str] = []

    def work(entity: Entity) -> None:
        begun.append(entity.name)
        if entity is BOARDS:
            raise RuntimeError(entity.name)

    stopping = Event()
    with pytest.raises(RuntimeError, match=BOARDS.name):
        list(in_parent_order([BOARDS, TYPES], work, 1, stopping))
    assert stopping.is_set()
    assert begun == [BOARDS.name]


def test_a_caller_who_wants_no_more_stops_what_runs() -> None:
    begun, stopping, stopped = Event(), Event(), list[bool]()

    def work(entity: Entity) -> str:
        if entity is not BOARDS:
            begun.set()
            stopped.append(stopping.wait(PATIENCE))
        return entity.name

    results = in_parent_order([BOARDS, TICKETS, TYPES], work, 2, stopping)
    assert next(results) == BOARDS.name
    assert begun.wait(PATIENCE)
    results.close()  # type: ignore[attr-defined] # a generator
    assert stopped
    assert all(stopped)
