"""A worker process that dies in the middle of its work, as by `kill -9`."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import stamina
from typing_extensions import override

from cw_pipeline import composition
from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise import Policy, RateLimiter, SourceClock
from cw_pipeline.live.drain import Drain
from cw_pipeline.live.worker import hinted_lists
from cw_pipeline.machine import Machine
from cw_pipeline.settings import Settings
from cw_pipeline.sync.context import SyncContext
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from cw_pipeline.warehouse import RequestBudget

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HASTY = Policy(attempts=4, wait_initial=0.01, wait_max=0.02, patience=10)
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


class _Shifted(Machine):
    """A machine whose clock shows simulated time."""

    def __init__(self, shift: timedelta) -> None:
        self._shift = shift

    @override
    def now(self) -> datetime:
        return super().now() + self._shift


@contextmanager
def connection(settings: Settings, shift: timedelta = timedelta()) -> Iterator[SyncContext]:
    """An engine on a warehouse that is migrated already, its clocks shifted to simulated time."""
    with (
        composition.warehouse(settings) as store,
        ThreadPoolExecutor(settings.max_concurrency) as fetchers,
    ):
        budget = RequestBudget(store, settings.requests_per_minute)
        gate = RateLimiter(budget.grant, budget.announce_pause)
        with composition.source(settings, gate, HASTY) as source:
            tolerance = timedelta(seconds=settings.clock_tolerance_seconds)
            source.clock = SourceClock(tolerance, _Shifted(shift))
            yield SyncContext(source, store, composition.limits(settings), fetchers)


def sync_and_die(
    options: dict[str, Any], names: Sequence[str], statement: int, shift: timedelta
) -> int:
    """Syncs in a process that is killed before it sends its n-th statement; its exit code.

    Minus 9 when it was killed; 0 when it had done all it had to before.
    """
    worker = _PROCESSES.Process(target=_work, args=(options, list(names), statement, shift))
    worker.start()
    worker.join(60)
    assert worker.exitcode is not None, "the worker hangs"
    return worker.exitcode


def drain_and_die(
    options: dict[str, Any], names: Sequence[str], statement: int, shift: timedelta
) -> int:
    """The same for reading what hints name."""
    worker = _PROCESSES.Process(target=_drain, args=(options, list(names), statement, shift))
    worker.start()
    worker.join(60)
    assert worker.exitcode is not None, "the worker hangs"
    return worker.exitcode


def _drain(options: dict[str, Any], names: Sequence[str], statement: int, shift: timedelta) -> None:
    _die_before(statement)
    quick = stamina.set_testing(True, attempts=4, cap=True)
    with quick, connection(Settings(**options), shift) as engine:
        Drain(engine, hinted_lists([CATALOG[name] for name in names])).drain()


def _work(options: dict[str, Any], names: Sequence[str], statement: int, shift: timedelta) -> None:
    _die_before(statement)
    quick = stamina.set_testing(True, attempts=4, cap=True)
    with quick, connection(Settings(**options), shift) as engine:
        for _ in sync_entities([CATALOG[name] for name in names], engine, SyncRequest()):
            pass


def _die_before(statement: int) -> None:
    sent = itertools.count(1)
    execute = psycopg.Cursor.execute

    def counted(*args: Any, **options: Any) -> Any:
        if next(sent) == statement:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(*args, **options)

    psycopg.Cursor.execute = counted  # type: ignore[method-assign,assignment]
