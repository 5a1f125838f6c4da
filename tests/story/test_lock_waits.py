"""Somebody has locked what a sync writes to: it is said who, and it goes on, or ends by a bound."""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import WarehouseLocked
from cw_pipeline.reports_api.sync import sync_report
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from cw_pipeline.sync.reconcile import reconcile_all
from cw_pipeline.warehouse.ddl import Patience

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.model import Audit, SyncResult
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS, BOARDS = "service/tickets", "service/boards"
PATH = "/service/tickets"
TABLE = "connectwise.service_tickets"
TABLE_LOCK = f"lock table {TABLE} in access exclusive mode"
ROW_LOCK = f"select from {TABLE} where id = 2 for update"
DDL = f"alter table {TABLE} add own_note text"
BRIEF = Patience(name_after=1, give_up_after=4)


@contextmanager
def held(story: Story, statement: str) -> Iterator[psycopg.Connection]:
    """Somebody's open transaction that has run the statement."""
    with psycopg.connect(story.dsn, application_name="Power BI") as other:
        other.execute(statement.encode())
        yield other


def told(other: psycopg.Connection, what: str) -> str:
    """How a message names that transaction; the server's process, also through a pooler."""
    (pid, user), *_ = other.execute("select pg_backend_pid(), current_user").fetchall()
    return f"{what} is locked (process {pid}, user {user}, application Power BI)"


@contextmanager
def released_once_named(
    other: psycopg.Connection, named: str, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Ends that transaction when a message has named it, at the latest after half a minute."""

    def release() -> None:
        patient_until = time.monotonic() + 30
        while time.monotonic() < patient_until:
            if any(line.startswith(named) for line in caplog.messages):
                break
            time.sleep(0.1)
        other.rollback()

    releasing = Thread(target=release)
    releasing.start()
    try:
        yield
    finally:
        releasing.join()


def synced(story: Story, tenant: Tenant) -> None:
    """Fills tenant and warehouse; then everything in the tenant changes."""
    for own in range(1, 31):
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}"})
    tenant.put("/service/boards", {"id": 1, "name": "old"})
    story.sync(TICKETS, BOARDS)
    tenant.advance(3600)
    for own in range(1, 31):
        tenant.edit(PATH, own, summary=f"new {own}")
    tenant.edit("/service/boards", 1, name="new")


def sync(story: Story, *names: str, plan: SyncRequest | None = None) -> dict[str, SyncResult]:
    with story.engine(entities=",".join(names), patience=BRIEF) as engine:
        entities = [CATALOG[name] for name in names]
        return {r.entity: r for r in sync_entities(entities, engine, plan or SyncRequest())}


def reconciled(story: Story) -> Audit:
    with story.engine(entities=TICKETS, patience=BRIEF) as engine:
        (audit,) = reconcile_all([CATALOG[TICKETS]], engine, apply_deletes=True)
    return audit


def assert_equal(story: Story, tenant: Tenant) -> None:
    stored = {own: row["summary"] for own, row in story.table(TICKETS).items()}
    assert stored == {own: record["summary"] for own, record in tenant.records(PATH).items()}
    audit = reconciled(story)
    assert (audit.proven, audit.missing + audit.stale + audit.extra) == (True, 0)


@pytest.mark.parametrize(
    ("lock", "what"),
    [(TABLE_LOCK, TABLE), (ROW_LOCK, f"a row of {TABLE}"), (DDL, TABLE)],
    ids=["table", "row", "ddl"],
)
def test_who_is_in_the_way_is_named_and_then_the_sync_goes_on(
    story: Story, tenant: Tenant, lock: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    synced(story, tenant)
    with held(story, lock) as other:
        named = told(other, what)
        with released_once_named(other, named, caplog):
            report = sync(story, TICKETS)[TICKETS]
    assert report.failure is None
    said = caplog.messages
    assert any(line.startswith(f"{named}. cw_pipeline has waited for it ") for line in said), said
    assert_equal(story, tenant)


@pytest.mark.parametrize("lock", [TABLE_LOCK, ROW_LOCK], ids=["table", "row"])
def test_a_wait_ends_by_a_bound_with_what_to_do_and_others_go_on(
    story: Story, tenant: Tenant, lock: str
) -> None:
    synced(story, tenant)
    with held(story, lock) as other:
        named = told(other, TABLE if lock == TABLE_LOCK else f"a row of {TABLE}")
        began = time.monotonic()
        reports = sync(story, TICKETS, BOARDS)
        assert 4 < time.monotonic() - began < 30
        assert {row["name"] for row in story.table(BOARDS).values()} == {"new"}
    assert reports[BOARDS].failure is None
    failure = reports[TICKETS].failure
    assert isinstance(failure, WarehouseLocked)
    assert str(failure).startswith(f"{named}: given up after ")
    assert "select pg_terminate_backend(" in str(failure)
    (run,) = story.rows(
        "select * from cw_sync.run where entity = %s order by run_id desc limit 1", TICKETS
    )
    assert (run["status"], run["error"]) == ("failed", str(failure))
    assert sync(story, TICKETS)[TICKETS].failure is None
    assert_equal(story, tenant)


def test_a_soft_delete_waits_like_a_merge(
    story: Story, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    synced(story, tenant)
    sync(story, TICKETS)
    tenant.delete(PATH, 2)
    with held(story, ROW_LOCK) as other:
        named = told(other, f"a row of {TABLE}")
        with released_once_named(other, named, caplog):
            audit = reconciled(story)
    assert (audit.failure, audit.deleted) == (None, 1)
    assert any(line.startswith(named) for line in caplog.messages), caplog.messages
    assert_equal(story, tenant)


def test_a_report_whose_table_is_locked_fails_and_is_whole_the_next_time(
    story: Story, tenant: Tenant
) -> None:
    synced(story, tenant)
    with story.engine(entities=TICKETS) as engine:
        assert sync_report(engine, "Service", full=True).failure is None
    tenant.delete(PATH, 2)
    lock = "select from connectwise.report_service for update"
    with held(story, lock) as other, story.engine(entities=TICKETS, patience=BRIEF) as engine:
        failure = sync_report(engine, "Service", full=True).failure
        assert str(failure).startswith(told(other, "a row of connectwise.report_service"))
    with story.engine(entities=TICKETS) as engine:
        assert sync_report(engine, "Service", full=True).row_count == 29


def test_what_cannot_be_made_private_is_not_synced_and_others_are(
    story: Story, tenant: Tenant
) -> None:
    synced(story, tenant)
    story.options["drop_columns"] = "service_tickets.summary"
    with held(story, ROW_LOCK):
        reports = sync(story, TICKETS, BOARDS)
    assert isinstance(reports[TICKETS].failure, WarehouseLocked)
    assert reports[BOARDS].failure is None
    assert story.table(TICKETS)[2]["summary"] == "ticket 2"
    assert sync(story, TICKETS)[TICKETS].failure is None
    assert {row["summary"] for row in story.table(TICKETS).values()} == {None}
