"""How long the reports take on a big tenant: first build, refresh after a working day, questions.

    python -m tests.benchmarks.reporting --tickets 1000000

makes the tenant with SQL in a PostgreSQL that is started for it, or in the database of `--dsn`.
Times are CPU seconds of the server: on a busy machine the others say nothing. Exit code 1: a view
or a refresh took longer than aimed at.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from cw_pipeline.catalog import select
from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.reporting import entities, publish
from cw_pipeline.reporting.database import transaction
from cw_pipeline.reporting.page import render_kpi_page
from cw_pipeline.reporting.script import scripts
from cw_pipeline.reporting.tables import refresh_published
from cw_pipeline.warehouse import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.reporting.script import ViewScript

SCHEMA = "connectwise"
MONTH, WHOLE, REFRESH = 0.3, 1.0, 5.0
"""CPU seconds: a view for a month, a view as a whole, a refresh after a thousand changes."""
_DAYS = (
    *("date", "month", "week", "goal_date", "work_date", "entered_date", "answered_date"),
    *("changed_date", "began_at", "starts_at", "invoice_date", "closed_date", "valid_to"),
)
"""By what a dashboard filters a month: the first of these columns that a view has."""
_KEYS = "board_id", "company_id", "member_id", "agreement_id"
_TENANT = Path(__file__).with_name("tenant.sql")
_EDITS = """
create temp table edited on commit drop as (
    select id from connectwise.service_tickets where id > {first} and not closed_flag limit 200
) union all (
    select id from connectwise.service_tickets where id > {first} and closed_flag limit 200
);
insert into connectwise.service_tickets__versions (
    id, record_type, summary, board_id, status_id, company_id,
    contact_id, type_id, priority_id, sla_id, source_id, owner_id, location_id, department_id,
    agreement_id, closed_flag, closed_date, date_entered, date_responded, date_resplan,
    date_resolved, respond_minutes, res_plan_minutes, resolve_minutes, minutes_waiting,
    respond_by_goal_utc, resplan_goal_utc, resolution_goal_utc, is_in_sla, merged_parent_ticket_id,
    actual_hours, currency_id, last_updated,
    _valid_from, _valid_to, _next_from, _recorded_to)
select id, record_type, summary, board_id, status_id, company_id,
    contact_id, type_id, priority_id, sla_id, source_id, owner_id, location_id, department_id,
    agreement_id, closed_flag, closed_date, date_entered, date_responded, date_resplan,
    date_resolved, respond_minutes, res_plan_minutes, resolve_minutes, minutes_waiting,
    respond_by_goal_utc, resplan_goal_utc, resolution_goal_utc, is_in_sla, merged_parent_ticket_id,
    actual_hours, currency_id, last_updated,
    (select max(_next_from) from connectwise.service_tickets__versions h where h.id = t.id),
    now(), now(), now()
from connectwise.service_tickets t where id in (table edited);
update connectwise.service_tickets set _synced_at = now(), last_updated = now(),
    status_id = 10 * board_id + 2, closed_flag = id % 2 = 0,
    closed_date = case when id % 2 = 0 then now() end
where id in (table edited);
update connectwise.time_entries set _synced_at = now(), actual_hours = actual_hours + 0.1
where id in (select id from connectwise.time_entries order by id desc limit 500);
update connectwise.finance_invoices set _synced_at = now(), balance = 0
where id in (
    select id from connectwise.finance_invoices where balance <> 0 order by id desc limit 60
);
update connectwise.finance_agreements set _synced_at = now(), bill_amount = bill_amount + 1
where id in (select id from connectwise.finance_agreements order by id desc limit 10);
update connectwise.sales_opportunities set _synced_at = now()
where id in (select id from connectwise.sales_opportunities order by id desc limit 30)
"""
_CLOCK = """
create schema if not exists clock;
create or replace function clock.now() returns timestamptz stable language sql as
    $$select pg_catalog.now() + interval '1 day'$$
