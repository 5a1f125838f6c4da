"""Everything works behind PgBouncer in transaction mode, where no session is anybody's own."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from cw_pipeline.catalog import CATALOG
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.reporting.tables import refresh
from cw_pipeline.reports_api.sync import sync_report
from cw_pipeline.simulator import Fault
from cw_pipeline.simulator.seed import seed_tenant
from cw_pipeline.sync.reconcile import reconcile_all, reread_all
from cw_pipeline.sync.replay import replay
from cw_pipeline.warehouse import migrate
from cw_pipeline.warehouse.promotions import promote
from cw_pipeline.warehouse.status import entity_statuses
from tests.story import test_holds, test_lock_waits
from tests.story.conftest import Story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.model import Audit
    from cw_pipeline.simulator import Simulator, Tenant
    from tests.conftest import Pooler

TICKETS = "service/tickets"
BOARDS, TYPES = "service/boards", "service/boards/types"
PATH = "/service/tickets"


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2, cap=True):
        yield


@pytest.fixture
def story(dsn: str, pooler: Pooler, simulator: Simulator, tenant: Tenant) -> Iterator[Story]:
    """A story whose pipeline goes through the pooler; nothing of it stays with a session."""
    told = Story(pooler.through(dsn), simulator, tenant, {"page_size": 10})
    yield told
    ours = "select * from cw_sync.lease where process_id = %s"
    assert told.rows(ours, os.getpid()) == []
    assert told.rows("select * from pg_class where relname like 'staged%%'") == []
    own = "database = (select oid from pg_database where datname = current_database())"
    assert told.rows(f"select * from pg_locks where locktype = 'advisory' and {own}") == []  # noqa: S608


def fill(tenant: Tenant, ids: range) -> None:
    past = tenant.now() - timedelta(hours=1)
    for own in ids:
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}"}, stamp=past)


def summaries(story: Story) -> dict[int, str]:
    return {own: row["summary"] for own, row in story.table(TICKETS).items()}


def truth(tenant: Tenant) -> dict[int, str]:
    return {own: record["summary"] for own, record in tenant.records(PATH).items()}


def reconciled(story: Story, **options: Any) -> Audit:
    with story.engine(**options) as engine:
        (audit,) = reconcile_all([CATALOG[TICKETS]], engine)
    return audit


def test_a_first_load_in_ranges_and_the_changes_after_it(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 300))
    fill(tenant, range(1000, 1500, 7))
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)
    tenant.advance(3600)
    tenant.edit(PATH, 5, summary="edited")
    fill(tenant, range(2000, 2003))
    story.one(TICKETS)
    tenant.edit(PATH, 6, summary="edited, too")
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_children_below_their_parents(story: Story, tenant: Tenant) -> None:
    for board in range(1, 13):
        tenant.put("/service/boards", {"id": board, "name": f"board {board}"})
        for own in range(2):
            record = {"id": 100 * board + own, "name": f"type {own}"}
            tenant.put(f"/service/boards/{board}/types", record)
    for report in story.sync(BOARDS, TYPES).values():
        assert report.failure is None
    assert len(story.table(TYPES)) == 24
    tenant.delete("/service/boards", 3)
    with story.engine() as engine:
        for audit in reconcile_all([CATALOG[BOARDS], CATALOG[TYPES]], engine, apply_deletes=True):
            assert audit.failure is None
    assert len(story.table(TYPES)) == 22


def test_dead_letters_and_their_replay(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 30))
    fault = Fault("wrong_type", ids={3}, field="summary")
    story.simulator.faults.add(fault)
    story.one(TICKETS)
    (letter,) = story.rows("select * from cw_sync.open_dead_letter")
    assert letter["record_id"] == 3
    story.simulator.faults.clear()
    with story.engine() as engine:
        assert len(dict(replay(engine, None))) == 1
    assert summaries(story) == truth(tenant)
    assert story.rows("select * from cw_sync.open_dead_letter") == []


def test_a_proof_finds_and_mends_what_differs(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 60))
    story.one(TICKETS)
    story.rows(
        "with gone as (delete from connectwise.service_tickets where id = 4 returning id)"
        " update connectwise.service_tickets set last_updated = last_updated - interval '1 day',"
        " _synced_at = _synced_at - interval '1 day' where id = 5 returning id"
    )
    tenant.delete(PATH, 6)
    audit = reconciled(story)
    assert (audit.missing, audit.stale, audit.extra, audit.deleted) == (1, 1, 1, 1)
    assert audit.failure is None
    assert summaries(story) == truth(tenant)
    assert reconciled(story).proven
    with story.engine() as engine:
        (again,) = reread_all([CATALOG[TICKETS]], engine, nights=1)
    assert (again.failure, again.source_rows) == (None, 58)


def test_a_report_that_is_read_page_by_page(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 36))
    for expected in (35, 35):
        with story.engine(entities=TICKETS) as engine:
            report = sync_report(engine, "Service", full=True)
        assert report.failure is None
        assert (report.rows_read, report.row_count) == (expected, expected)
    assert len(story.rows("select * from connectwise.report_service")) == 35


def test_a_field_that_becomes_a_column(story: Story, tenant: Tenant) -> None:
    tenant.put(PATH, {"id": 1, "summary": "one", "newField": "new"})
    story.one(TICKETS)
    with story.engine() as engine:
        (made,) = promote(engine.database, CATALOG[TICKETS], "newField")
    assert made.rows == 1
    assert story.table(TICKETS)[1]["new_field"] == "new"


def test_a_new_warehouse_with_its_reporting_schema(empty_dsn: str, pooler: Pooler) -> None:
    from cw_pipeline.simulator import Simulator  # noqa: PLC0415

    tenant = seed_tenant(60)
    with Simulator(tenant) as simulator:
        story = Story(pooler.through(empty_dsn), simulator, tenant)
        names = (BOARDS, TICKETS, "company/companies", "time/entries")
        settings = story.settings(entities=",".join(names))
        front_door = Pipeline(settings)
        front_door.migrate()
        front_door.publish()
        for report in story.sync(*names).values():
            assert report.failure is None
        migrate(story.dsn, "connectwise", [CATALOG[name] for name in names])
        assert refresh(story.dsn, "connectwise")
        assert story.rows("select count(*) from reporting.fct_ticket")[0]["count"] > 0
        with story.engine() as engine, engine.database.connection() as connection:
            found = {own.entity for own in entity_statuses(connection, "connectwise")}
        assert set(names) <= found


# The same promises, to the story of this module.
holder = test_holds.holder
test_a_second_runner = test_holds.test_the_second_runner_names_the_first_and_leaves_at_once
test_a_killed_runner = test_holds.test_a_killed_runner_holds_nothing_and_its_run_is_no_longer_open
test_a_stopped_runner = (
    test_holds.test_a_runner_that_is_stopped_loses_its_hold_and_writes_nothing_when_it_goes_on
)
test_a_living_runner = test_holds.test_a_runner_that_lives_is_never_taken_over
test_named = test_lock_waits.test_who_is_in_the_way_is_named_and_then_the_sync_goes_on
test_given_up = test_lock_waits.test_a_wait_ends_by_a_bound_with_what_to_do_and_others_go_on
