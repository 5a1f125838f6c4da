"""One sync or proof in a process of its own, and its cost. Settings come from the environment."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import psycopg

from cw_pipeline.bench.meter import Meter, peak_memory
from cw_pipeline.composition import dsn
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.process import tune_process
from cw_pipeline.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Audit, SyncResult

_COUNTED = ("rows_read", "rows_inserted", "rows_updated", "rows_unchanged", "dead_letters")


def main(what: str, server: int | None) -> None:
    """Syncs, `full` or not, or makes the `proof`; prints the costs of just that as JSON."""
    settings = Settings.read()
    tune_process()
    with (
        psycopg.connect(dsn(settings), autocommit=True) as connection,
        Pipeline(settings) as pipeline,
    ):
        engine = pipeline.connect()
        meter = Meter(connection, server)
        if what == "proof":
            done = _proof(list(pipeline.reconcile()))
        else:
            done = _sync(list(pipeline.sync(full=what == "full")))
        spent = meter.cost()
        asked, lanes = engine.source.tally.requests, engine.limits.concurrency
    costs = {
        **spent.plain(),
        **done,
        "requests": asked,
        "lanes": lanes,
        "memory": peak_memory(),
        "process_cpu": time.process_time(),
    }
    sys.stdout.write(json.dumps(costs))


def _sync(reports: Sequence[SyncResult]) -> dict[str, Any]:
    return {
        **{name: sum(getattr(report, name) for report in reports) for name in _COUNTED},
        "retries": sum(report.retries for report in reports),
        "failures": [str(report.failure) for report in reports if report.failure],
        "entities": len(reports),
    }


def _proof(audits: Sequence[Audit]) -> dict[str, Any]:
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
