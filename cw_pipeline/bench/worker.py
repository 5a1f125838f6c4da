"""One sync or proof in a process of its own, and its cost. Settings come from the environment."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import psycopg

from cw_pipeline import pipeline
from cw_pipeline.bench.meter import Meter, peak_memory
from cw_pipeline.settings import Settings
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from cw_pipeline.sync.reconcile import reconcile_all

if TYPE_CHECKING:
    from cw_pipeline.sync.context import SyncContext

_COUNTED = ("rows_read", "rows_inserted", "rows_updated", "rows_unchanged", "dead_letters")


def main(what: str, server: int | None) -> None:
    """Syncs, `full` or not, or makes the `proof`; prints the costs of just that as JSON."""
    settings = Settings.read()
    with (
        psycopg.connect(pipeline.dsn(settings), autocommit=True) as connection,
        pipeline.connected(settings) as engine,
    ):
        meter = Meter(connection, server)
        done = _proof(engine, settings) if what == "proof" else _sync(engine, settings, what)
        spent = meter.spent()
        asked, lanes = engine.source.tally.requests, engine.limits.lanes
    told = {
        **spent.plain(),
        **done,
        "requests": asked,
        "lanes": lanes,
        "memory": peak_memory(),
        "process_cpu": time.process_time(),
    }
    sys.stdout.write(json.dumps(told))


def _sync(engine: SyncContext, settings: Settings, what: str) -> dict[str, Any]:
    reports = list(
        sync_entities(pipeline.entities(settings), engine, SyncRequest(full=what == "full"))
    )
    return {
        **{name: sum(getattr(report, name) for report in reports) for name in _COUNTED},
        "retries": sum(report.retries for report in reports),
        "failures": [str(report.failure) for report in reports if report.failure],
        "entities": len(reports),
    }


def _proof(engine: SyncContext, settings: Settings) -> dict[str, Any]:
    audits = list(reconcile_all(pipeline.entities(settings), engine))
    swept = sum(audit.source_rows or 0 for audit in audits)
    return {
        **dict.fromkeys(_COUNTED, 0),
        "rows_read": swept,
        "rows_unchanged": swept,
        "failures": [audit.detail for audit in audits if not audit.proven],
        "entities": len(audits),
    }


if __name__ == "__main__":
    main("".join(sys.argv[2:]), int(sys.argv[1]) or None)
