"""A list that shows less than it holds must not empty the warehouse: the guard of deletions.

Whatever the reason, nothing is deleted, every candidate is listed with what to do, and the operator
may apply the deletions once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceForbidden
from cw_pipeline.simulator import Fault, Quirk
from cw_pipeline.simulator.answers import Answer
from cw_pipeline.sync.reconcile import reconcile_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cw_pipeline.model import Audit
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS = "service/tickets"
BOARDS = "service/boards"
NOTES = "service/tickets/notes"
PATH = "/service/tickets"
COUNT = 40


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2, cap=True):
        yield


@pytest.fixture
def story(story: Story, tenant: Tenant) -> Story:
    """Forty tickets and a board, synced and proven; pages of 10."""
    story.options |= {"page_size": 10, "max_delete_fraction": 0.1}
    past = tenant.now() - timedelta(hours=1)
    for own in range(1, COUNT + 1):
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}"}, stamp=past)
    tenant.put("/service/boards", {"id": 1, "name": "help desk"}, stamp=past)
    story.sync(TICKETS, BOARDS)
    reconciled(story)
    return story


def reconciled(story: Story, *, apply_deletes: bool = False) -> dict[str, Audit]:
    with story.engine() as engine:
        chosen = [CATALOG[TICKETS], CATALOG[BOARDS]]
        return {a.entity: a for a in reconcile_all(chosen, engine, apply_deletes=apply_deletes)}


def live(story: Story) -> int:
    return len(story.table(TICKETS))


def candidates(story: Story) -> dict[int, str]:
    found = story.rows("select record_id, reason from cw_sync.delete_candidate order by 1")
    return {row["record_id"]: row["reason"] for row in found}


def too_many(story: Story) -> list[int]:
    for own in range(1, 6):  # 5 of 40, and the setting allows 4
        story.tenant.delete(PATH, own)
    return [1, 2, 3, 4, 5]


def empty(story: Story) -> list[int]:
    story.simulator.role.narrow(PATH, lambda _: False)
    return list(range(1, COUNT + 1))


def narrowed(story: Story) -> list[int]:
    story.simulator.role.narrow(PATH, lambda record: record["id"] > 20)
    return list(range(1, 21))


def shrunk(story: Story) -> list[int]:
    story.tenant.delete(PATH, 7)
    story.simulator.role.forbid("/service/boards")
    return [7]


def miscounted(story: Story) -> list[int]:
    story.tenant.delete(PATH, 7)
    said = Answer(200, b'{"count":40}')
    story.simulator.own_routes["GET", f"/v2025_1/apis/3.0{PATH}/count"] = lambda: said
    return [7]


@pytest.mark.parametrize(
    ("happen", "reason"),
    [
        (too_many, "5 of 40 is more than CW_MAX_DELETE_FRACTION (0.1)"),
        (empty, "the list suddenly answers empty"),
        (narrowed, "a narrowed security role looks like that"),
        (shrunk, "may no longer read service/boards: its security role has shrunk"),
        (miscounted, "/count says 40 and the sweep saw 39"),
    ],
)
def test_nothing_is_deleted_the_candidates_are_listed_and_it_says_what_to_do(
    story: Story, happen: Callable[[Story], list[int]], reason: str
) -> None:
    gone = happen(story)
    audit = reconciled(story)[TICKETS]
    assert (audit.deleted, audit.proven) == (0, False)
    assert reason in audit.detail
    assert "`reconcile --apply-deletes`" in audit.detail
    assert live(story) == COUNT
    assert list(candidates(story)) == gone
    assert all(reason in told for told in candidates(story).values())
    (kept,) = story.rows(
        "select * from cw_sync.audit where entity = %s order by id desc limit 1", TICKETS
    )
    assert not kept["proven"]


@pytest.mark.parametrize("happen", [too_many, shrunk, miscounted, empty])
def test_apply_deletes_deletes_them_and_lifts_the_guard_for_this_once(
    story: Story, tenant: Tenant, happen: Callable[[Story], list[int]]
) -> None:
    gone = happen(story)
    reconciled(story)
    audit = reconciled(story, apply_deletes=True)[TICKETS]
    assert audit.deleted == len(gone)
    assert live(story) == COUNT - len(gone)
    assert candidates(story) == {}
    if happen is too_many:
        for own in range(11, 21):
            tenant.delete(PATH, own)
        assert reconciled(story)[TICKETS].deleted == 0


def test_a_list_that_suddenly_answers_403_keeps_its_rows(story: Story) -> None:
    story.simulator.role.forbid(PATH)
    audits = reconciled(story)
    assert isinstance(audits[TICKETS].failure, SourceForbidden)
    assert live(story) == COUNT
    assert candidates(story) == {}


def test_a_role_that_shrank_counts_every_night_though_a_sync_has_seen_it(
    story: Story, tenant: Tenant
) -> None:
    tenant.delete(PATH, 7)
    story.simulator.role.forbid("/service/boards")
    story.sync(BOARDS)  # fails, and remembers that the list cannot be read
    assert [reconciled(story)[TICKETS].deleted for _ in range(3)] == [0, 0, 0]
    assert list(candidates(story)) == [7]


def test_what_comes_back_into_sight_is_no_candidate_any_more(story: Story) -> None:
    narrowed(story)
    reconciled(story)
    assert len(candidates(story)) == 20
    story.simulator.role.allow(PATH)
    assert reconciled(story)[TICKETS].proven
    assert candidates(story) == {}


def test_a_few_deletions_pass_and_one_always_may(story: Story, tenant: Tenant) -> None:
    for own in (1, 2, 3, 4):
        tenant.delete(PATH, own)
    assert reconciled(story)[TICKETS].deleted == 4


def test_a_record_that_the_second_question_finds_stays(story: Story, tenant: Tenant) -> None:
    """The sweep misses a record, as pages do while a list changes under them."""
    left = tenant.delete(PATH, 9)

    def back(_: str, asked: Any) -> None:
        if asked.conditions == "id in (9)":
            tenant.put(PATH, left, stamp=left["_info"]["lastUpdated"])

    story.simulator.before_page(back)
    audit = reconciled(story)[TICKETS]
    assert (audit.extra, audit.deleted) == (1, 0)
    assert live(story) == COUNT


def test_a_count_that_is_behind_while_the_list_moves_is_no_disagreement(
    story: Story, tenant: Tenant
) -> None:
    tenant.delete(PATH, 9)

    def born(path: str, asked: Any) -> None:
        if (
            path == PATH
            and asked.fields
            and not asked.conditions
            and 90 not in tenant.records(PATH)
        ):
            tenant.put(PATH, {"id": 90, "summary": "born during the sweep"})

    story.simulator.before_page(born)
    assert reconciled(story)[TICKETS].deleted == 1


def test_lists_that_are_read_whole_have_the_same_guard(story: Story, tenant: Tenant) -> None:
    story.simulator.quirks[PATH] = Quirk(ignores_updated=True)
    tenant.advance(3600)
    story.one(TICKETS)
    for own in range(1, 6):
        tenant.delete(PATH, own)
    report = story.one(TICKETS)
    assert "CW_MAX_DELETE_FRACTION" in report.warnings[0]
    assert (live(story), list(candidates(story))) == (COUNT, [1, 2, 3, 4, 5])
    audit = reconciled(story)[TICKETS]
    assert (audit.deleted, audit.proven) == (0, False)
    assert reconciled(story, apply_deletes=True)[TICKETS].deleted == 5
    assert (live(story), candidates(story)) == (COUNT - 5, {})


def test_children_have_the_same_guard(story: Story, tenant: Tenant) -> None:
    for parent in (1, 2):
        for own in range(1, 11):
            tenant.put(f"{PATH}/{parent}/notes", {"id": own, "text": "x"})
    story.sync(TICKETS, NOTES)
    for own in range(1, 6):
        tenant.delete(f"{PATH}/2/notes", own)

    def notes(*, apply_deletes: bool = False) -> Audit:
        with story.engine() as engine:
            (audit,) = reconcile_all([CATALOG[NOTES]], engine, apply_deletes=apply_deletes)
            return audit

    audit = notes()
    assert (audit.deleted, audit.proven) == (0, False)
    found = story.rows("select parent_id, record_id from cw_sync.delete_candidate order by 2")
    assert [tuple(row.values()) for row in found] == [(2, own) for own in range(1, 6)]
    assert notes(apply_deletes=True).deleted == 5
    assert candidates(story) == {}
    assert notes().proven


def test_a_refresh_never_deletes_what_a_window_does_not_show(story: Story, tenant: Tenant) -> None:
    too_many(story)
    tenant.advance(3600)
    assert story.one(TICKETS).rows_deleted == 0
    assert live(story) == COUNT


def test_the_guard_holds_while_the_role_check_itself_fails(story: Story) -> None:
    """Not knowing whether the role shrank must not be an excuse: the fraction still counts."""
    narrowed(story)
    story.simulator.faults.add(Fault("500", path="/service/boards"))
    assert reconciled(story)[TICKETS].deleted == 0
    assert live(story) == COUNT
