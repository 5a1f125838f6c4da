"""The results of a call to the pipeline, as they come, and what a failed one needs."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import (
    Interrupted,
    SourceBroken,
    SourceBusy,
    SourceDown,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceRefused,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Event

    from cw_pipeline.model import Entity

T = TypeVar("T")

_NAMED = 3  # entities in the text of a result


def first_names(entities: Sequence[Entity]) -> str:
    """The entities as a message says them: "service/boards, service/tickets and 4 more"."""
    more = f" and {len(entities) - _NAMED} more" if len(entities) > _NAMED else ""
    return ", ".join(entity.name for entity in entities[:_NAMED]) + more


def explain_failure(entity: str, error: Exception) -> tuple[str, str]:
    """What went wrong with an entity, without the request, and what to do.

    The second is empty where the first says it, as errors of settings and of the warehouse do.
    """
    if not isinstance(error, SourceError):
        return str(error).removeprefix(f"{entity}: "), ""
    if isinstance(error, SourceForbidden) and entity in CATALOG:
        right = CATALOG[entity].right
        return f"the API member's security role needs {right}, Inquire: All (403)", ""
    why = error.reason.removeprefix(f"{entity}: ").rstrip(".")
    if "CW_" in why:  # a setting is to blame
        return why, ""
    return why, next((todo for kind, todo in _TO_DO.items() if isinstance(error, kind)), "")


_TO_DO = {
    SourceBusy: "it passes by itself: the next refresh tries again",
    SourceDown: "it passes by itself once ConnectWise answers: the next refresh tries again",
    SourceBroken: (
        "the next refresh tries again; if it fails for hours, send the request to ConnectWise's"
        " support"
    ),
    SourceMissing: "if the tenant does not have this list, take it out of CW_ENTITIES",
    SourceRefused: "it will be refused again: report it together with the request",
}


@dataclass(eq=False)
class Results(Iterator[T]):
    """The results of a call, each as soon as there is one. The work begins with the first `next`.

    Whoever stops early (`break`, an error, `close()`) stops the work: its threads end after the
    pages that they are at, and what was read until then is kept. Calls of one pipeline that are
    read at the same time are stopped together. `is_under_way`: the work has begun and not ended.
    """

    what: str
    begin: Callable[[], Iterator[T]]
    stopping: Event
    is_under_way: bool = False
    _turn: RLock = field(default_factory=RLock)  # nobody can close a generator that is running
    _results: Iterator[T] | None = None
    _stopped: bool = False
    _ended: bool = False

    @override
    def __next__(self) -> T:
        with self._turn:
            if self._ended:
                raise StopIteration
            if self._stopped and self._results is None:
                raise Interrupted(f"{self.what} was stopped before it began")
            try:
                if self._results is None:
                    self._results, self.is_under_way = self.begin(), True
                return next(self._results)
            except BaseException:
                self._ended, self.is_under_way = True, False
                raise

    def stop(self) -> None:
        """Has the work end after its present pages. May be called from another thread."""
        self._stopped = True
        if not self._ended:
            self.stopping.set()

    def close(self) -> None:
        """Returns when the work has ended. Further results are not given."""
        if self.is_under_way:
            self.stop()
        with self._turn:
            if self.is_under_way and isinstance(self._results, Generator):
                self._results.close()
            self._stopped, self._ended, self.is_under_way = True, True, False

    @override
    def __repr__(self) -> str:
        if self._ended:
            return f"<{self.what}, ended>"
        if self.is_under_way:
            return f"<{self.what}, under way>"
        return f"<{self.what}, not begun: list(...) or a for loop begins it>"

    def __del__(self) -> None:
        if self.is_under_way:
            self.close()
        elif not self._stopped and not self._ended:
            warnings.warn(
                f"{self.what} was asked for and never begun: write `for result in"
                f" pipeline.{self.what.split()[0]}(...)`",
                RuntimeWarning,
                stacklevel=2,
            )
