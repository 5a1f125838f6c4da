"""What changes at the source is in the warehouse after the next sync, and nothing else is touched.

The list is read in pages of 10, so that every story meets page ends.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.model import Window
from cw_pipeline.simulator import UNSTAMPED, Fault, Quirk, Simulator, Tenant
from cw_pipeline.sync.entity_sync import SyncRequest

if TYPE_CHECKING:
    from cw_pipeline.simulator.query import ListRequest
    from tests.story.conftest import Story

TICKETS = "service/tickets"
PATH = "/service/tickets"


@pytest.fixture
def story(story: Story) -> Story:
    story.options |= {"page_size": 10}
    return story


def fill(tenant: Tenant, count: int, **fields: Any) -> None:
    """Tickets 1 to `count`, last touched an hour ago."""
    past = tenant.now() - timedelta(hours=1)
    for own in range(1, count + 1):
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}", **fields}, stamp=past)


def summaries(story: Story) -> dict[int, str]:
    return {own: row["summary"] for own, row in story.table(TICKETS).items()}


def truth(tenant: Tenant) -> dict[int, str]:
    return {own: record["summary"] for own, record in tenant.records(PATH).items()}


def versions(story: Story) -> dict[int, tuple[str, str]]:
    """Where each row lies on disk: a row that was rewritten lies elsewhere."""
    found = story.rows("select id, ctid::text, xmin::text from connectwise.service_tickets")
    return {row["id"]: (row["ctid"], row["xmin"]) for row in found}


def test_a_sync_brings_exactly_what_changed_and_leaves_every_other_row_alone(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 35)
    first = story.one(TICKETS)
    assert (first.rows_read, first.rows_inserted) == (35, 35)
    rows, places = story.table(TICKETS), versions(story)
    tenant.advance(3600)
    for own in (1, 10, 35):
        tenant.edit(PATH, own, summary=f"edited {own}")
    tenant.put(PATH, {"id": 36, "summary": "new"})
    second = story.one(TICKETS)
    assert (second.rows_read, second.rows_updated, second.rows_inserted) == (4, 3, 1)
    assert summaries(story) == truth(tenant)
    now, moved = story.table(TICKETS), versions(story)
    assert {own for own in rows if now[own] != rows[own]} == {1, 10, 35}
    assert {own for own in rows if moved[own] != places[own]} == {1, 10, 35}
    assert all(now[own]["_synced_at"] > rows[own]["_synced_at"] for own in (1, 10, 35))


def test_a_sync_with_nothing_new_costs_one_request_and_rewrites_nothing(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 35)
    story.one(TICKETS)
    places = versions(story)
    tenant.advance(3600)
    story.simulator.requests.clear()
    assert story.one(TICKETS).requests == 1
    assert story.simulator.count_by_path()[PATH] == 1
    assert versions(story) == places


def test_what_the_overlap_reads_again_is_not_rewritten(story: Story, tenant: Tenant) -> None:
    fill(tenant, 5)
    tenant.edit(PATH, 3, summary="just now")
    story.one(TICKETS)
    places = versions(story)
    report = story.one(TICKETS)
    assert (report.rows_read, report.rows_unchanged, report.rows_updated) == (1, 1, 0)
    assert versions(story) == places


def test_a_field_that_was_cleared_at_the_source_is_cleared_here(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 3, contactName="Ann", site={"id": 4, "name": "Main"})
    story.one(TICKETS)
    tenant.edit(PATH, 2, contactName=None, site={})
    story.one(TICKETS)
    row = story.table(TICKETS)[2]
    assert (row["contact_name"], row["site_id"]) == (None, None)


def test_edits_behind_and_ahead_of_the_cursor_are_in_after_the_next_sync(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 50)
    pages: list[int] = []

    def edit(path: str, asked: ListRequest) -> None:
        if path == PATH and asked.page_id and len(pages) < 4:
            pages.append(asked.page_id)
            tenant.advance(400)  # more than the overlap from page to page
            tenant.edit(PATH, 1 + len(pages), summary=f"behind, page {len(pages)}")
            tenant.edit(PATH, 50, summary=f"all day long {len(pages)}")
            tenant.put(PATH, {"summary": "born meanwhile"})

    story.simulator.before_page(edit)
    story.one(TICKETS)
    assert len(pages) > 3
    story.simulator._page_watchers.clear()
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_a_later_edit_seen_on_the_way_does_not_hide_an_earlier_one(
    story: Story, tenant: Tenant
) -> None:
    """The watermark is when the pass began, not the newest stamp it saw."""
    fill(tenant, 20)
    story.one(TICKETS)
    tenant.advance(3600)
    for own in range(1, 21):
        tenant.edit(PATH, own, summary="second round")

    def edit(path: str, asked: ListRequest) -> None:
        if path == PATH and asked.page_id == 10:
            tenant.advance(1000)
            tenant.edit(PATH, 1, summary="behind the cursor")
            tenant.advance(1000)
            tenant.edit(PATH, 20, summary="ahead of it, and later")

    story.simulator.before_page(edit)
    story.one(TICKETS)
    story.simulator._page_watchers.clear()
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_an_edit_behind_the_cursor_of_a_pass_cut_short_is_found_however_late_it_is_resumed(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 90)

    def deny(path: str, asked: ListRequest) -> None:
        if path == PATH and asked.page_id == 20:
            story.simulator.role.forbid(PATH)

    story.simulator.before_page(deny)
    assert story.sync(TICKETS)[TICKETS].failure is not None
    assert 0 < len(summaries(story)) < 90
    story.simulator._page_watchers.clear()
    story.simulator.role.allow(PATH)
    tenant.advance(1000)
    tenant.edit(PATH, 1, summary="behind the cursor")
    tenant.advance(1000)
    story.one(TICKETS)
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_a_change_stamped_at_the_very_second_the_question_starts_from_is_read(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 5)
    story.one(TICKETS)
    since = story.checkpoint(TICKETS)["watermark"] - timedelta(seconds=300)
    for own in (2, 4):
        changed = {**tenant.get(PATH, own), "summary": "same second"}
        tenant.put(PATH, changed, stamp=since)
    assert story.one(TICKETS).rows_updated == 2
    assert summaries(story) == truth(tenant)


def test_a_change_that_becomes_visible_late_is_found_within_the_overlap(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 5)
    past = tenant.now() - timedelta(seconds=100)
    late = {"id": 6, "summary": "committed late"}
    tenant.put(PATH, late, stamp=past, visible_after=60)
    story.one(TICKETS)
    assert 6 not in summaries(story)
    tenant.advance(120)
    story.one(TICKETS)
    assert summaries(story)[6] == "committed late"


@pytest.mark.parametrize("years", [-10, 10])
def test_the_clock_that_counts_is_the_sources(story: Story, tenant: Tenant, years: int) -> None:
    tenant.advance(years * 365 * 86400)
    fill(tenant, 3)
    before = tenant.now()
    story.one(TICKETS)
    assert before <= story.checkpoint(TICKETS)["watermark"] <= tenant.now()
    tenant.advance(3600)
    tenant.edit(PATH, 2, summary="edited")
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_the_watermark_is_the_clock_before_the_first_page_was_asked_for(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 25)
    began = tenant.now()
    story.simulator.before_page(lambda *_: tenant.advance(500))
    story.one(TICKETS)
    assert began <= story.checkpoint(TICKETS)["watermark"] < began + timedelta(seconds=400)


@pytest.mark.parametrize(
    ("ending", "at_once"), [("link", 7), ("empty", 10), ("none", 7), ("link", 1000)]
)
def test_a_short_page_is_never_taken_for_the_last(dsn: str, ending: Any, at_once: int) -> None:
    from tests.story.conftest import Story  # noqa: PLC0415

    tenant = Tenant()
    fill(tenant, 30)
    quirks = {PATH: Quirk(more_rows=3)} if at_once == 1000 else {}
    with Simulator(
        tenant, max_page_size=at_once, forward_only_ending=ending, quirks=quirks
    ) as simulator:
        story = Story(dsn, simulator, tenant, {"page_size": 10})
        story.one(TICKETS)
        assert summaries(story) == truth(tenant)


def test_a_list_without_forward_only_paging_is_read_whole_and_remembered(
    story: Story, tenant: Tenant
) -> None:
    story.simulator.quirks[PATH] = Quirk(no_forward_only=True)
    fill(tenant, 45)
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)
    (seen,) = story.rows("select forward_only from cw_sync.capability")
    assert seen["forward_only"] is False
    tenant.advance(3600)
    tenant.edit(PATH, 44, summary="edited")
    report = story.one(TICKETS)
    assert (report.rows_read, report.requests) == (1, 2)
    assert summaries(story) == truth(tenant)


@pytest.mark.parametrize(
    "quirk", [Quirk(ignores_updated=True), Quirk(refuses_conditions=True)], ids=str
)
def test_a_list_that_does_not_filter_is_read_whole_each_time(
    story: Story, tenant: Tenant, quirk: Quirk
) -> None:
    story.simulator.quirks[PATH] = quirk
    fill(tenant, 45)
    story.one(TICKETS)
    tenant.advance(3600)
    tenant.edit(PATH, 44, touch=False, summary="edited without a stamp")
    tenant.delete(PATH, 12)
    assert story.one(TICKETS).rows_updated == 1
    assert summaries(story) == truth(tenant)
    (seen,) = story.rows("select filterable from cw_sync.capability")
    assert seen["filterable"] is False


def test_a_list_whose_records_carry_no_stamp_is_read_whole_each_time(
    story: Story, tenant: Tenant
) -> None:
    for own in range(1, 16):
        tenant.put(PATH, {"id": own, "summary": "unstamped"}, stamp=UNSTAMPED)
    story.one(TICKETS)
    tenant.edit(PATH, 14, touch=False, summary="edited")
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_a_list_without_stamps_is_known_as_such_though_its_first_load_was_interrupted(
    story: Story, tenant: Tenant
) -> None:
    """The pass that ends the load finds no record any more that could show it."""
    for own in range(1, 6):
        tenant.put(PATH, {"id": own, "summary": "unstamped"}, stamp=UNSTAMPED)
    story.simulator.faults.add(Fault("reset", path=PATH, at=range(2, 999)))
    assert story.sync(TICKETS)[TICKETS].failure is not None
    assert len(story.table(TICKETS)) == 5
    story.simulator.faults.clear()
    story.one(TICKETS)
    tenant.edit(PATH, 4, touch=False, summary="edited")
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_one_refusal_that_is_not_about_the_condition_does_not_change_how_a_list_is_read(
    story: Story, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tenant, 5)
    story.one(TICKETS)
    monkeypatch.setattr(story.simulator.limit, "wait", _redirected)
    report = story.sync(TICKETS)[TICKETS]
    assert report.failure is not None
    monkeypatch.undo()
    tenant.edit(PATH, 2, summary="edited")
    assert story.one(TICKETS).rows_updated == 1
    (seen,) = story.rows("select filterable from cw_sync.capability")
    assert seen["filterable"] is None
    assert summaries(story) == truth(tenant)


def _redirected() -> int:
    from cw_pipeline.simulator.answers import Answer, Refusal  # noqa: PLC0415

    raise Refusal(Answer(409, b'{"code":"Conflict","message":"record in use"}'))


def test_a_backfill_reads_its_window_again_and_leaves_the_watermark_alone(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 25)
    story.one(TICKETS)
    before = story.checkpoint(TICKETS)
    past = tenant.now() - timedelta(days=30)
    tenant.put(PATH, {"id": 3, "summary": "changed in the past"}, stamp=past)
    tenant.put(PATH, {"id": 90, "summary": "outside the window"}, stamp=past - timedelta(days=9))
    window = Window(past - timedelta(days=1), past + timedelta(days=1))
    report = story.one(TICKETS, SyncRequest(window=window, closed=True))
    assert report.rows_read == 1
    assert story.table(TICKETS)[3]["summary"] == "ticket 3"  # what is stored is newer
    assert 90 not in summaries(story)
    after = story.checkpoint(TICKETS)
    assert (after["watermark"], after["pass_until"]) == (before["watermark"], None)


def test_a_full_sync_finds_what_never_moved_its_stamp(story: Story, tenant: Tenant) -> None:
    fill(tenant, 25)
    story.one(TICKETS)
    tenant.edit(PATH, 7, touch=False, summary="silently")
    assert story.one(TICKETS).rows_read == 0
    assert story.one(TICKETS, SyncRequest(full=True)).rows_updated == 1
    assert summaries(story) == truth(tenant)


def test_an_empty_list_is_complete_through_now(story: Story) -> None:
    story.one(TICKETS)
    (fresh,) = story.rows("select * from cw_sync.freshness")
    age = datetime.now(UTC) - fresh["data_complete_through"]
    assert age < timedelta(minutes=1)
    assert fresh["last_status"] == "done"


def test_every_run_accounts_for_every_record_it_read(story: Story, tenant: Tenant) -> None:
    fill(tenant, 35)
    tenant.put(PATH, {"id": 36, "summary": {"no": "text"}})
    story.one(TICKETS)
    tenant.edit(PATH, 5, summary="edited")
    story.one(TICKETS)
    runs = story.rows("select * from cw_sync.run order by run_id")
    assert [run["status"] for run in runs] == ["done", "done"]
    for run in runs:
        parts = ("rows_inserted", "rows_updated", "rows_unchanged", "dead_letters")
        assert run["rows_read"] == sum(run[part] for part in parts)


def test_records_without_a_stamp_that_come_into_an_empty_list_are_read(
    story: Story, tenant: Tenant
) -> None:
    """The list is documented to have `lastUpdated`, and no window shows records without it."""
    story.one(TICKETS)
    story.one(TICKETS)
    for own in range(1, 26):
        tenant.put(PATH, {"id": own, "summary": "unstamped"}, stamp=UNSTAMPED)
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)
    tenant.put(PATH, {"id": 26, "summary": "another"}, stamp=UNSTAMPED)
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)
