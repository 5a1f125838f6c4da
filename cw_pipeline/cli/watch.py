"""Watching a sync: bars on a terminal, a line now and then elsewhere. All of it on stderr.

Progress is read from the warehouse, so it shows the same whichever process does the work.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from cw_pipeline import pipeline
from cw_pipeline.cli import output
from cw_pipeline.errors import PipelineError
from cw_pipeline.plural import count
from cw_pipeline.warehouse.status import Progress, Reading, last_run, progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from cw_pipeline.model import Entity
    from cw_pipeline.settings import Settings

GLANCE = 0.25  # seconds between looks when somebody watches
HEARTBEAT = 15.0  # seconds between lines when nobody does
_AT_MOST = 8  # bars at a time
_TOO_SHORT = 1.0  # seconds after which a pace is believed
_WIDE = 110  # columns of a terminal with room for more


class Watch:
    """Shows how many entities are done, and rows so far of those being read. A context manager."""

    def __init__(self, settings: Settings, entities: Sequence[Entity], *, silent: bool) -> None:
        self._settings = settings
        self._tables = {entity.name: entity.table for entity in entities}
        self._left = set(self._tables)
        self._silent = silent
        self._done = Event()
        self._thread = Thread(target=self._look, name="watch", daemon=True)
        self._stack = ExitStack()
        self._bars: Bars | None = None
        self._overall: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._before: Mapping[str, int] = {}
        self._paces: dict[str, Pace] = {}

    def __enter__(self) -> Self:
        if self._silent:
            return self
        if output.lively():
            self._bars = self._stack.enter_context(_bars())
            self._overall = self._bars.add_task("entities", total=len(self._left), done="")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if not self._silent:
            self._thread.join(timeout=1)
        self._stack.close()

    def finished(self, entity: str, line: str) -> None:
        """Notes that an entity is done, and says so in a line unless it is empty."""
        self._left.discard(entity)
        if self._bars is not None:
            assert self._overall is not None
            done, of = len(self._tables) - len(self._left), len(self._tables)
            self._bars.update(self._overall, completed=done, done=f"{done} of {of}")
        if self._silent or not line:
            return
        if self._bars is not None:
            self._bars.console.print(line, markup=False, highlight=False)
        else:
            output.stderr().print(line, markup=False, soft_wrap=True)

    def _look(self) -> None:
        """Looks at the warehouse until all is done. What it cannot see is not worth a failure."""
        spacing = GLANCE if self._bars is not None else HEARTBEAT
        try:
            with pipeline.warehouse(self._settings) as warehouse:
                with warehouse.connection() as connection:
                    after = last_run(connection)
                    self._before = progress(connection, warehouse.tenant, after).written
                while not self._done.wait(spacing):
                    with warehouse.connection() as connection:
                        self._show(progress(connection, warehouse.tenant, after))
        except PipelineError:
            return

    def _show(self, now: Progress) -> None:
        running = [each for each in now.running if each.entity in self._left]
        told = {each.entity: self._told(each, now) for each in running}
        if self._bars is not None:
            self._draw(self._bars, running, told)
        elif running:
            parts = [" ".join(filter(None, pair)) for pair in told.items()]
            done = len(self._tables) - len(self._left)
            at = time.strftime("%H:%M:%S")
            line = f"{at} {done}/{len(self._tables)} done; now {', '.join(parts)}"
            output.stderr().print(line, markup=False, soft_wrap=True)

    def _draw(self, bars: Bars, running: Sequence[Reading], told: Mapping[str, str]) -> None:
        for name in self._tasks.keys() - told.keys():
            bars.remove_task(self._tasks.pop(name))
        for each in running:
            name = each.entity
            if name not in self._tasks and len(self._tasks) < _AT_MOST:
                self._tasks[name] = bars.add_task(name, total=None, done="")
            if name in self._tasks:
                done = None if each.expected is None else min(each.rows, each.expected)
                bars.update(self._tasks[name], total=each.expected, completed=done, done=told[name])

    def _told(self, reading: Reading, now: Progress) -> str:
        """Rows so far; of a first load also of how many, and how long it will take."""
        entity, rows, expected = reading.entity, reading.rows, reading.expected
        if expected is None:
            written = now.written.get(self._tables[entity], 0)
            changed = written - self._before.get(self._tables[entity], 0)
            return count(changed, "row") if changed else ""
        self._paces.setdefault(entity, Pace(rows, time.monotonic()))
        left = self._paces[entity].left(rows, expected, time.monotonic())
        about = "" if left is None else f", about {output.age(left)} left"
        return f"{rows:,} of {count(max(expected, rows), 'row')}{about}"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a first load goes: it had `rows` at `since`, in seconds."""

    rows: int
    since: float

    def left(self, rows: int, expected: int, now: float) -> timedelta | None:
        """How long it will take at the pace so far; None while that cannot be told."""
        loaded, took = rows - self.rows, now - self.since
        if loaded <= 0 or took < _TOO_SHORT:
            return None
        return timedelta(seconds=max(0, expected - rows) * took / loaded)


def _bars() -> Bars:
    from rich.progress import (  # noqa: PLC0415 - takes a tenth of a second
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    console = output.stderr()
    wide = console.width >= _WIDE
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30 if wide else 10),
        TextColumn("{task.fields[done]}"),
        *([TimeElapsedColumn()] if wide else []),
        console=console,
        transient=True,
    )
