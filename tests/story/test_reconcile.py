"""Proof: after a reconcile the table holds what the list holds, and nothing vanishes by mistake.

The list is read in pages of 10.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceUnreachable
from cw_pipeline.simulator import UNSTAMPED, Fault, Quirk
from cw_pipeline.simulator.answers import Refusal, as_json
from cw_pipeline.sync.reconcile import reconcile_all
from cw_pipeline.warehouse import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.model import Audit
    from cw_pipeline.simulator import Tenant
    from cw_pipeline.simulator.query import ListRequest
    from tests.story.conftest import Story

TICKETS = "service/tickets"
COMPANIES = "company/companies"
PATH = "/service/tickets"
NOTES = "service/tickets/notes"


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2, cap=True):
        yield


@pytest.fixture
def story(story: Story) -> Story:
    story.options |= {"page_size": 10}
    return story


def fill(tenant: Tenant, count: int = 40, path: str = PATH) -> None:
    past = tenant.now() - timedelta(hours=1)
    for own in range(1, count + 1):
        tenant.put(path, {"id": own, "summary": f"ticket {own}"}, stamp=past)


def reconciled(story: Story, *names: str, apply_deletes: bool = False, **options: Any) -> Audit:
    """The audit of the last of these entities, after reconciling all of them."""
    with story.engine(**options) as engine:
        chosen = [CATALOG[name] for name in names or (TICKETS,)]
        audits = {a.entity: a for a in reconcile_all(chosen, engine, apply_deletes=apply_deletes)}
    return audits[(names or (TICKETS,))[-1]]


def behind_our_back(story: Story, statement: str) -> None:
    """Something went wrong in the warehouse."""
    story.rows(f"{statement} returning 1")


def summaries(story: Story, name: str = TICKETS) -> dict[int, str]:
    return {own: row["summary"] for own, row in story.table(name).items()}


def truth(tenant: Tenant) -> dict[int, str]:
    return {own: record["summary"] for own, record in tenant.records(PATH).items()}


def candidates(story: Story) -> set[int]:
    return {row["record_id"] for row in story.rows("select * from cw_sync.delete_candidate")}


def at_page(story: Story, page: int, then: Any) -> None:
    """Does something once, before the sweep's first page behind this id is made."""
    left = [then]

    def watch(path: str, asked: ListRequest) -> None:
        if path == PATH and asked.fields and asked.page_id >= page and not asked.conditions:
            while left:
                left.pop()()

    story.simulator.before_page(watch)


def test_what_is_missing_stale_or_extra_is_found_healed_and_written_down(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant)
    story.one(TICKETS)
    behind_our_back(story, "delete from connectwise.service_tickets where id in (3, 4)")
    behind_our_back(
        story,
        "update connectwise.service_tickets set last_updated = last_updated - interval '1 day',"
        " summary = 'old', _row_hash = 0 where id = 5",
    )
    tenant.delete(PATH, 6)
    audit = reconciled(story)
    assert (audit.missing, audit.stale, audit.extra) == (2, 1, 1)
    assert (audit.healed, audit.deleted, audit.proven) == (3, 1, True)
    assert (audit.source_rows, audit.warehouse_rows) == (39, 38)
    assert summaries(story) == truth(tenant)
    assert story.table(TICKETS, deleted=True)[6]["_deleted_at"] is not None
    (kept,) = story.rows("select * from cw_sync.audit")
    assert (kept["missing"], kept["stale"], kept["extra"], kept["proven"]) == (2, 1, 1, True)
    run = story.rows("select * from cw_sync.run order by run_id desc limit 1")[0]
    assert (run["kind"], run["status"]) == ("reconcile", "done")
    assert (run["rows_healed"], run["rows_deleted"]) == (3, 1)
    assert run["rows_read"] == run["rows_inserted"] + run["rows_updated"]


