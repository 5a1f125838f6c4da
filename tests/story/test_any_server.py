"""What role and database set by default changes no result, with or without a pooler."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import psycopg

from cw_pipeline.catalog import CATALOG
from cw_pipeline.cli.status import read
from cw_pipeline.reporting import entities, publish, refresh
from cw_pipeline.reporting.frames import frame
from cw_pipeline.reporting.selection import Selection
from cw_pipeline.sync.reconcile import reconcile_all
from cw_pipeline.warehouse import migrate

if TYPE_CHECKING:
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

COMPANIES, TICKETS, FIELDS = "company/companies", "service/tickets", "system/userDefinedFields"
NAME = "Müller № 2 😀"


def fill(tenant: Tenant) -> None:
    tenant.put("/company/companies", {"id": 1, "name": NAME, "identifier": "m"})
    screen = {"screenId": "service_tickets_custom_fields", "podId": 1}
    fields = []
    for own, caption, kind, value in (
        (12, "Warranty", "Date", "2026-03-31T00:00:00Z"),
        (13, "Seats", "Number", "2.50"),
    ):
        defined = {"id": own, "caption": caption, "fieldTypeIdentifier": kind}
        tenant.put("/system/userDefinedFields", {**defined, **screen})
        fields.append({"id": own, "caption": caption, "type": kind, "value": value})
    for own in range(1, 4):
        record = {"id": own, "summary": f"{NAME} {own}", "company": {"id": 1, "name": NAME}}
        tenant.put("/service/tickets", {**record, "customFields": fields})


def check_everything(story: Story, tenant: Tenant) -> None:
    """First load, changes, history, proof, status, reports, masking: as with usual defaults."""
    lists = (COMPANIES, TICKETS, FIELDS)
    fill(tenant)
    first = story.sync(*lists)
    assert [report.failure for report in first.values()] == [None] * 3
    tenant.advance(600)
    tenant.edit("/service/tickets", 1, owner={"id": 9, "identifier": "x", "name": "X"})
    story.one(TICKETS)
    tenant.advance(600)
    tenant.edit("/service/tickets", 1, owner=None, summary="new")
    assert story.one(TICKETS).rows_updated == 1
    with story.engine(entities=",".join(lists)) as engine:
        audits = reconcile_all([CATALOG[name] for name in lists], engine)
        assert [audit.proven for audit in audits] == [True] * 3
    migrate(story.dsn, "connectwise", entities())
    publish(story.dsn, "connectwise")

    assert frame(story.dsn, Selection("connectwise.company_companies"))["name"].tolist() == [NAME]
    kept = frame(story.dsn, Selection("reporting.fct_change", "attribute = 'owner_id'"))
    assert sorted(kept["value"].fillna("none")) == ["9", "none"]
    status = {entity.entity: entity for entity in read(story.settings())}
    assert status[TICKETS].rows == 3
    assert status[TICKETS].age is not None
    assert abs(status[TICKETS].age.total_seconds()) < 86_400

    shown = Selection("reporting.fct_change", "attribute = 'summary'")
    assert frame(story.dsn, shown)["value"].tolist() == [f"{NAME} 1"]
    with story.engine(entities=TICKETS, drop_columns="service_tickets.summary"):
        refresh(story.dsn, "connectwise")
    assert frame(story.dsn, shown)["value"].tolist() == []
    assert frame(story.dsn, Selection("reporting.fct_ticket"))["summary"].isna().all()


def test_odd_defaults_change_nothing(hostile_story: Story, tenant: Tenant) -> None:
    check_everything(hostile_story, tenant)


def test_odd_defaults_change_nothing_through_a_pooler(
    pooled_hostile_story: Story, tenant: Tenant
) -> None:
    check_everything(pooled_hostile_story, tenant)


def test_a_reader_with_odd_defaults_sees_the_same(hostile_story: Story, tenant: Tenant) -> None:
    """Functions in our views are parsed in the reader's session, with the reader's settings."""
    story = hostile_story
    fill(tenant)
    story.sync(TICKETS, FIELDS)
    with psycopg.connect(story.dsn, client_encoding="UTF8", prepare_threshold=None) as reader:
        rows = reader.execute(
            "select cf_13_seats, to_char(cf_12_warranty, 'YYYY-MM-DD')"
            " from connectwise.service_tickets__custom"
        ).fetchall()
    assert rows == [(Decimal("2.50"), "2026-03-31")] * 3
