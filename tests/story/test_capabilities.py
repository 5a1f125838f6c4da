"""Lists that do not do what their documentation says are kept all the same, and remembered."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.simulator import Fault, Quirk
from cw_pipeline.sync.capabilities import probe_all
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.sync.reconcile import reconcile_all

if TYPE_CHECKING:
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS = "service/tickets"
PATH = "/service/tickets"
STATUSES = "service/boards/statuses"

ODD = {
    "ignores fields": Quirk(ignores_fields=True),
    "refuses orderBy": Quirk(refuses_order=True),
    "ignores conditions on id": Quirk(ignores_ids=True),
    "ignores fields and lastUpdated": Quirk(ignores_fields=True, ignores_updated=True),
    "no forward-only": Quirk(no_forward_only=True),
    "no forward-only, refuses orderBy": Quirk(no_forward_only=True, refuses_order=True),
    "no forward-only, ignores conditions on id": Quirk(no_forward_only=True, ignores_ids=True),
    "no forward-only, refuses conditions": Quirk(no_forward_only=True, refuses_conditions=True),
    "none of it": Quirk(
        no_forward_only=True,
        refuses_conditions=True,
        refuses_order=True,
        ignores_fields=True,
        no_count=True,
    ),
}


@pytest.fixture
def story(story: Story, tenant: Tenant) -> Story:
    story.options |= {"page_size": 10}
    past = tenant.now() - timedelta(hours=1)
    for own in range(1, 46):
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}"}, stamp=past)
    return story


def summaries(story: Story) -> dict[int, str]:
    return {own: row["summary"] for own, row in story.table(TICKETS).items()}


def capability(story: Story, name: str = TICKETS) -> dict[str, Any]:
    (row,) = story.rows("select * from cw_sync.capability where entity = %s", name)
    return row


@pytest.mark.parametrize("quirk", ODD.values(), ids=ODD.keys())
def test_an_odd_list_is_kept_in_step_and_proven(quirk: Quirk, story: Story, tenant: Tenant) -> None:
    story.simulator.quirks[PATH] = quirk
    assert story.one(TICKETS).rows_inserted == 45
    tenant.advance(3600)
    tenant.edit(PATH, 30, summary="edited")
    tenant.put(PATH, {"id": 46, "summary": "new"})
    tenant.delete(PATH, 7)
    report = story.one(TICKETS)
    assert (report.rows_updated, report.rows_inserted) == (1, 1)
    with story.engine(entities=TICKETS) as engine:
        (audit,) = reconcile_all([CATALOG[TICKETS]], engine)
    assert audit.failure is None
    truth = {own: record["summary"] for own, record in tenant.records(PATH).items()}
    assert summaries(story) == truth
    again = story.one(TICKETS, plan=SyncRequest(full=True))
    assert (again.rows_updated, again.rows_inserted, again.rows_deleted) == (0, 0, 0)


def test_children_of_a_list_without_any_paging_by_id_are_kept(story: Story, tenant: Tenant) -> None:
    tenant.put("/service/boards", {"id": 1, "name": "Board"})
    for own in range(1, 25):
        tenant.put("/service/boards/1/statuses", {"id": own, "name": f"status {own}"})
    story.simulator.quirks["/service/boards/*/statuses"] = Quirk(
        no_forward_only=True, refuses_conditions=True, refuses_order=True
    )
    reports = story.sync("service/boards", STATUSES)
    assert reports[STATUSES].failure is None
    assert reports[STATUSES].rows_inserted == 24
    assert capability(story, STATUSES)["forward_only"] is False


def test_a_list_that_shows_no_id_and_its_first_page_only_comes_to_an_end(story: Story) -> None:
    story.simulator.quirks[PATH] = Quirk(no_forward_only=True, ignores_page=True)
    story.simulator.faults.add(Fault("wrong_type", PATH, ids=range(1, 46), field="id", value=[]))
    assert story.one(TICKETS).rows_inserted == 0
    assert len(story.rows("select from cw_sync.dead_letter")) == 10


def probed(story: Story) -> dict[str, Any]:
    with story.engine(entities=TICKETS) as engine:
        (found,) = probe_all([CATALOG[TICKETS]], engine.source, engine.database, deep=True)
    stored = capability(story)
    assert {name: stored[name] for name in found.found_out} == found.found_out
    return found.found_out


def test_a_deep_check_finds_and_stores_what_a_list_does(story: Story) -> None:
    assert probed(story) == {
        "readable": True,
        "count": True,
        "filterable": True,
        "forward_only": True,
        "by_id": True,
    }
    story.simulator.quirks[PATH] = Quirk(ignores_updated=True, no_forward_only=True, no_count=True)
    assert probed(story) == {
        "readable": True,
        "count": False,
        "filterable": False,
        "forward_only": False,
        "by_id": True,
    }


def test_what_a_check_found_is_obeyed_by_the_next_sync_without_trying(story: Story) -> None:
    story.simulator.quirks[PATH] = Quirk(ignores_updated=True, no_forward_only=True)
    probed(story)
    story.simulator.requests.clear()
    report = story.one(TICKETS)
    assert (report.rows_inserted, report.warnings) == (45, [])
    asked = [seen for seen in story.simulator.requests if seen.path == PATH]
    assert asked
    assert not any("pageId" in seen.query or "lastUpdated" in str(seen.query) for seen in asked)
