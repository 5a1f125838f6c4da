"""A record that breaks its page is found and set aside; everything around it is read.

The list is read in pages of 8, and asking again does not wait.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from cw_pipeline.errors import SourceError, SourceUnreachable, TooManyRejects
from cw_pipeline.model import Window
from cw_pipeline.simulator import Fault, Quirk
from cw_pipeline.sync.entity_sync import SyncRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS = "service/tickets"
PATH = "/service/tickets"
NOTES = "service/tickets/notes"


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2, cap=True):
        yield


@pytest.fixture
def story(story: Story) -> Story:
    story.options |= {"page_size": 8}
    return story


def fill(tenant: Tenant, *ids: int) -> None:
    """Tickets last touched an hour ago."""
    for own in ids:
        record = {"id": own, "summary": f"ticket {own}"}
        tenant.put(PATH, record, stamp=tenant.now() - timedelta(hours=1))


def loaded(story: Story) -> set[int]:
    return set(story.table(TICKETS))


def letters(story: Story, *, still_open: bool = True) -> dict[int, dict[str, Any]]:
    found = story.rows("select * from cw_sync.dead_letter order by id")
    return {each["record_id"]: each for each in found if not (still_open and each["resolved_at"])}


@pytest.mark.parametrize(
    "poisoned",
    [{12}, {1}, {30}, {8, 9}, {1, 2, 3, 30}, {4, 6, 8, 10, 12}, {17, 18, 19, 20, 21, 22, 23, 24}],
    ids=str,
)
@pytest.mark.parametrize("ids_can_be_read", [True, False])
def test_only_the_poisoned_records_become_dead_letters(
    story: Story, tenant: Tenant, poisoned: set[int], *, ids_can_be_read: bool
) -> None:
    fill(tenant, *range(1, 31))
    story.simulator.faults.add(Fault("poison", ids=poisoned, spares=ids_can_be_read))
    report = story.one(TICKETS)
    assert loaded(story) == set(range(1, 31)) - poisoned
    assert letters(story).keys() == poisoned
    assert (report.rows_read, report.dead_letters) == (30, len(poisoned))


def test_records_between_poisoned_ones_are_not_lost_where_ids_have_gaps(
    story: Story, tenant: Tenant
) -> None:
    """Not even `fields=id` can be read, and ids are far apart: each must still be found."""
    ids = (5, 6, 9, 400, 401, 70_000, 70_001, 70_500, 5_000_000)
    poisoned = {5, 9, 401, 70_000, 5_000_000}
    fill(tenant, *ids)
    story.simulator.faults.add(Fault("poison", ids=poisoned, spares=False))
    story.one(TICKETS)
    assert loaded(story) == set(ids) - poisoned
    assert letters(story).keys() == poisoned


def test_a_dead_letter_holds_the_request_that_failed_and_what_was_answered(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, *range(1, 21))
    story.simulator.faults.add(Fault("poison", ids={13}))
    story.one(TICKETS)
    letter = letters(story)[13]
    assert letter["entity"] == TICKETS
    assert letter["request"].startswith("GET /service/tickets?pageSize=1&pageId=12")
    assert letter["reason"] == "cannot be read"
    assert "500 An unexpected error occurred" in letter["detail"]
    assert '"code":"ServerError"' in letter["detail"]
    assert letter["run_id"] is not None


def test_poison_in_several_ranges_read_side_by_side_is_found_in_each(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, *range(1, 201))
    poisoned = {9, 60, 100, 101, 150, 200}
    story.simulator.faults.add(Fault("poison", ids=poisoned, spares=False))
    story.one(TICKETS)
    assert "id <= " in " ".join(s.query.get("conditions", "") for s in story.simulator.requests)
    assert loaded(story) == set(range(1, 201)) - poisoned
    assert letters(story).keys() == poisoned


def test_poison_in_a_refresh_moves_the_watermark_behind_it_and_comes_back_when_mended(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, *range(1, 21))
    story.one(TICKETS)
    tenant.advance(3600)
    before = story.checkpoint(TICKETS)["watermark"]
    for own in (4, 5, 6):
        tenant.edit(PATH, own, summary="edited")
    story.simulator.faults.add(Fault("poison", ids={5}))
    story.one(TICKETS)
    rows = story.table(TICKETS)
    assert [rows[own]["summary"] for own in (4, 5, 6)] == ["edited", "ticket 5", "edited"]
    assert story.checkpoint(TICKETS)["watermark"] > before
    story.simulator.faults.clear()
    tenant.edit(PATH, 5, summary="mended")
    story.one(TICKETS)
    assert story.table(TICKETS)[5]["summary"] == "mended"
    assert letters(story) == {}
    assert letters(story, still_open=False)[5]["resolution"] == "a good copy was loaded"


def test_a_backfill_goes_on_behind_poison_too(story: Story, tenant: Tenant) -> None:
    fill(tenant, *range(1, 21))
    story.simulator.faults.add(Fault("poison", ids={7}))
    now = tenant.now()
    plan = SyncRequest(window=Window(now - timedelta(hours=2), now), closed=True)
    story.one(TICKETS, plan)
    assert loaded(story) == set(range(1, 21)) - {7}
    assert letters(story).keys() == {7}


def test_poison_among_one_parents_children_leaves_its_siblings_and_cousins_alone(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 1, 2)
    for parent in (1, 2):
        for own in range(1, 13):
            tenant.put(f"{PATH}/{parent}/notes", {"id": own, "text": f"{parent}/{own}"})
    story.simulator.faults.add(Fault("poison", path=f"{PATH}/2/notes", ids={11}))
    story.sync(TICKETS, NOTES)
    found = story.rows("select parent_id, id from connectwise.service_tickets_notes")
    everyone = {(parent, own) for parent in (1, 2) for own in range(1, 13)}
    assert {(row["parent_id"], row["id"]) for row in found} == everyone - {(2, 11)}
    assert letters(story)[11]["parent_id"] == 2


def test_poison_in_a_list_that_takes_no_forward_only_paging_is_found(
    story: Story, tenant: Tenant
) -> None:
    story.simulator.quirks[PATH] = Quirk(no_forward_only=True)
    fill(tenant, *range(1, 31))
    story.simulator.faults.add(Fault("poison", ids={11, 12}, spares=False))
    story.one(TICKETS)
    assert loaded(story) == set(range(1, 31)) - {11, 12}
    assert letters(story).keys() == {11, 12}


def test_a_record_that_breaks_with_half_a_body_each_time_is_no_outage_for_the_rest(
    story: Story, tenant: Tenant
) -> None:
    """Whatever way a page breaks: here the server ends its answer in the middle."""
    fill(tenant, *range(1, 9))
    story.simulator.faults.add(Fault("drop", path=PATH, page_size_over=1))
    story.one(TICKETS)
    assert loaded(story) == set(range(1, 9))
    assert letters(story) == {}


def test_an_outage_fills_no_dead_letters_and_moves_no_checkpoint(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, *range(1, 21))
    story.one(TICKETS)
    tenant.advance(3600)
    tenant.edit(PATH, 3, summary="edited")
    before = story.checkpoint(TICKETS)
    story.simulator.faults.add(Fault("500", path="/*"))
    with pytest.raises(SourceUnreachable):
        story.sync(TICKETS)
    assert letters(story, still_open=False) == {}
    after = story.checkpoint(TICKETS)
    assert after["watermark"] == before["watermark"]
    assert after["cursor"] in (None, 0)
    story.simulator.faults.clear()
    story.one(TICKETS)
    assert story.table(TICKETS)[3]["summary"] == "edited"


@pytest.mark.parametrize("kind", ["500", "503", "drop", "reset", "html", "truncated"])
def test_a_list_that_is_down_while_the_rest_answers_is_an_outage_of_that_list(
    story: Story, tenant: Tenant, kind: Any
) -> None:
    """No record is to blame when not even an empty page of the list can be read."""
    fill(tenant, *range(1, 21))
    story.one(TICKETS)
    tenant.advance(3600)
    tenant.edit(PATH, 3, summary="edited")
    before = story.checkpoint(TICKETS)
    story.simulator.faults.add(Fault(kind, path=PATH))
    report = story.sync(TICKETS)[TICKETS]
    assert isinstance(report.failure, SourceError)
    assert letters(story, still_open=False) == {}
    assert story.checkpoint(TICKETS)["watermark"] == before["watermark"]


def test_an_outage_in_the_middle_of_the_search_for_poison_blames_no_record(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, *range(1, 21))
    story.simulator.faults.add(Fault("poison", ids={13}, spares=False))
    asked: list[str] = []

    def go_down(path: str, question: Any) -> None:
        asked.append(path)
        if question.fields and question.page_id == 12:
            story.simulator.faults.add(Fault("500", path="/*"))

    story.simulator.before_page(go_down)
    report = story.sync(TICKETS)[TICKETS]
    assert isinstance(report.failure, SourceError)
    assert letters(story, still_open=False) == {}
    story.simulator.faults.clear()
    story.simulator._page_watchers.clear()
    story.one(TICKETS)
    assert loaded(story) == set(range(1, 21))


def test_a_page_that_breaks_is_asked_for_patiently_once_and_its_parts_briefly(
    story: Story, tenant: Tenant
) -> None:
    """A minute of patience with every part of it would make many minutes of one bad record."""
    fill(tenant, *range(1, 65))
    story.simulator.faults.add(Fault("poison", ids={41}))
    with stamina.set_testing(True, attempts=4, cap=True):
        story.one(TICKETS, page_size=64)
    broken = Counter(str(s.query) for s in story.simulator.requests if s.status == 500)
    assert sorted(broken.values(), reverse=True)[:3] == [4, 3, 3]
    assert letters(story).keys() == {41}


def test_too_much_poison_stops_the_pass_before_the_watermark_moves(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, *range(1, 31))
    story.simulator.faults.add(Fault("poison", ids=range(1, 31)))
    report = story.sync(TICKETS, min_rejects=5)[TICKETS]
    assert isinstance(report.failure, TooManyRejects)
    assert story.checkpoint(TICKETS)["watermark"] is None
    story.simulator.faults.clear()
    story.one(TICKETS)
    assert loaded(story) == set(range(1, 31))
    assert letters(story) == {}


def sizes(story: Story) -> list[int]:
    """The page sizes that were answered, each once, in order."""
    # Of a page that hangs the simulator notes that it had no answer after the client went away.
    seen = (s for s in story.simulator.requests if s.path == PATH and s.status)
    asked = [int(s.query["pageSize"]) for s in seen]
    return list(dict.fromkeys(asked))


@pytest.mark.parametrize("kind", ["timeout500", "hang"])
def test_timeouts_shrink_the_page_which_is_remembered_and_grows_back(
    story: Story, tenant: Tenant, kind: Any
) -> None:
    story.options |= {"timeout_seconds": 0.4}
    fill(tenant, *range(1, 41))
    story.simulator.faults.add(Fault(kind, path=PATH, page_size_over=2, seconds=0.6))
    story.one(TICKETS)
    assert loaded(story) == set(range(1, 41))
    assert letters(story) == {}
    assert story.checkpoint(TICKETS)["page_size"] == 2
    story.simulator.faults.clear()
    story.simulator.requests.clear()
    story.one(TICKETS, SyncRequest(full=True))
    assert sizes(story)[:3] == [2, 4, 8]
    assert story.checkpoint(TICKETS)["page_size"] is None
