"""How often lists are asked by a worker that stays: days of it, by a clock that is set."""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass, field

import pytest

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.catalog.callbacks import callback_types
from cw_pipeline.model import SyncMode
from cw_pipeline.sync.paces import Paces, leader

MINUTE, HOUR, DAY = 60, 3600, 86_400
STEP = 30  # seconds
OVERLAP = 300  # seconds, in which a question shows the last change again
TICKETS, ENTRIES = "service/tickets", "time/entries"
ENTITIES = select(None)
LISTS = [entity.name for entity in ENTITIES if entity.mode is SyncMode.INCREMENTAL]
WITH_CALLBACKS = sorted({each for lists in callback_types(LISTS).values() for each in lists})
AN_HOUR = {TICKETS: 150, ENTRIES: 80, "schedule/entries": 60, "sales/activities": 20}
"""Changes in a working hour; every other list that has callbacks gets 5, and the rest one a day."""


def changes(busy: float, days: int) -> dict[str, list[float]]:
    """When each list changes, in seconds: from eight to six o'clock, `busy` times as often."""
    dice, found = random.Random(1), dict[str, list[float]]()  # noqa: S311
    for name in LISTS:
        times = 10 * busy * AN_HOUR.get(name, 5 if name in WITH_CALLBACKS else 0.1)
        each = [
            day * DAY + 8 * HOUR + dice.random() * 10 * HOUR
            for day in range(days)
            for _ in range(int(times) + (dice.random() < times % 1))
        ]
        found[name] = sorted(each)
    return found


@dataclass
class Lived:
    """What some days took: requests of each day, and how old each change was when it was read."""

    requests: list[int]
    waited: dict[str, list[float]] = field(default_factory=dict)

    def typical_wait(self, name: str) -> float:
        return sorted(self.waited[name])[len(self.waited[name]) // 2]


def live(made: dict[str, list[float]], days: int, *, hints: bool) -> Lived:
    """Days of a worker that stays. A question is a request, to read a list that changed two."""
    now = 0.0
    paces = Paces(ENTITIES, lambda: now)
    lived = Lived([0] * days, {name: [] for name in LISTS})
    read, asked = dict.fromkeys(LISTS, 0), dict.fromkeys(LISTS, -DAY)
    while now < days * DAY:
        for name in WITH_CALLBACKS if hints else ():
            if (seen := bisect_right(made[name], now)) > read[name]:
                read[name] = seen
                paces.note_hints([name])
        found, spent = [], 0
        for name in paces.due():
            if name not in read:
                continue
            seen = bisect_right(made[name], now)
            is_new = seen > read[name]
            is_seen_again = seen > 0 and made[name][seen - 1] > asked[name] - OVERLAP
            spent += 2 if paces.is_busy(name) else 1 + (2 if is_new else is_seen_again)
            lived.waited[name] += [now - each for each in made[name][read[name] : seen]]
            if is_new:
                found.append(name)
            read[name], asked[name] = seen, int(now)
        paces.note_requests(spent)
        paces.note_changes(found)
        lived.requests[int(now // DAY)] += spent
        now += STEP
    return lived


def by_schedule(made: dict[str, list[float]], days: int) -> list[int]:
    """The requests of each day, where every list is asked each quarter of an hour."""
    requests = [0] * days
    for moments in made.values():
        seen = 0
        for tick in range(days * 96):
            now_seen = bisect_right(moments, tick * 900)
            requests[tick // 96] += 1 + 2 * (now_seen > seen)
            seen = now_seen
    return requests


@pytest.mark.parametrize("hints", [False, True])
@pytest.mark.parametrize("busy", [0.1, 1, 20])
def test_live_asks_no_more_than_the_schedule_alone(busy: float, hints: bool) -> None:  # noqa: FBT001
    made = changes(busy, 1)
    assert sum(live(made, 1, hints=hints).requests) <= sum(by_schedule(made, 1))


def test_without_callbacks_busy_lists_are_read_sooner_than_by_the_schedule() -> None:
    waits = {busy: live(changes(busy, 1), 1, hints=False) for busy in (0.3, 1)}
    assert waits[0.3].typical_wait(TICKETS) <= MINUTE
    assert waits[1].typical_wait(TICKETS) <= 3 * MINUTE  # by the schedule 7.5


def test_a_list_whose_edits_no_hint_names_is_asked_oftener_than_those_with_hints() -> None:
    now = 0.0
    paces = Paces([CATALOG[TICKETS], CATALOG[ENTRIES]], lambda: now)
    asked = {TICKETS: 0, ENTRIES: 0}
    while now < HOUR:
        paces.note_hints([TICKETS])
        for name in paces.due():
            asked[name] += 1
            paces.note_changes([name])
        now += STEP
    assert asked[TICKETS] <= 15
    assert asked[ENTRIES] == 60


def test_what_a_big_change_takes_does_not_slow_the_next_days() -> None:
    now = 0.0
    paces = Paces([CATALOG[TICKETS], CATALOG[ENTRIES]], lambda: now)
    paces.note_requests(100_000)
    now += 2 * HOUR
    paces.due()
    paces.note_changes([TICKETS])
    now += MINUTE
    assert paces.due() == [TICKETS]


def test_children_are_due_with_the_list_above_them() -> None:
    now = 0.0
    paces = Paces(ENTITIES, lambda: now)
    while now < DAY:
        due = paces.due()
        assert {leader(CATALOG[name]) for name in due} <= {*due}
        now += 10 * MINUTE
