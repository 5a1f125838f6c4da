"""One sync in a process of its own, and what it cost. Settings come from the environment."""

from __future__ import annotations

import json
import sys
import time

import psycopg

from cw_pipeline import wiring
from cw_pipeline.bench.meter import Meter, peak_memory
from cw_pipeline.settings import Settings
from cw_pipeline.sync import Plan, sync_all


def main(*, full: bool, server: int | None) -> None:
    """Syncs, and prints the costs of just that as JSON."""
    settings = Settings.read()
    with (
        psycopg.connect(wiring.dsn(settings), autocommit=True) as connection,
        wiring.connected(settings) as engine,
    ):
        entities = wiring.entities(settings)
        meter = Meter(connection, server)
        reports = list(sync_all(entities, engine, Plan(full=full)))
        spent = meter.spent()
        asked, lanes = engine.source.tally.requests, engine.limits.lanes
    counted = ("rows_read", "rows_inserted", "rows_updated", "rows_unchanged", "dead_letters")
    told = {
        **spent.plain(),
        **{name: sum(getattr(report, name) for report in reports) for name in counted},
        "requests": asked,
        "retries": sum(report.retries for report in reports),
        "failures": [str(report.failure) for report in reports if report.failure],
        "entities": len(reports),
        "lanes": lanes,
        "memory": peak_memory(),
        "process_cpu": time.process_time(),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(full="full" in sys.argv, server=int(sys.argv[1]) or None)