def test_a_warehouse_that_is_right_is_proven_and_not_touched(story: Story, tenant: Tenant) -> None:
    fill(tenant)
    story.one(TICKETS)
    before = story.rows("select id, xmin::text from connectwise.service_tickets order by id")
    audit = reconciled(story)
    assert (audit.proven, audit.healed, audit.deleted) == (True, 0, 0)
    assert (
        story.rows("select id, xmin::text from connectwise.service_tickets order by id") == before
    )


def test_a_record_restored_with_an_old_stamp_wins_over_the_newer_row(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant)
    story.one(TICKETS)
    past = tenant.now() - timedelta(days=90)
    tenant.put(PATH, {"id": 7, "summary": "restored from a backup"}, stamp=past)
    assert reconciled(story).stale == 1
    assert summaries(story) == truth(tenant)


def test_what_reappears_is_live_again(story: Story, tenant: Tenant) -> None:
    fill(tenant)
    story.one(TICKETS)
    record = tenant.delete(PATH, 9)
    assert reconciled(story).deleted == 1
    assert 9 not in summaries(story)
    tenant.put(PATH, record, stamp=record["_info"]["lastUpdated"])
    audit = reconciled(story)
    assert (audit.missing, audit.proven) == (1, True)
    assert summaries(story) == truth(tenant)


def test_what_changes_during_the_sweep_is_neither_lost_nor_deleted(
    story: Story, tenant: Tenant
) -> None:
    """Behind the sweep's cursor and ahead of it: edited, born, gone."""
    fill(tenant)
    story.one(TICKETS)

    def live_on() -> None:
        tenant.edit(PATH, 5, summary="edited behind the cursor")
        tenant.edit(PATH, 35, summary="edited ahead of it")
        tenant.put(PATH, {"id": 99, "summary": "born"})
        tenant.delete(PATH, 6)
        tenant.delete(PATH, 36)

    at_page(story, 20, live_on)
    audit = reconciled(story)
    assert audit.deleted == 1
    assert 36 not in summaries(story)
    story.one(TICKETS)
    assert reconciled(story).proven
    assert summaries(story) == truth(tenant)


def test_rows_synced_after_the_sweep_began_are_never_touched(story: Story, tenant: Tenant) -> None:
    """A refresh runs meanwhile: what it brought is newer than what the sweep can know."""
    fill(tenant)
    story.one(TICKETS)
    record = tenant.delete(PATH, 8)

    def refreshed() -> None:
        behind_our_back(
            story,
            "update connectwise.service_tickets set summary = 'synced meanwhile',"
            " _synced_at = now() where id in (2, 8)",
        )
        behind_our_back(
            story,
            "update connectwise.service_tickets set last_updated = now(), _synced_at = now()"
            " where id = 3",
        )

    at_page(story, 20, refreshed)
    audit = reconciled(story)
    assert (audit.stale, audit.extra, audit.deleted, audit.healed) == (0, 0, 0, 0)
    assert summaries(story)[8] == "synced meanwhile"
    tenant.put(PATH, record)


def test_a_row_synced_while_its_deletion_is_confirmed_stays(story: Story, tenant: Tenant) -> None:
    fill(tenant)
    story.one(TICKETS)
    tenant.delete(PATH, 8)

    def restored(_: str, asked: ListRequest) -> None:
        if asked.conditions.startswith("id in (8)"):
            behind_our_back(
                story, "update connectwise.service_tickets set _synced_at = now() where id = 8"
            )

    story.simulator.before_page(restored)
    assert reconciled(story).deleted == 0
    assert 8 in summaries(story)


def test_a_record_that_goes_between_sweep_and_healing_leaves_nothing_proven(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant)
    story.one(TICKETS)
    tenant.edit(PATH, 8, summary="edited")

    def go(_: str, asked: ListRequest) -> None:
        if asked.conditions == "id in (8)" and not asked.fields and 8 in tenant.records(PATH):
            tenant.delete(PATH, 8)

    story.simulator.before_page(go)
    audit = reconciled(story)
    assert not audit.proven
    assert "went while they were compared: 8" in audit.detail
    assert reconciled(story).proven
    assert summaries(story) == truth(tenant)


