"""What Dagster's storage holds after days of refreshes, and whether it stays so.

    python -m tests.benchmarks.dagster_days --days 90

A made-up tenant, its warehouse and Dagster's storage on a PostgreSQL that is started for it. A day
has one refresh that finds nothing, a few that find what is edited, the hourly look whether promises
hold, and `maintenance`; then everything in Dagster's storage is made a day older. Exit code 1: it
still grew when nothing was new any more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import psycopg
import stamina

from cw_pipeline.catalog import select
from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.dev import EmbeddedPostgres, services
from cw_pipeline.dev.postgres import RUNS
from cw_pipeline.model import SyncMode
from cw_pipeline.settings import Settings
from cw_pipeline.simulator import CLIENT_ID, Simulator, seed_tenant

if TYPE_CHECKING:
    from collections.abc import Mapping

TICKS = 96
"""Refreshes of a day, one each quarter of an hour."""
MAY_GROW = 1.1
"""From the day that the first runs are deleted to the last day."""
_MOMENTS = """
select table_name, column_name, data_type from information_schema.columns
where table_schema = 'public' and data_type like 'timestamp%'
   or (table_name, column_name) in (('runs', 'start_time'), ('runs', 'end_time'),
                                    ('runs', 'update_timestamp'))
"""
_SIZES = """
select relname, pg_total_relation_size(oid) from pg_class
where relkind = 'r' and relnamespace = 'public'::regnamespace
"""


class Days:
    """A code location whose days pass as fast as they can be recorded."""

    def __init__(self, settings: Settings, simulator: Simulator, runs: str) -> None:
        self._entities = select(None)
        self._made = definitions(settings, self._entities)
        self._repository = self._made.get_repository_def()
        self._tenant = simulator.tenant
        self._runs = runs
        self._chance = random.Random(7)  # noqa: S311 - which records are edited

    def load(self) -> None:
        """The first load."""
        with dg.DagsterInstance.get() as instance:
            self._refresh(instance)

    def live(self, busy: int, lists: int) -> None:
        """A day with so many refreshes that find so many lists changed."""
        with dg.DagsterInstance.get() as instance:
            for _ in range(busy):
                self._edit(lists)
                self._refresh(instance)
            self._tick(instance, "promises")
        self._grow_older()
        with dg.DagsterInstance.get() as instance:
            done = self._made.resolve_job_def("maintenance").execute_in_process(instance=instance)
            assert done.success

    def quiet_tick(self) -> Any:
        """What a refresh says that finds nothing."""
        with dg.DagsterInstance.get() as instance:
            return self._tick(instance, "refresh")

    def sizes(self) -> dict[str, int]:
        """The bytes of each of Dagster's tables with its indexes, once vacuumed."""
        with psycopg.connect(self._runs, autocommit=True) as connection:
            connection.execute("vacuum full")  # each day writes all anew, to make it older
            return dict(connection.execute(_SIZES).fetchall())

    def rows(self) -> dict[str, int]:
        """Bytes of what is stored in the tables that grow, without what is free in them."""
        with psycopg.connect(self._runs) as connection:
            found = {}
            for table in ("event_logs", "asset_check_executions", "runs", "snapshots", "run_tags"):
                query = f"select count(*), coalesce(sum(pg_column_size(t)), 0) from {table} t"  # noqa: S608
                found[table], found[f"{table}_bytes"] = connection.execute(
                    query.encode()
                ).fetchone() or (0, 0)
        return {name: int(value) for name, value in found.items()}

    def _edit(self, lists: int) -> None:
        dated = [each for each in self._entities if each.mode is SyncMode.INCREMENTAL]
        filled = [each for each in dated if self._tenant.records(each.path)]
        for entity in self._chance.sample(filled, min(lists, len(filled))):
            own = self._chance.choice([*self._tenant.records(entity.path)])
            self._tenant.edit(entity.path, own)

    def _refresh(self, instance: dg.DagsterInstance) -> None:
        (request,) = self._tick(instance, "refresh").run_requests or (None,)
        if request is None:
            return
        job = self._made.resolve_job_def("refresh").get_subset(
            asset_selection={*request.asset_selection},
            asset_check_selection={*request.asset_check_keys},
        )
        done = job.execute_in_process(
            instance=instance,
            run_config={
                **request.run_config,
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            partition_key=request.partition_key,
            tags=dict(request.tags),
            raise_on_error=False,
        )
        if not done.success:
            _say("a refresh failed")

    def _tick(self, instance: dg.DagsterInstance, name: str) -> Any:
        context = dg.build_schedule_context(
            instance, datetime.now(UTC), repository_def=self._repository
        )
        return self._made.resolve_schedule_def(name).evaluate_tick(context)

    def _grow_older(self) -> None:
        with psycopg.connect(self._runs) as connection:
            for table, column, kind in connection.execute(_MOMENTS).fetchall():
                by = "interval '1 day'" if kind.startswith("timestamp") else "86400"
                connection.execute(f"update {table} set {column} = {column} - {by}".encode())  # noqa: S608


def main() -> int:
    """Lives the days and prints what they leave."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--days", type=int, default=90)
    asked.add_argument("--busy", type=int, default=1, help="refreshes of a day that find edits")
    asked.add_argument("--lists", type=int, default=10, help="lists that each of them finds edited")
    asked.add_argument("--keep", type=int, default=30, help="CW_KEEP_RUNS_DAYS")
    options = asked.parse_args()
    stamina.set_testing(True, attempts=2)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o711)
        days = _days(stack, folder, options.keep)
        started = time.process_time()
        days.load()
        _say(f"loaded in {time.process_time() - started:.0f} s of CPU; {_told(days.rows())}")
        _say(f"a refresh that finds nothing says: {days.quiet_tick().skip_message}")
        held: dict[int, int] = {}
        for day in range(1, options.days + 1):
            before = days.rows()
            days.live(options.busy, options.lists)
            if day in (1, options.days) or day % 10 == 0:
                after, size = days.rows(), days.sizes()
                held[day] = sum(size.values())
                new = {name: after[name] - before[name] for name in after}
                _say(f"day {day}: {held[day] / 1e6:.1f} MB; this day {_told(new)}")
        _say(json.dumps({name: size for name, size in days.sizes().items() if size > 100_000}))
    settled = [size for day, size in held.items() if day > options.keep]
    grew = settled[-1] / settled[0] if settled else 1.0
    _say(f"from the first runs deleted to the last day: {grew:.2f} times")
    return int(grew > MAY_GROW)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _told(rows: Mapping[str, int]) -> str:
    return ", ".join(
        f"{name} {count:,} rows {rows[f'{name}_bytes'] / 1000:,.0f} kB"
        for name, count in rows.items()
        if not name.endswith("_bytes")
    )


def _days(stack: ExitStack, folder: Path, keep: int) -> Days:
    server = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
    simulator = stack.enter_context(Simulator(seed_tenant(tickets=300, seed=7)))
    settings = Settings(
        site=simulator.url,
        company="demo",
        public_key="public",
        private_key="private",
        client_id=CLIENT_ID,
        warehouse_dsn=server.dsn(),
        dagster_pg_url=server.dsn(RUNS),
        requests_per_minute=1_000_000,
        keep_runs_days=keep,
    )
    os.environ["DAGSTER_HOME"] = str(folder / "home")
    names = set(Settings.model_fields)
    told = {f"CW_{name.upper()}": value for name, value in settings if name in names and value}
    os.environ.update({name: _text(value) for name, value in told.items() if name in _NEEDED})
    services.prepared_home(settings)
    return Days(settings, simulator, server.dsn(RUNS))


_NEEDED = {
    "CW_SITE", "CW_COMPANY", "CW_PUBLIC_KEY", "CW_PRIVATE_KEY", "CW_CLIENT_ID", "CW_WAREHOUSE_DSN",
    "CW_DAGSTER_PG_URL", "CW_REQUESTS_PER_MINUTE", "CW_KEEP_RUNS_DAYS",
}  # fmt: skip


def _text(value: Any) -> str:
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)


if __name__ == "__main__":
    sys.exit(main())
