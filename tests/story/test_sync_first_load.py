"""A first load reads ranges of ids side by side; a crash anywhere in it loses nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.simulator import CLIENT_ID, Fault, Quirk

if TYPE_CHECKING:
    from cw_pipeline.simulator import Tenant
    from cw_pipeline.simulator.query import ListRequest
    from tests.story.conftest import Story

TICKETS = "service/tickets"
PATH = "/service/tickets"
DENSE = range(100_001, 100_701)
RUNNER = textwrap.dedent("""
    from cw_pipeline.pipeline import Pipeline
    from cw_pipeline.catalog import CATALOG
    from cw_pipeline.settings import Settings
    from cw_pipeline.sync.entity_sync import SyncRequest, sync_entity

    with Pipeline(Settings.read()) as front_door:
        engine = front_door.connect()
        sync_entity(CATALOG["service/tickets"], engine, SyncRequest())
""")


@pytest.fixture
def story(story: Story) -> Story:
    story.options |= {"page_size": 10}
    return story


def fill(tenant: Tenant, ids: range) -> None:
    past = tenant.now() - timedelta(hours=1)
    for own in ids:
        notes = {"customFields": [{"id": 1, "caption": "Rack", "value": f"{own}"}]}
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}", **notes}, stamp=past)


def summaries(story: Story) -> dict[int, str]:
    return {own: row["summary"] for own, row in story.table(TICKETS).items()}


def truth(tenant: Tenant) -> dict[int, str]:
    return {own: record["summary"] for own, record in tenant.records(PATH).items()}


def run_until(story: Story, pages: int) -> int:
    """Syncs in a process of its own, killed as the n-th page is asked for: how many were asked."""
    environment = {
        **os.environ,
        "CW_SITE": story.simulator.url,
        "CW_COMPANY": "demo",
        "CW_PUBLIC_KEY": "public",
        "CW_PRIVATE_KEY": "private",
        "CW_CLIENT_ID": CLIENT_ID,
        "CW_WAREHOUSE_DSN": story.dsn,
        "CW_ENTITIES": TICKETS,
        "CW_PAGE_SIZE": "10",
        "CW_REQUESTS_PER_MINUTE": "1000000",
    }
    runner = subprocess.Popen([sys.executable, "-c", RUNNER], env=environment)
    asked: list[int] = []

    def kill(path: str, _: ListRequest) -> None:
        asked.append(1)
        if path == PATH and len(asked) == pages:
            runner.send_signal(signal.SIGKILL)

    story.simulator.before_page(kill)
    assert runner.wait(timeout=100) == -signal.SIGKILL
    story.simulator._page_watchers.clear()
    return len(asked)


def test_ranges_of_ids_with_gaps_are_all_read(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 100))
    fill(tenant, range(1000, 1500, 7))
    report = story.one(TICKETS)
    assert summaries(story) == truth(tenant)
    assert report.rows_read == len(truth(tenant))
    asked = [seen.query.get("conditions", "") for seen in story.simulator.requests]
    assert sum("id <=" in conditions for conditions in asked) > 3
    assert story.rows("select * from cw_sync.id_range") == []


def asked_for_dense(story: Story) -> Counter[str]:
    """How many pages of the dense ids each range of theirs has asked for, by its upper end."""
    return Counter(
        found[1]
        for seen in story.simulator.requests
        if (found := re.search(r"id <= (\d+)", seen.query.get("conditions", "")))
        and int(seen.query["pageId"]) >= DENSE.start - 1
    )


def test_a_dense_range_is_shared_with_the_lanes_that_are_free(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 20))
    fill(tenant, DENSE)
    story.simulator.latency = 0.02
    report = story.one(TICKETS)
    assert summaries(story) == truth(tenant)
    asked = asked_for_dense(story)
    pages = -(-len(truth(tenant)) // 10)
    assert max(asked.values()) < pages / 2  # nobody read the most of it alone
    ranges = len({seen.query.get("conditions", "") for seen in story.simulator.requests})
    assert report.requests <= pages + 2 * (ranges + 1)


def test_a_load_that_is_killed_after_sharing_resumes_with_every_share(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, range(1, 20))
    fill(tenant, DENSE)
    story.simulator.latency = 0.02
    run_until(story, 40)
    open_ranges = story.rows("select * from cw_sync.id_range where upto >= %s", DENSE.start)
    assert len(open_ranges) > 1
    loaded = len(summaries(story))
    assert 0 < loaded < len(truth(tenant))
    report = story.one(TICKETS)
    assert report.rows_read <= len(truth(tenant)) - loaded
    assert summaries(story) == truth(tenant)


def test_what_is_born_and_edited_during_a_first_load_is_in_after_the_next_sync(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, range(1, 200))
    pages: list[int] = []

    def edit(path: str, asked: ListRequest) -> None:
        if path == PATH and len(pages) < 12:
            pages.append(asked.page_id)
            tenant.advance(400)
            tenant.edit(PATH, 3, summary=f"behind {len(pages)}")
            tenant.edit(PATH, 150 + len(pages), summary="somewhere")
            tenant.put(PATH, {"summary": "born meanwhile"})

    story.simulator.before_page(edit)
    story.one(TICKETS)
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


@pytest.mark.parametrize("pages", [2, 14])
def test_a_killed_first_load_resumes_where_it_was_and_loses_nothing(
    story: Story, tenant: Tenant, pages: int
) -> None:
    fill(tenant, range(1, 300))
    run_until(story, pages)
    open_pass = story.checkpoint(TICKETS)
    assert open_pass["watermark"] is None
    assert open_pass["pass_until"] is not None
    loaded = len(summaries(story))
    # Every row that is in came with the cursor that covers it: nothing ahead of the cursors.
    assert 0 < loaded < 299 if pages > 2 else loaded <= 10
    tenant.edit(PATH, 1, summary="edited after the crash")
    report = story.one(TICKETS)
    assert report.rows_read <= 299 - loaded + 1
    assert summaries(story) == truth(tenant)
    assert story.checkpoint(TICKETS)["watermark"] >= open_pass["pass_until"]
    (fields,) = story.rows("select count(*) from connectwise.service_tickets__custom_fields")
    assert fields["count"] == 299


def test_a_killed_pass_goes_on_with_its_own_window(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 60))
    story.one(TICKETS)
    tenant.advance(3600)
    for own in range(1, 60):
        tenant.edit(PATH, own, summary="second round")
    run_until(story, 4)
    open_pass = story.checkpoint(TICKETS)
    tenant.advance(86400)  # a day later everything that was edited is long past the overlap
    tenant.edit(PATH, 2, summary="third round")
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)
    assert open_pass["cursor"] > 0
    assert story.checkpoint(TICKETS)["watermark"] > open_pass["pass_until"]


def test_a_failure_in_a_range_keeps_what_was_read_and_the_next_sync_ends_it(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, range(1, 400))
    story.simulator.faults.add(Fault("reset", at=range(8, 999)))
    report = story.sync(TICKETS)[TICKETS]
    assert report.failure is not None
    loaded = len(summaries(story))
    assert 0 < loaded < 399
    assert story.checkpoint(TICKETS)["watermark"] is None
    story.simulator.faults.clear()
    assert story.one(TICKETS).rows_read <= 399 - loaded
    assert summaries(story) == truth(tenant)


@pytest.mark.parametrize("quirk", [Quirk(no_forward_only=True), Quirk(refuses_conditions=True)])
def test_a_big_list_that_takes_no_ranges_is_loaded_all_the_same(
    story: Story, tenant: Tenant, quirk: Any
) -> None:
    story.simulator.quirks[PATH] = quirk
    fill(tenant, range(1, 120))
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)
