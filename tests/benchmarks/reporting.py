"""How long the reports take on a big tenant: first build, refresh after a working day, questions.

    python -m tests.benchmarks.reporting --tickets 1000000

makes the tenant with SQL in a PostgreSQL that is started for it, or in the database of `--dsn`.
Exit code 1: a KPI view took longer than promised.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from cw_pipeline.catalog import select
from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.reporting import entities, publish, refresh
from cw_pipeline.reporting.page import render_kpi_page
from cw_pipeline.reporting.script import scripts
from cw_pipeline.warehouse import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = "connectwise"
PROMISED = 2.0
"""Seconds that a KPI view may take."""
_TENANT = Path(__file__).with_name("tenant.sql")
_DAY = """
update connectwise.service_tickets
set _synced_at = now(), status_id = 10 * board_id + 2, last_updated = now()
where id > {first} and not closed_flag;
update connectwise.service_tickets
set _synced_at = now(), closed_flag = true, closed_date = now(), last_updated = now()
where id > {first} and id % 2 = 0;
update connectwise.time_entries set _synced_at = now() where id > 2 * {first};
update connectwise.finance_invoices set _synced_at = now(), balance = 0 where id % 5000 = 0
"""


@dataclass(frozen=True, slots=True)
class View:
    """What reading all of a view took at the median; on a busy machine look at the CPU's."""

    name: str
    is_table: bool
    rows: int
    seconds: float
    cpu_seconds: float | None


def main() -> int:
    """Measures and prints."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--tickets", type=int, default=1_000_000)
    asked.add_argument("--turns", type=int, default=3)
    asked.add_argument("--dsn", help="an empty database; without it a server is started")
    asked.add_argument("--filled", action="store_true", help="--dsn holds the tenant already")
    asked.add_argument("--only", help="read just these views of what was published already")
    asked.add_argument("--json", type=Path, help="where the figures go")
    options = asked.parse_args()
    with database(options.dsn) as dsn:
        told: dict[str, Any] = {"tickets": options.tickets}
        if not options.only:
            told |= build(dsn, options.tickets, filled=options.filled)
        views = list(_read(dsn, options.turns, options.only))
        told["views"] = [asdict(view) for view in views]
    if options.json:
        options.json.write_text(json.dumps(told, indent=1), "utf-8")
    slow = [v for v in views if v.name.startswith("kpi") and v.seconds > PROMISED]
    say("every KPI view is within the promise" if not slow else f"too slow: {slow}")
    return 1 if slow else 0


def say(text: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def database(given: str | None) -> Iterator[str]:
    """The database given, or one of a server that is started for it."""
    if given:
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="cw-reporting-"))
    folder.chmod(0o711)  # root's server runs under another account
    try:
        with EmbeddedPostgres(folder / "postgres", durable=False) as postgres:
            yield postgres.dsn()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def build(dsn: str, tickets: int, *, filled: bool) -> dict[str, Any]:
    """The tenant made, its reports built, and a working day's changes refreshed."""
    migrate(dsn, SCHEMA, {*select(None), *entities()})
    made = None if filled else _timed("the tenant is made", lambda: _make(dsn, tickets))
    built = _timed("everything is published", lambda: publish(dsn, SCHEMA, "America/New_York"))
    _timed("nothing has changed", lambda: _refreshed(dsn))
    with psycopg.connect(dsn) as connection:
        connection.execute(_DAY.format(first=tickets - tickets // 730).encode())
    day = _timed("a working day has changed", lambda: _refreshed(dsn))
    drawn = _timed("the page is drawn", lambda: render_kpi_page(dsn, SCHEMA))
    return {"made": made, "built": built, "day": day, "page": drawn}


def _timed(what: str, do: Any) -> float:
    started = time.monotonic()
    do()
    seconds = round(time.monotonic() - started, 2)
    say(f"{seconds:8.2f} s  {what}")
    return seconds


def _make(dsn: str, tickets: int) -> None:
    text = _TENANT.read_text("utf-8").replace("{tickets}", str(tickets))
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in text.split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
        connection.execute("vacuum analyze")


def _refreshed(dsn: str) -> None:
    for table in refresh(dsn, SCHEMA):
        say(f"{table.seconds:12.2f} s  {table.name}: {table.rows:,} rows")


def _read(dsn: str, turns: int, only: str | None) -> Iterator[View]:
    """Each view read whole, as a BI tool that imports it would."""
    for script in scripts():
        if only and script.name not in only.split(","):
            continue
        if script.name.startswith(("kpi", "fct")) or script.name == "freshness":
            taken = [_copied(dsn, script.name) for _ in range(turns)]
            seconds, cpu = (statistics.median(each[at] for each in taken) for at in (1, 2))
            view = View(script.name, script.changed is not None, taken[0][0], seconds, cpu or None)
            kind = "table" if view.is_table else "view"
            say(f"{seconds:8.2f} s ({cpu:6.2f} CPU) {view.rows:>10,} rows  {kind:5} {view.name}")
            yield view


def _copied(dsn: str, name: str) -> tuple[int, float, float]:
    """Rows, seconds and CPU seconds: on one core, so that it is one process's."""
    query = sql.SQL("copy (select * from {}) to stdout (format binary)")
    options = "-c max_parallel_workers_per_gather=0"
    with psycopg.connect(dsn, options=options) as connection, connection.cursor() as cursor:
        process = connection.info.backend_pid
        started, spent = time.monotonic(), process_cpu(process)
        with cursor.copy(query.format(sql.Identifier("reporting", name))) as stream:
            for _ in stream:
                pass
        return cursor.rowcount, time.monotonic() - started, process_cpu(process) - spent


def process_cpu(process: int) -> float:
    """CPU seconds of a process of this machine; none where it cannot be seen."""
    try:
        told = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
