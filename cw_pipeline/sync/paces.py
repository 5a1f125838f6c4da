"""How often each list is asked what is new by a worker that stays."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.catalog.callbacks import callback_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cw_pipeline.model import Entity

MINUTE, QUIET, QUARTER, HOUR = 60.0, 300.0, 900.0, 3600.0

_SCHEDULE = QUARTER  # seconds between two questions of the schedule, which asks every list
_SAVED = 8  # hours of the schedule's requests that may be saved, from a night for the day


class Paces:
    """When each list is asked what is new, in seconds between questions.

    After as long as it has been quiet: a list that has just changed in a minute, one that rests
    each quarter of an hour if it has callbacks, and hourly if it has none. While hints come, lists
    that have callbacks are asked each five minutes, and more often only if a pass finds what no
    hint had named. Lists below a parent: with it.

    ConnectWise is asked no more than by the schedule alone, which asks every list each quarter of
    an hour: what is not used of that is saved, and when little is left, busy lists wait longer. Who
    syncs fewer lists than usual has the requests of all those.
    """

    def __init__(
        self, entities: Sequence[Entity], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._entities = entities
        self._hinted = _lists_with_callbacks(entities)
        lists, usual = ({leader(each) for each in some} for some in (entities, select(None)))
        # Requests of the schedule.
        self._an_hour = max(len(lists), len(usual)) * HOUR / _SCHEDULE
        self._saved, self._saved_at = self._an_hour, clock()
        self._due: dict[str, float] = {}
        self._began = clock()
        self._changed_at: dict[str, float] = {}
        self._hint_at: dict[str, float] = {}
        self._last_hint_at = float("-inf")

    def due(self) -> list[str]:
        """The entities that are due now; each is due again after its pace."""
        now = self._clock()
        due = [e.name for e in self._entities if self._due.get(leader(e), 0.0) <= now]
        for name in {*due, *(leader(CATALOG[each]) for each in due)}:
            self._due[name] = now + self._pace(name, now)
        return due

    def is_busy(self, name: str) -> bool:
        """Whether a list has just changed. Then reading it costs no more than to ask what is new.

        For as long as the overlap of passes shows the last change again, which has to be compared.
        """
        return self._clock() - self._changed_at.get(name, float("-inf")) < QUIET

    def again(self, names: Iterable[str]) -> None:
        """These were not asked, or not read: they are due in a minute, or a little later."""
        now = self._clock()
        for name in names:
            for each in (name, leader(CATALOG[name])):
                self._due[each] = min(self._due.get(each, 0.0), now + self._shortest(now))

    def note_requests(self, times: int) -> None:
        """So many requests were made to ask and read lists, without those below a parent."""
        # No less than an hour's: what reading a big change takes is not to slow days to come.
        self._saved = max(self._saved - times, -self._an_hour)

    def note_hints(self, names: Iterable[str]) -> None:
        """Records of these lists were read because hints named them."""
        self._last_hint_at = self._clock()
        self._hint_at.update(dict.fromkeys(names, self._last_hint_at))

    def note_changes(self, names: Iterable[str]) -> None:
        """A pass found something new in these. Where hints come too, it was only the first."""
        now = self._clock()
        for name in {each for each in names if leader(CATALOG[each]) == each}:
            if now - self._hint_at.get(name, float("-inf")) > MINUTE:
                self._changed_at[name] = now
                self._due[name] = min(self._due.get(name, 0.0), now + self._pace(name, now))

    def _pace(self, name: str, now: float) -> float:
        longest, began = HOUR, float("-inf")
        if name in self._hinted:
            longest = QUIET if now - self._last_hint_at < HOUR else QUARTER
            began = self._began
        quiet = now - self._changed_at.get(name, began)
        return max(self._shortest(now), min(longest, quiet))

    def _shortest(self, now: float) -> float:
        """The pace of a busy list: longer while less than an hour's requests are left."""
        self._saved += (now - self._saved_at) * self._an_hour / HOUR
        self._saved, self._saved_at = min(self._saved, _SAVED * self._an_hour), now
        left = min(1.0, max(0.0, self._saved / self._an_hour))
        return QUARTER - left * (QUARTER - MINUTE)


def kept_by_live(entities: Sequence[Entity], since_asked: Mapping[str, timedelta]) -> set[str]:
    """The entities whose list a worker that stays has asked within twice its slowest pace.

    A list below a parent goes by the outermost one above it. `since_asked`: how long ago lists
    were last asked.
    """
    hinted = _lists_with_callbacks(entities)
    found = set[str]()
    for entity in entities:
        first = leader(entity)
        pace = timedelta(seconds=QUARTER if first in hinted else HOUR)
        if first in since_asked and since_asked[first] <= 2 * pace:
            found.add(entity.name)
    return found


def leader(entity: Entity) -> str:
    """The list that an entity is asked with: of those above it, the outermost."""
    while entity.parent is not None:
        entity = CATALOG[entity.parent]
    return entity.name


def _lists_with_callbacks(entities: Iterable[Entity]) -> set[str]:
    """The names of lists that have callbacks."""
    types = callback_types(leader(entity) for entity in entities)
    return {name for lists in types.values() for name in lists}
