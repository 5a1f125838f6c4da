"""The nightly re-read finds within N nights what changed although `lastUpdated` did not move."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.sync.reconcile import reconcile_all, reread_all

if TYPE_CHECKING:
    from cw_pipeline.model import Audit
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS = "service/tickets"
PATH = "/service/tickets"
COUNT = 70


@pytest.fixture
def story(story: Story, tenant: Tenant) -> Story:
    """Seventy tickets, synced; pages of 5."""
    story.options |= {"page_size": 5}
    past = tenant.now() - timedelta(hours=1)
    for own in range(1, COUNT + 1):
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}"}, stamp=past)
    story.one(TICKETS)
    tenant.advance(3600)
    return story


def some_nights(story: Story, count: int, nights: int = 14) -> list[Audit]:
    """The audits of so many nights of a rotation that takes `nights`."""
    with story.engine() as engine:
        chosen = [CATALOG[TICKETS]]
        return [a for _ in range(count) for a in reread_all(chosen, engine, nights=nights)]


def night(story: Story, nights: int = 14) -> Audit:
    return some_nights(story, 1, nights)[0]


def summaries(story: Story) -> dict[int, str]:
    return {own: row["summary"] for own, row in story.table(TICKETS).items()}


def truth(tenant: Tenant) -> dict[int, str]:
    return {own: record["summary"] for own, record in tenant.records(PATH).items()}


def test_the_slices_of_fourteen_nights_are_the_whole_list(story: Story, tenant: Tenant) -> None:
    for own in range(1, COUNT + 1):
        tenant.edit(PATH, own, touch=False, summary=f"silently {own}")
    assert story.one(TICKETS).rows_read == 0
    with story.engine() as engine:
        (audit,) = reconcile_all([CATALOG[TICKETS]], engine)
    assert audit.stale == 0  # no stamp moved: a sweep cannot see it
    audits = some_nights(story, 14)
    assert [audit.drift for audit in audits] == [5] * 14
    assert [audit.source_rows for audit in audits] == [5] * 14
    assert summaries(story) == truth(tenant)
    tenant.edit(PATH, 1, touch=False, summary="just after its turn")
    assert [audit.drift for audit in some_nights(story, 14)] == [1, *[0] * 13]


def test_one_night_for_all_of_it_means_that_night_wherever_the_rotation_was(
    story: Story, tenant: Tenant
) -> None:
    assert night(story).source_rows == 5
    tenant.edit(PATH, 1, touch=False, summary="behind the rotation")
    audit = night(story, nights=1)
    assert (audit.source_rows, audit.drift) == (COUNT, 1)


def test_drift_is_healed_counted_and_written_down_and_new_edits_are_no_drift(
    story: Story, tenant: Tenant
) -> None:
    tenant.edit(PATH, 2, touch=False, summary="silently")
    tenant.edit(PATH, 3, summary="with a stamp")
    audit = night(story, nights=1)
    assert (audit.drift, audit.healed) == (1, 2)
    assert summaries(story) == truth(tenant)
    (kept,) = story.rows("select * from cw_sync.audit where kind = 'reread'")
    assert (kept["drift"], kept["healed"], kept["proven"]) == (1, 2, False)
    run = story.rows("select * from cw_sync.run order by run_id desc limit 1")[0]
    assert (run["kind"], run["status"], run["rows_read"]) == ("reread", "done", COUNT)
    assert run["rows_read"] == run["rows_updated"] + run["rows_unchanged"]


def test_a_server_that_makes_small_pages_does_not_slow_the_rotation_down(
    story: Story, tenant: Tenant
) -> None:
    story.simulator.max_page_size = 2
    for own in range(1, COUNT + 1):
        tenant.edit(PATH, own, touch=False, summary=f"silently {own}")
    some_nights(story, 14)
    assert summaries(story) == truth(tenant)


def test_a_night_that_fails_is_made_up_for_by_the_next(story: Story, tenant: Tenant) -> None:
    night(story)
    story.simulator.role.forbid(PATH)
    assert night(story).failure is not None
    story.simulator.role.allow(PATH)
    tenant.edit(PATH, 6, touch=False, summary="silently")
    assert night(story).drift == 1
