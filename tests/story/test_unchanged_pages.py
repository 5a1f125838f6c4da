"""What is stored as it is read is not typed again, and nothing that changed hides behind that."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.simulator import Quirk
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.warehouse import open_store

if TYPE_CHECKING:
    from cw_pipeline.model import SyncResult
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS = "service/tickets"
PATH = "/service/tickets"
COUNT = 250
FULL = SyncRequest(full=True)


@pytest.fixture
def story(story: Story, tenant: Tenant) -> Story:
    """Some hundred tickets with a custom field each, synced in pages that are large."""
    past = tenant.now() - timedelta(hours=1)
    for own in range(1, COUNT + 1):
        fields = [{"id": 1, "caption": "Rack", "value": own}]
        record = {"id": own, "summary": f"ticket {own}", "customFields": fields, "mood": "calm"}
        tenant.put(PATH, record, stamp=past)
    story.one(TICKETS)
    tenant.advance(3600)
    return story


def written(report: SyncResult) -> tuple[int, int, int]:
    assert report.rows_read == sum(
        (report.rows_inserted, report.rows_updated, report.rows_unchanged, report.dead_letters)
    )
    return report.rows_inserted, report.rows_updated, report.dead_letters


def typed(story: Story) -> int:
    """Rows whose record would have to be typed to be known again."""
    (row,) = story.rows(
        "select count(*) from connectwise.service_tickets where _source_hash is null"
    )
    return int(row["count"])


def summaries(story: Story) -> dict[int, str]:
    return {own: row["summary"] for own, row in story.table(TICKETS).items()}


def truth(tenant: Tenant) -> dict[int, str]:
    return {own: record["summary"] for own, record in tenant.records(PATH).items()}


def test_reading_all_of_it_again_writes_just_what_changed(story: Story, tenant: Tenant) -> None:
    assert typed(story) == 0
    assert written(story.one(TICKETS, plan=FULL)) == (0, 0, 0)
    tenant.edit(PATH, 7, touch=False, summary="silently")
    tenant.edit(PATH, 8, summary="with a stamp")
    tenant.edit(PATH, 9, touch=False, customFields=[{"id": 1, "caption": "Rack", "value": -9}])
    tenant.put(PATH, {"id": COUNT + 1, "summary": "new"})
    tenant.put(PATH, {"id": COUNT + 2, "summary": "new", "closedFlag": {"not": "a flag"}})
    assert written(story.one(TICKETS, plan=FULL)) == (1, 3, 1)
    assert summaries(story) | {COUNT + 2: "new"} == truth(tenant)
    (field,) = story.rows(
        "select value from connectwise.service_tickets__custom_fields where parent_id = 9"
    )
    assert field["value"] == -9


def test_a_row_that_was_written_by_hand_is_read_again(story: Story, tenant: Tenant) -> None:
    change = "update connectwise.service_tickets set"
    where = "where id = any(%s) returning id"
    story.rows(f"{change} summary = 'by hand', _row_hash = 0 {where}", [1, 2])
    story.rows(
        f"{change} summary = 'by hand', last_updated = now() - '9 days'::interval {where}", [3]
    )
    story.rows(f"{change} _deleted_at = now() {where}", [4])
    story.rows("delete from connectwise.service_tickets where id = 5 returning id")
    assert written(story.one(TICKETS, plan=FULL)) == (1, 4, 0)
    assert summaries(story) == truth(tenant)


def test_a_field_that_has_become_a_column_is_read_from_every_record(story: Story) -> None:
    with story.engine() as engine, open_store(engine.database, CATALOG[TICKETS], "full") as hold:
        before = hold.stored_hashes(range(1, COUNT + 1))
    assert len(before) == COUNT
    with psycopg.connect(story.dsn) as connection:
        # Not by hand: such rows are read again for that alone.
        connection.execute("set cw_pipeline.writes = 'on'")
        connection.execute("update connectwise.service_tickets set _extra = null")
    story.rows(
        "insert into cw_sync.promoted_column (tenant, entity, path, column_name, kind)"
        " values ('connectwise', %s, '{mood}', 'mood', 'text') returning entity",
        TICKETS,
    )
    report = story.one(TICKETS, plan=FULL)
    assert report.rows_updated == COUNT
    assert {row["mood"] for row in story.table(TICKETS).values()} == {"calm"}


def test_a_list_that_turns_out_to_be_in_no_order_is_still_noticed(
    story: Story, tenant: Tenant
) -> None:
    story.simulator.quirks[PATH] = Quirk(no_forward_only=True)
    tenant.edit(PATH, 200, touch=False, summary="silently")
    assert story.one(TICKETS, plan=FULL, page_size=120).rows_updated == 1
    (seen,) = story.rows("select forward_only from cw_sync.capability")
    assert seen["forward_only"] is False
    story.simulator.quirks[PATH] = Quirk(no_forward_only=True, refuses_conditions=True)
    tenant.put(PATH, {"id": COUNT + 1, "summary": "behind two pages that are as they were"})
    report = story.one(TICKETS, plan=FULL, page_size=120)
    assert (report.rows_read, report.rows_inserted) == (COUNT + 1, 1), "paged by number"
