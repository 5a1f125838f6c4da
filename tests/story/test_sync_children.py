"""Lists below parents: read where something changed, in rotation elsewhere, and never by halves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceBroken, SourceForbidden, SourceMissing
from cw_pipeline.simulator import Fault, Quirk, Simulator, Tenant
from cw_pipeline.simulator.answers import Answer
from cw_pipeline.sync.capabilities import probe_all
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.sync.reconcile import reconcile_all
from tests.story.conftest import Story

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.model import Audit
    from cw_pipeline.simulator.query import ListRequest

BOARDS, STATUSES = "service/boards", "service/boards/statuses"
SITES = "company/companies/sites"


def fill(tenant: Tenant, boards: Iterable[int], statuses: int = 3) -> None:
    past = tenant.now() - timedelta(hours=1)
    for board in boards:
        tenant.put("/service/boards", {"id": board, "name": f"board {board}"}, stamp=past)
        for own in range(1, statuses + 1):
            record = {"id": 100 * board + own, "name": f"status {own}"}
            tenant.put(f"/service/boards/{board}/statuses", record, stamp=past)


def found(story: Story, name: str = STATUSES) -> dict[tuple[int, int], Any]:
    return {(row["parent_id"], own): row["name"] for own, row in story.table(name).items()}


def truth(tenant: Tenant) -> dict[tuple[int, int], Any]:
    lists = tenant.children("/service/boards/{id}/statuses")
    return {(int(one.path.split("/")[3]), r["id"]): r["name"] for one in lists for r in one}


def asked(story: Story) -> set[int]:
    """The boards whose statuses were asked for."""
    paths = [path.split("/") for path in story.simulator.count_by_path()]
    return {int(steps[3]) for steps in paths if steps[-1] == "statuses"}


def both(story: Story, plan: SyncRequest | None = None, **options: Any) -> Any:
    story.simulator.requests.clear()
    reports = story.sync(BOARDS, STATUSES, plan=plan, **options)
    for report in reports.values():
        if report.failure:
            raise report.failure
    return reports[STATUSES]


def test_every_parents_children_are_in_after_the_first_sync(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 13))
    both(story, page_size=2)
    assert found(story) == truth(tenant)
    due = "select parents_due from cw_sync.run where entity = %s order by run_id desc limit 1"
    assert story.rows(due, STATUSES) == [{"parents_due": 12}]
    both(story)
    assert story.rows(due, STATUSES) == [{"parents_due": None}], "one parent is not worth a total"


def test_without_a_parent_it_is_as_complete_as_the_list_of_parents(
    story: Story, tenant: Tenant
) -> None:
    both(story)
    boards = story.checkpoint(BOARDS)["watermark"]
    assert story.checkpoint(STATUSES)["watermark"] == boards
    tenant.put("/service/boards", {"id": 1, "name": "the first"})
    tenant.put("/service/boards/1/statuses", {"id": 101, "name": "new"})
    both(story)
    assert found(story) == truth(tenant)
    assert story.checkpoint(STATUSES)["watermark"] > boards


def test_a_parent_that_changed_has_its_children_read_again(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 13))
    both(story)
    tenant.advance(3600)
    tenant.edit("/service/boards", 7, name="renamed")
    tenant.edit("/service/boards/7/statuses", 702, name="renamed too")
    tenant.put("/service/boards/7/statuses", {"id": 709, "name": "new"})
    report = both(story)
    assert found(story) == truth(tenant)
    assert (report.rows_updated, report.rows_inserted) == (1, 1)
    assert 7 in asked(story)
    assert len(asked(story)) == 2  # and the one whose turn it is


def test_nothing_new_costs_two_requests_for_all_the_children(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 13))
    both(story)
    tenant.advance(3600)
    assert both(story).requests == 2


def test_a_child_that_changed_alone_is_found_when_its_parents_turn_comes(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, range(1, 6))
    both(story)
    tenant.edit("/service/boards/4/statuses", 401, name="alone")
    turns: set[int] = set()
    for _ in range(5):
        both(story)
        turns |= asked(story)
    assert turns == {1, 2, 3, 4, 5}
    assert found(story) == truth(tenant)


def test_children_older_than_the_set_age_are_all_read_again(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 6))
    both(story)
    tenant.edit("/service/boards/5/statuses", 501, name="alone")
    both(story, children_max_age_hours=0.000001)
    assert found(story) == truth(tenant)


def test_a_child_that_was_deleted_goes_and_one_that_reappears_returns(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, range(1, 6))
    both(story)
    gone = tenant.delete("/service/boards/3/statuses", 302)
    both(story, plan=SyncRequest(full=True))
    assert found(story) == truth(tenant)
    assert story.table(STATUSES, deleted=True)[302]["_deleted_at"] is not None
    tenant.put("/service/boards/3/statuses", gone)
    both(story, plan=SyncRequest(full=True))
    assert found(story) == truth(tenant)


def test_children_that_vanish_in_numbers_are_kept_and_told(story: Story, tenant: Tenant) -> None:
    fill(tenant, range(1, 6), statuses=10)
    both(story)
    before = found(story)
    story.simulator.role.narrow("/service/boards/*/statuses", lambda record: record["id"] % 2 == 0)
    report = both(story, plan=SyncRequest(full=True))
    assert len(found(story)) >= len(before) - 2  # the guard's 5 %
    assert any("CW_MAX_DELETE_FRACTION" in warning for warning in report.warnings)


def test_a_child_that_a_page_left_out_is_asked_for_again_before_it_is_deleted(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, range(1, 6))
    both(story)

    def flicker(_path: str, question: ListRequest) -> None:
        asked_for_it = "id in" in (question.conditions or "")
        story.simulator.role.narrow(
            "/service/boards/3/statuses", lambda record: asked_for_it or record["id"] != 302
        )

    story.simulator.before_page(flicker)
    report = both(story, plan=SyncRequest(full=True))
    assert report.rows_deleted == 0
    assert found(story) == truth(tenant)


@pytest.mark.parametrize("quirk", [Quirk(no_forward_only=True), Quirk(refuses_conditions=True)])
def test_children_of_lists_that_page_or_filter_their_own_way_are_all_read(
    story: Story, tenant: Tenant, quirk: Quirk
) -> None:
    story.simulator.quirks["/service/boards/*/statuses"] = quirk
    fill(tenant, range(1, 20), statuses=5)
    both(story, page_size=2)
    assert found(story) == truth(tenant)
    tenant.delete("/service/boards/3/statuses", 302)
    both(story, plan=SyncRequest(full=True), page_size=2)
    assert found(story) == truth(tenant)


def test_children_of_a_parent_that_is_gone_go_with_it_arrays_included(
    story: Story, tenant: Tenant
) -> None:
    for company in (1, 2):
        tenant.put("/company/companies", {"id": company, "name": f"company {company}"})
        field = {"id": 1, "caption": "Rack", "value": "a"}
        site = {"id": 10 * company, "name": "Main", "customFields": [field]}
        tenant.put(f"/company/companies/{company}/sites", site)
    story.sync("company/companies", SITES)
    tenant.delete("/company/companies", 1)
    story.rows(
        "update connectwise.company_companies set _deleted_at = now() where id = 1 returning id"
    )  # as reconcile does
    report = story.one(SITES)
    assert report.failure is None
    assert set(found(story, SITES)) == {(2, 20)}
    live = story.rows(
        "select parent_id from connectwise.company_companies_sites__custom_fields"
        " where _deleted_at is null"
    )
    assert [row["parent_id"] for row in live] == [20]


def test_a_deleted_parent_does_not_make_the_children_look_old_for_ever(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, range(1, 4))
    both(story)
    first = story.checkpoint(STATUSES)["watermark"]
    tenant.delete("/service/boards", 1)
    story.rows(
        "update connectwise.service_boards set _deleted_at = now() where id = 1 returning id"
    )
    for _ in range(3):
        both(story)
    assert story.checkpoint(STATUSES)["watermark"] > first


def test_a_child_that_moves_to_another_parent_takes_its_arrays_along(
    story: Story, tenant: Tenant
) -> None:
    for company in (1, 2):
        tenant.put("/company/companies", {"id": company, "name": f"company {company}"})
    site = {"id": 10, "name": "Main", "customFields": [{"id": 1, "value": "a"}]}
    tenant.put("/company/companies/1/sites", site)
    tenant.put("/company/companies/2/sites", {"id": 11, "name": "Other"})
    story.sync("company/companies", SITES)
    tenant.put("/company/companies/2/sites", tenant.delete("/company/companies/1/sites", 10))
    for _ in range(2):
        story.one(SITES, SyncRequest(full=True))
    assert set(found(story, SITES)) == {(2, 10), (2, 11)}
    live = story.rows(
        "select * from connectwise.company_companies_sites__custom_fields where _deleted_at is null"
    )
    assert [row["value"] for row in live] == ["a"]


def test_grandchildren_are_asked_for_by_both_their_parents(story: Story, tenant: Tenant) -> None:
    items, links = "service/boards/items", "service/boards/items/associations"
    fill(tenant, (1, 2))
    for board in (1, 2):
        tenant.put(f"/service/boards/{board}/items", {"id": 10 * board, "name": "item"})
        path = f"/service/boards/{board}/items/{10 * board}/associations"
        tenant.put(path, {"id": 100 * board, "type": {"id": 1, "name": "type"}})
    reports = story.sync(BOARDS, items, links)
    assert [report.failure for report in reports.values()] == [None] * 3
    assert {(row["parent_id"], own) for own, row in story.table(links).items()} == {
        (10, 100),
        (20, 200),
    }


def test_parents_that_are_forbidden_are_told_and_the_others_are_read(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, range(1, 4))
    story.simulator.role.forbid("/service/boards/2/statuses")
    report = both(story)
    assert {board for board, _ in found(story)} == {1, 3}
    assert any("403" in warning for warning in report.warnings)
    story.simulator.role.allow("/service/boards/2/statuses")
    both(story)
    assert found(story) == truth(tenant)


@pytest.mark.parametrize("kind", ["500", "html"])
def test_a_parent_whose_list_is_broken_keeps_no_other_parent_from_being_read(
    story: Story, tenant: Tenant, kind: Any
) -> None:
    fill(tenant, range(1, 13))
    story.simulator.faults.add(Fault(kind, path="/service/boards/1/statuses"))
    report = both(story)
    assert {board for board, _ in found(story)} == {*range(2, 13)}
    assert "the children of service/boards 1 cannot be read" in str(report.warnings)
    audit = _reconciled(story)
    assert not audit.proven
    assert "service/boards 1 cannot be read" in audit.detail
    story.simulator.faults.clear()
    both(story)
    assert found(story) == truth(tenant)
    assert _reconciled(story).proven
    story.simulator.faults.add(Fault(kind, path="/service/boards/*/statuses"))
    story.simulator.requests.clear()
    failed = story.sync(BOARDS, STATUSES, plan=SyncRequest(full=True))[STATUSES]
    assert isinstance(failed.failure, SourceBroken), "the list, and not a parent"
    assert len(asked(story)) < 12


def test_children_that_are_forbidden_everywhere_fail_their_list_alone(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, range(1, 4))
    story.simulator.role.forbid("/service/boards/*/statuses")
    reports = story.sync(BOARDS, STATUSES)
    assert reports[BOARDS].failure is None
    assert isinstance(reports[STATUSES].failure, SourceForbidden)


def test_a_child_list_that_is_not_there_is_never_taken_for_empty(dsn: str) -> None:
    tenant = Tenant()
    for board in (1, 2):
        tenant.put("/service/boards", {"id": board, "name": "board"})
    with Simulator(tenant, paths=["/service/boards"]) as simulator:
        report = Story(dsn, simulator, tenant).sync(BOARDS, STATUSES)[STATUSES]
    assert isinstance(report.failure, SourceMissing)


def test_one_parent_that_was_deleted_meanwhile_does_not_fail_the_others(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, (1, 2))
    story.one(BOARDS)
    tenant.delete("/service/boards", 1)
    tenant.children("/service/boards/{id}/statuses")
    story.one(STATUSES)
    assert {board for board, _ in found(story)} >= {2}


@pytest.mark.parametrize("status", ["404", "403"])
def test_a_list_that_is_not_there_is_left_alone_for_a_week_or_until_check_finds_it(
    dsn: str, status: str
) -> None:
    tenant = Tenant()
    fill(tenant, range(1, 51), statuses=0 if status == "404" else 3)
    paths = ["/service/boards"] if status == "404" else None
    with Simulator(tenant, paths=paths) as simulator:
        story = Story(dsn, simulator, tenant)
        if status == "403":
            simulator.role.forbid("/service/boards/*/statuses")
        _assert_absent(story, status, requests=3)
        _assert_absent(story, status, requests=0)
        assert isinstance(_reconciled(story).failure, SourceMissing | SourceForbidden)
        assert asked(story) == set()
        _sooner(story, days=8)
        _assert_absent(story, status, requests=3)
        _assert_absent(story, status, requests=0)
        story.sync(BOARDS, STATUSES, plan=SyncRequest(full=True))
        assert len(asked(story)) == 3, "asked for by hand, it is asked for"
    fill(tenant, range(1, 51))
    with Simulator(tenant) as simulator:
        back = Story(dsn, simulator, tenant)
        _assert_absent(back, status, requests=0)
        with back.engine() as engine:
            (seen,) = probe_all([CATALOG[STATUSES]], engine.source, engine.database, deep=True)
        assert seen.readable
        both(back)
        assert found(back) == truth(tenant)


@pytest.mark.parametrize("boards", [2, 12])
def test_a_list_that_is_not_there_does_not_count_as_read_because_one_parent_breaks(
    story: Story, tenant: Tenant, boards: int
) -> None:
    fill(tenant, range(1, boards + 1))
    story.simulator.faults.add(Fault("500", path="/service/boards/1/statuses"))
    path = "/v2025_1/apis/3.0/service/boards/{}/statuses"
    for own in range(2, boards + 1):
        story.simulator.own_routes["GET", path.format(own)] = lambda: Answer(404)
    failure = story.sync(BOARDS, STATUSES)[STATUSES].failure
    assert isinstance(failure, SourceMissing)
    assert story.rows("select * from cw_sync.parent_read") == []


@pytest.mark.parametrize("status", [404, 403])
def test_a_list_that_was_read_and_is_not_there_any_more_costs_each_sync_a_few_questions(
    story: Story, tenant: Tenant, status: int
) -> None:
    fill(tenant, range(1, 31), statuses=1)
    both(story)
    story.rows(
        "insert into cw_sync.parent_read (tenant, entity, parent_id, read_at)"
        " values ('connectwise', 'service/boards/statuses', 999, now()) returning 1"
    )
    path = "/v2025_1/apis/3.0/service/boards/{}/statuses"
    gone = {("GET", path.format(own)): lambda: Answer(status) for own in range(1, 31)}
    story.simulator.own_routes |= gone
    for _ in range(2):
        story.simulator.requests.clear()
        reports = story.sync(BOARDS, STATUSES, children_max_age_hours=1e-6)
        assert f"{status} for the 11 of 30 parents" in str(reports[STATUSES].failure)
        assert len(asked(story)) == 11
        assert 999 not in asked(story)
    assert found(story) == truth(tenant), "what was read is kept"
    back = ("GET", path.format(20))
    del story.simulator.own_routes[back]
    story.rows("update cw_sync.parent_read set read_at = now() where parent_id = 20 returning 1")
    tenant.edit("/service/boards/20/statuses", 2001, name="changed")
    report = both(story, children_max_age_hours=1e-6)
    assert found(story) == truth(tenant), "that some are refused keeps no other from being read"
    assert report.warnings
    for route in gone:
        story.simulator.own_routes.pop(route, None)
    both(story, children_max_age_hours=1e-6)
    assert _reconciled(story).proven


def _assert_absent(story: Story, status: str, *, requests: int) -> None:
    story.simulator.requests.clear()
    reports = story.sync(BOARDS, STATUSES)
    assert f"{STATUSES}: {status} for the first 3 of 50 parents" in str(reports[STATUSES].failure)
    assert len(asked(story)) == requests


def _reconciled(story: Story) -> Audit:
    story.simulator.requests.clear()
    with story.engine() as engine:
        (audit,) = reconcile_all([CATALOG[STATUSES]], engine)
    return audit


def _sooner(story: Story, days: int) -> None:
    """As if what was found out had been found out so many days earlier."""
    with psycopg.connect(story.dsn) as connection:
        connection.execute(
            "update cw_sync.capability set checked_at = checked_at - make_interval(days => %s)",
            [days],
        )
