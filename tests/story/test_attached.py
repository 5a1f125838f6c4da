"""Audit trails and documents of chosen kinds of records, read as those records change."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from cw_pipeline import composition
from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.connectwise import path_for
from cw_pipeline.errors import ConfigError
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities

if TYPE_CHECKING:
    from cw_pipeline.model import SyncResult
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TRAIL = "service/tickets/auditTrail"
DOCUMENTS = "service/tickets/attachedDocuments"
CHOSEN = {"entities": "service/tickets", "audit_trail": "Ticket", "documents": "ticket"}


@pytest.fixture
def tenant(tenant: Tenant) -> Tenant:
    for own in (1, 2):
        past = tenant.now() - timedelta(hours=1)
        info = {"dateEntered": "2026-01-01T00:00:00Z", "enteredBy": "ann"}
        record = {"id": own, "summary": f"t {own}", "_info": info}
        tenant.put("/service/tickets", record, stamp=past)
        tenant.put(f"/system/documents/ticket/{own}", {"id": 10 + own, "title": f"d {own}"})
    return tenant


def synced(story: Story) -> dict[str, SyncResult]:
    with story.engine(children_share=0.000001, **CHOSEN) as engine:
        chosen = composition.entities(story.settings(**CHOSEN))
        reports = {report.entity: report for report in sync_entities(chosen, engine, SyncRequest())}
    failures = [report.failure for report in reports.values() if report.failure]
    assert failures == []
    return reports


def test_chosen_records_have_their_audit_trail_and_documents(story: Story) -> None:
    assert {*synced(story)} == {"service/tickets", TRAIL, DOCUMENTS}
    trail = story.rows("select * from connectwise.service_tickets_audit_trail order by 1, 2")
    assert [(row["parent_id"], row["_position"]) for row in trail] == [
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
    ]
    assert trail[0]["text"] == "Ticket #1 has been created."
    documents = story.rows("select * from connectwise.service_tickets_attached_documents")
    assert {(row["parent_id"], row["id"], row["title"]) for row in documents} == {
        (1, 11, "d 1"),
        (2, 12, "d 2"),
    }
    asked = [s for s in story.simulator.requests if s.path == "/system/audittrail"]
    assert {s.query["type"] for s in asked} == {"Ticket"}
    assert not any("pageId" in s.query or s.forward_only for s in asked)


def test_they_are_read_again_for_records_that_changed(story: Story, tenant: Tenant) -> None:
    synced(story)
    tenant.advance(3600)
    tenant.edit("/service/tickets", 2, summary="edited")
    tenant.put("/system/documents/ticket/2", {"id": 13, "title": "new"})
    story.simulator.requests.clear()
    assert synced(story)[DOCUMENTS].rows_inserted == 1
    ids = {s.query["id"] for s in story.simulator.requests if s.path == "/system/audittrail"}
    assert "2" in ids
    (row,) = story.rows(
        "select entered_date from connectwise.service_tickets_audit_trail"
        " where parent_id = 2 and audit_sub_type = 'Updated'"
    )
    assert row["entered_date"] == tenant.get("/service/tickets", 2)["_info"]["lastUpdated"]


def test_a_trail_of_more_than_a_page_is_read_to_its_end(story: Story) -> None:
    story.options |= {"page_size": 1}
    synced(story)
    assert len(story.rows("select 1 from connectwise.service_tickets_audit_trail")) == 4


def test_nothing_but_their_names_chooses_them() -> None:
    assert not any(e.name in CATALOG.attached for e in select("all,service/*,core"))
    assert [e.name for e in select("service_tickets_audit_trail")] == [TRAIL]
    addition = CATALOG["finance/agreements/additions/auditTrail"]
    assert path_for(addition.path, [3, 4]) == "/system/audittrail?type=AgreementAddition&id=4"


def test_an_unknown_kind_of_record_is_refused_with_those_there_are(story: Story) -> None:
    with pytest.raises(ConfigError, match=r"CW_AUDIT_TRAIL: 'Tickets' is not known; .*Ticket"):
        composition.entities(story.settings(audit_trail="Tickets"))