def test_a_record_that_cannot_be_read_is_named_and_nothing_is_proven(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant)
    tenant.put(PATH, {"id": 50, "summary": {"no": "text"}})
    story.one(TICKETS)
    story.simulator.faults.add(Fault("poison", ids={7}))
    audit = reconciled(story)  # 7 is in the warehouse already: the sweep needs no more of it
    assert (audit.proven, audit.missing) == (False, 1)
    assert "dead letters: 50" in audit.detail
    tenant.edit(PATH, 50, summary="mended")
    assert reconciled(story).proven
    assert summaries(story) == truth(tenant)


def test_a_sweep_that_does_not_come_to_its_end_deletes_and_proves_nothing(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant)
    story.one(TICKETS)
    tenant.delete(PATH, 8)
    at_page(story, 20, lambda: story.simulator.faults.add(Fault("500", path="/*")))
    with pytest.raises(SourceUnreachable):
        reconciled(story)
    assert 8 in summaries(story)
    (kept,) = story.rows("select * from cw_sync.audit")
    assert (kept["proven"], kept["source_rows"]) == (False, None)
    assert "500" in kept["detail"]


def test_reconcile_runs_beside_a_refresh_and_a_backfill(story: Story, tenant: Tenant) -> None:
    fill(tenant)
    story.one(TICKETS)
    with story.engine() as engine:
        holds = [
            open_store(engine.database, CATALOG[TICKETS], kind) for kind in ("refresh", "backfill")
        ]
        with holds[0], holds[1]:
            (audit,) = reconcile_all([CATALOG[TICKETS]], engine)
    assert audit.proven


def test_children_follow_their_parent_when_it_is_deleted_and_when_it_returns(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 40)
    for parent in (1, 2):
        tenant.put(f"{PATH}/{parent}/notes", {"id": 1, "text": f"of {parent}"})
    story.sync(TICKETS, NOTES)
    record = tenant.delete(PATH, 2)
    audit = reconciled(story, NOTES, TICKETS)
    assert audit.deleted == 1
    rows = story.rows(
        "select parent_id from connectwise.service_tickets_notes where _deleted_at is null"
    )
    assert [row["parent_id"] for row in rows] == [1]
    tenant.put(PATH, record)
    assert reconciled(story, TICKETS, NOTES).proven
    rows = story.rows(
        "select parent_id from connectwise.service_tickets_notes"
        " where _deleted_at is null order by 1"
    )
    assert [row["parent_id"] for row in rows] == [1, 2]


def test_children_of_a_parent_that_just_went_are_not_called_proven(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, 3)
    tenant.put(f"{PATH}/2/notes", {"id": 1, "text": "x"})
    story.sync(TICKETS, NOTES)
    tenant.delete(PATH, 2)
    audit = reconciled(story, NOTES)  # without its parent, which would have found out
    assert not audit.proven
    assert "404 for parents that went since they were read: 2" in audit.detail


def test_a_list_that_is_read_whole_is_proven_by_its_snapshot(story: Story, tenant: Tenant) -> None:
    story.simulator.quirks[PATH] = Quirk(no_info=True)
    fill(tenant)
    story.one(TICKETS)
    tenant.edit(PATH, 3, summary="edited")
    tenant.delete(PATH, 4)
    audit = reconciled(story)
    assert (audit.stale, audit.extra, audit.deleted, audit.proven) == (1, 1, 1, True)
    assert summaries(story) == truth(tenant)