"""


@dataclass(frozen=True, slots=True)
class View:
    """What reading a view took, in CPU seconds.

    `month`: what a dashboard asks of a month, None where there is no day. `whole`: of all times.
    Of facts both are counts by day or month and a key, of KPIs the rows. `copied`: all of it.
    """

    name: str
    is_table: bool
    month: float | None
    whole: float
    copied: float

    @property
    def is_slow(self) -> bool:
        """Whether it took longer than aimed at."""
        return (self.month or 0) > MONTH or self.whole > WHOLE


def main() -> int:
    """Measures and prints."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--tickets", type=int, default=1_000_000)
    asked.add_argument("--dsn", help="an empty database; without it a server is started")
    asked.add_argument("--filled", action="store_true", help="--dsn holds the tenant already")
    asked.add_argument("--only", help="read just these views of what was published already")
    asked.add_argument("--json", type=Path, help="where the figures go")
    options = asked.parse_args()
    with database(options.dsn) as dsn:
        told: dict[str, Any] = {"tickets": options.tickets, "refresh": 0.0}
        if not options.only:
            told |= build(dsn, options.tickets, filled=options.filled)
        views = list(_read(dsn, options.only))
        told["views"] = [asdict(view) for view in views]
    if options.json:
        options.json.write_text(json.dumps(told, indent=1), "utf-8")
    slow = [view.name for view in views if view.is_slow]
    slow += ["the refresh"] if told["refresh"] > REFRESH else []
    say("all is within its aims" if not slow else f"slower than aimed at: {', '.join(slow)}")
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
    say(f"{_refreshed(dsn):8.2f} CPU  nothing has changed")
    with psycopg.connect(dsn) as connection:
        connection.execute(_EDITS.format(first=tickets - tickets // 100).encode())
    edited = _refreshed(dsn)
    say(f"{edited:8.2f} CPU  a thousand records have changed")
    with psycopg.connect(dsn) as connection:
        connection.execute(_CLOCK.encode())
    day = _refreshed(dsn, path="clock, pg_catalog")
    say(f"{day:8.2f} CPU  a day has passed")
    drawn = _timed("the page is drawn", lambda: render_kpi_page(dsn, SCHEMA))
    return {"made": made, "built": built, "refresh": edited, "day": day, "page": drawn}


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


def _refreshed(dsn: str, path: str | None = None) -> float:
    """CPU seconds of the server for a refresh of all tables, each told. `path`: whose `now()`."""
    spent: list[float] = []

    @contextmanager
    def connect() -> Iterator[psycopg.Connection[Any]]:
        with transaction(dsn) as connection:
            if path:
                connection.execute(f"set local search_path to {path}".encode())
            before = process_cpu(connection.info.backend_pid)
            yield connection
            spent.append(process_cpu(connection.info.backend_pid) - before)

    total = 0.0
    for script in scripts():
        if script.changed is not None:
            spent.clear()
            done = refresh_published(connect, SCHEMA, [script.name])
            total += sum(spent)
            if sum(spent) >= 0.1:
                rows = next(table.rows for table in done if table.name == script.name)
                say(f"{sum(spent):12.2f} CPU  {script.name}: {rows:,} rows")
    return round(total, 2)


def _read(dsn: str, only: str | None) -> Iterator[View]:
    for script in scripts():
        if only and script.name not in only.split(","):
            continue
        if script.name.startswith(("kpi", "fct")):
            view = _view(dsn, script)
            kind = "table" if view.is_table else "view"
            say(
                f"{view.month or 0:8.2f} CPU a month {view.whole:8.2f} whole"
                f" {view.copied:8.2f} copied  {kind:5} {view.name}{' <<<' if view.is_slow else ''}"
            )
            yield view


def _view(dsn: str, script: ViewScript) -> View:
    table = f"reporting.{script.name}"
    day = next((name for name in _DAYS if name in script.columns), None)
    key = next((name for name in _KEYS if name in script.columns), "null")
    last = "date_trunc('month', now()) - interval '1 month'"
    where = f"{day} >= {last} and {day} < date_trunc('month', now())"
    month, whole = f"select * from {table} where {where}", f"select * from {table}"  # noqa: S608
    if script.name.startswith("fct"):
        by_month = f"date_trunc('month', {day}::timestamptz)" if day else "null"
        counted = f"{key}, count(*) from {table}"
        month = f"select {day}::date, {counted} where {where} group by 1, 2"
        whole = f"select {by_month}, {counted} group by 1, 2"
    return View(
        script.name,
        script.changed is not None,
        _asked(dsn, month) if day else None,
        _asked(dsn, whole),
        _asked(dsn, f"select * from {table}"),  # noqa: S608 - a file's name
    )


def _asked(dsn: str, query: str) -> float:
    """CPU seconds of a query: on one core, so that it is one process's."""
    options = "-c max_parallel_workers_per_gather=0"
    with psycopg.connect(dsn, options=options) as connection, connection.cursor() as cursor:
        process = connection.info.backend_pid
        before = process_cpu(process)
        with cursor.copy(f"copy ({query}) to stdout (format binary)".encode()) as stream:
            for _ in stream:
                pass
        return round(process_cpu(process) - before, 2)


def process_cpu(process: int) -> float:
    """CPU seconds of a process of this machine; none where it cannot be seen."""
    try:
        told = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
