"""How often each list is asked what is new by a worker that stays."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.callbacks import callback_types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cw_pipeline.model import Entity

MINUTE, QUIET, HOUR = 60.0, 300.0, 3600.0


class Paces:
    """When each list is asked what is new, in seconds between questions.

    Lists that have callbacks: each minute; each five minutes while hints come and passes find
    nothing that no hint had named. Lists below a parent: with it. All others: hourly.
    """

    def __init__(self, entities: Sequence[Entity]) -> None:
        self._hinted = _lists_with_callbacks(entities)
        self._entities = entities
        self._due: dict[str, float] = {}
        self._hint_at = float("-inf")

    def note_hints(self) -> None:
        """Hints have come: a quiet list need not be asked each minute."""
        self._hint_at = time.monotonic()

    def due(self) -> list[str]:
        """The entities that are due now; each is due again after its pace."""
        now = time.monotonic()
        due = [e.name for e in self._entities if self._due.get(leader(e), 0.0) <= now]
        for name in {*due, *(leader(CATALOG[each]) for each in due)}:
            self._due[name] = now + self._pace(name, now)
        return due

    def again(self, names: Iterable[str]) -> None:
        """These were not asked, or not read: they are due in a minute."""
        soon = time.monotonic() + MINUTE
        for name in names:
            for each in (name, leader(CATALOG[name])):
                self._due[each] = min(self._due.get(each, 0.0), soon)

    def note_changes(self, names: Iterable[str]) -> None:
        """A pass found in these what no hint had named: they are asked again in a minute."""
        for name in set(names) & self._hinted:
            self._due[name] = min(self._due.get(name, 0.0), time.monotonic() + MINUTE)

    def _pace(self, name: str, now: float) -> float:
        if name not in self._hinted:
            return HOUR
        return QUIET if now - self._hint_at < HOUR else MINUTE


def kept_by_live(entities: Sequence[Entity], since_asked: Mapping[str, timedelta]) -> set[str]:
    """The entities whose list a worker that stays has asked within twice its slowest pace.

    A list below a parent goes by the outermost one above it. `since_asked`: how long ago lists
    were last asked.
    """
    hinted = _lists_with_callbacks(entities)
    found = set[str]()
    for entity in entities:
        first = leader(entity)
        pace = timedelta(seconds=QUIET if first in hinted else HOUR)
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