def test_companies_merged_or_in_the_recycle_bin_stay_rows_until_they_are_gone(
    story: Story, tenant: Tenant
) -> None:
    """The flag is data: the list still has the company. After a merge it has one fewer."""
    for own in (1, 2, 3):
        tenant.put("/company/companies", {"id": own, "name": f"company {own}"})
    tenant.put(PATH, {"id": 1, "summary": "of 2", "company": {"id": 2, "name": "company 2"}})
    story.sync(COMPANIES, TICKETS)
    tenant.advance(3600)
    tenant.edit("/company/companies", 1, deletedFlag=True)
    tenant.delete("/company/companies", 2)  # merged into 3
    tenant.edit(PATH, 1, company={"id": 3, "name": "company 3"})
    story.sync(COMPANIES, TICKETS)
    reconciled(story, COMPANIES)
    live = story.table(COMPANIES)
    assert live.keys() == {1, 3}
    assert live[1]["deleted_flag"] is True
    assert story.table(COMPANIES, deleted=True).keys() == {1, 2, 3}
    assert story.table(TICKETS)[1]["company_id"] == 3


def test_records_that_the_role_may_not_see_are_no_difference(story: Story, tenant: Tenant) -> None:
    """They are in no answer, so they can be in no warehouse: /count leaves them out as well."""
    fill(tenant)
    story.simulator.role.narrow(PATH, lambda record: record["id"] != 5)
    story.one(TICKETS)
    audit = reconciled(story)
    assert (audit.proven, audit.source_rows) == (True, 39)


def test_a_count_that_failed_once_is_asked_again_the_next_time(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant)
    story.one(TICKETS)
    story.simulator.faults.add(Fault("500", path=f"{PATH}/count"))
    assert reconciled(story).proven
    story.simulator.faults.clear()
    story.simulator.requests.clear()
    reconciled(story)
    assert story.simulator.count_by_path()[f"{PATH}/count"] == 1


def test_a_count_beside_the_rows_is_kept_after_a_refresh_as_an_alarm_only(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant)
    assert story.one(TICKETS).source_rows == 40
    tenant.delete(PATH, 1)
    tenant.put(PATH, {"id": 41, "summary": "new"})
    tenant.put(PATH, {"id": 42, "summary": "new"})
    tenant.delete(PATH, 2)
    report = story.one(TICKETS)
    assert (report.source_rows, report.row_count) == (40, 42)
    (kept,) = story.rows("select * from cw_sync.source_count")
    assert (kept["source_rows"], kept["warehouse_rows"]) == (40, 42)
    assert story.rows("select * from cw_sync.audit") == []  # equal numbers would prove nothing


def test_a_list_that_is_no_list_is_never_taken_for_empty(story: Story, tenant: Tenant) -> None:
    fill(tenant)
    story.one(TICKETS)

    def odd(_: str, __: ListRequest) -> None:
        raise Refusal(as_json({"message": "please wait"}))

    story.simulator.before_page(odd)
    assert reconciled(story).failure is not None
    assert len(summaries(story)) == 40


def test_records_that_never_got_a_stamp_are_found_though_no_window_shows_them(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant)
    story.one(TICKETS)
    tenant.put(PATH, {"id": 90, "summary": "imported"}, stamp=UNSTAMPED)
    assert story.one(TICKETS).rows_read == 0
    assert reconciled(story).missing == 1
    assert summaries(story) == truth(tenant)
    (seen,) = story.rows("select filterable from cw_sync.capability")
    assert seen["filterable"] is not False  # the others do have one


def test_a_list_that_was_empty_at_first_and_has_no_stamps_is_read_whole_from_then_on(
    story: Story, tenant: Tenant
) -> None:
    story.one(TICKETS)
    tenant.put(PATH, {"id": 1, "summary": "unstamped"}, stamp=UNSTAMPED)
    assert reconciled(story).missing == 1
    tenant.edit(PATH, 1, touch=False, summary="edited during the day")
    audit = reconciled(story)  # a night later
    assert (audit.stale, audit.proven) == (1, True)
    assert summaries(story) == truth(tenant), "proven, and not equal"
    tenant.edit(PATH, 1, touch=False, summary="edited")
    assert story.one(TICKETS).rows_updated == 1
    assert summaries(story) == truth(tenant)
