"""What the API member's security role lets through, and the quirks of single lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from cw_pipeline.simulator.tenant import canonical

Sees: TypeAlias = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Quirk:
    """How one list departs from the guide, as lists of the real API do."""

    ignores_updated: bool = False  # a condition on lastUpdated is dropped in silence
    refuses_conditions: bool = False  # any condition: 400
    ignores_ids: bool = False  # a condition on id is dropped in silence
    ignores_fields: bool = False  # records come whole, whatever `fields` asks for
    refuses_order: bool = False  # any orderBy: 400
    no_forward_only: bool = False  # the header and pageId mean nothing
    no_count: bool = False  # no `/count` twin
    no_info: bool = False  # records come without `_info`
    ignores_page: bool = False  # every page that is asked for by its number is the first
    more_rows: int = 0  # so many records beyond pageSize


PLAIN = Quirk()


def covers(pattern: str | None, path: str) -> bool:
    """Whether a path or a glob (`/service/*`) names this canonical path; None names them all."""
    return pattern is None or fnmatchcase(path, canonical(pattern))


class Role:
    """Everything is allowed until it is forbidden or narrowed. Paths may be globs."""

    def __init__(self) -> None:
        self.version = 0
        self._forbidden: set[str] = set()
        self._narrowed: dict[str, Sees] = {}

    def forbid(self, path: str) -> None:
        """Every request under this path is answered 403."""
        self._forbidden.add(path)
        self.version += 1

    def narrow(self, path: str, sees: Sees) -> None:
        """Records for which `sees(record)` is false are silently left out."""
        self._narrowed[path] = sees
        self.version += 1

    def allow(self, path: str) -> None:
        """Takes back what was forbidden or narrowed."""
        self._forbidden.discard(path)
        self._narrowed.pop(path, None)
        self.version += 1

    def forbids(self, path: str) -> bool:
        """Whether this canonical path answers 403."""
        return any(covers(each, path) for each in self._forbidden)

    def sees(self, path: str) -> Sees | None:
        """The test a record of this canonical path must pass; None when all do."""
        return next((see for each, see in self._narrowed.items() if covers(each, path)), None)
