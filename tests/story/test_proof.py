"""What is called proven is: measured against the source, whatever our own tables say."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.simulator.answers import Answer, Refusal, no_endpoint
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.sync.reconcile import reconcile_all
from tests.integration.others import as_admin

if TYPE_CHECKING:
    from cw_pipeline.model import Audit
    from cw_pipeline.simulator import Tenant
    from cw_pipeline.simulator.query import ListRequest
    from tests.conftest import Server
    from tests.story.conftest import Story

TICKETS, AGREEMENTS = "service/tickets", "finance/agreements"
ADDITIONS = "finance/agreements/additions"
WHOLE = "finance/accountingPackages"
DAMAGE = (
    "delete from {table} where id = {one}",
    "update {table} set _deleted_at = now() where id = {two}",
    "update {table} set last_updated = '2001-01-01' where id = {three}",
    "update {table} set {value} = null where id = {four}",
    "insert into {table} (id, {columns}) select 99, {columns} from {table} where id = {three}",
)
UNSEEN = (
    ("truncate connectwise.service_tickets__custom_fields",),
    (
        "alter table connectwise.service_tickets__custom_fields disable trigger all",
        "update connectwise.service_tickets__custom_fields set value = null",
        "alter table connectwise.service_tickets__custom_fields enable trigger all",
    ),
    (
        "alter table connectwise.finance_accounting_packages disable trigger all",
        "update connectwise.finance_accounting_packages set name = 'spoilt' where id = 5",
        "alter table connectwise.finance_accounting_packages enable trigger all",
    ),
    (
        "create temp table kept as select * from connectwise.service_tickets__custom_fields",
        "update kept set position = position + 9",
        "insert into connectwise.service_tickets__custom_fields select * from kept",
    ),
    (
        "create temp table kept as select * from connectwise.service_tickets where id = 4",
        "update kept set summary = 'spoilt'",
        "delete from connectwise.service_tickets where id = 4",
        "insert into connectwise.service_tickets select * from kept",
    ),
    (
        "set session_replication_role = replica",
        "update connectwise.service_tickets set summary = 'spoilt' where id = 2",
        "delete from connectwise.service_tickets__custom_fields where parent_id = 4",
    ),
)
"""What leaves ids, stamps and hashes as they were."""


def reconciled(story: Story, *names: str, **options: Any) -> dict[str, Audit]:
    with story.engine(**options) as engine:
        return {a.entity: a for a in reconcile_all([CATALOG[name] for name in names], engine)}


def damage(story: Story, *statements: str) -> None:
    """What somebody does to the warehouse by hand."""
    with psycopg.connect(story.dsn) as connection:
        for statement in statements:
            assert connection.execute(statement.encode()).rowcount, statement


@pytest.fixture
def agreements(story: Story, tenant: Tenant) -> Story:
    """Two agreements, of which one does not convert, with two additions each."""
    past = tenant.now() - timedelta(hours=1)
    for own, amount in ((1, 10), (2, "ten")):
        tenant.put("/finance/agreements", {"id": own, "billAmount": amount}, stamp=past)
        for at in (1, 2):
            record = {"id": 10 * own + at, "quantity": at}
            tenant.put(f"/finance/agreements/{own}/additions", record, stamp=past)
    return story


def test_children_of_a_parent_that_is_a_dead_letter_are_read(agreements: Story) -> None:
    reports = agreements.sync(AGREEMENTS, ADDITIONS)
    assert reports[AGREEMENTS].dead_letters == 1
    assert set(agreements.table(ADDITIONS)) == {11, 12, 21, 22}
    audits = reconciled(agreements, AGREEMENTS, ADDITIONS)
    assert not audits[AGREEMENTS].proven
    assert audits[ADDITIONS].proven, audits[ADDITIONS].detail


def test_children_stay_when_their_parent_comes_back_as_a_dead_letter(
    agreements: Story, tenant: Tenant
) -> None:
    agreements.sync(AGREEMENTS, ADDITIONS)
    agreement = tenant.delete("/finance/agreements", 1)
    reconciled(agreements, AGREEMENTS)
    tenant.put("/finance/agreements", agreement | {"billAmount": "ten"})
    agreements.sync(AGREEMENTS, ADDITIONS)
    assert set(agreements.table(ADDITIONS)) == {11, 12, 21, 22}


def test_children_go_with_a_parent_that_was_never_more_than_a_dead_letter(
    agreements: Story, tenant: Tenant
) -> None:
    agreements.sync(AGREEMENTS, ADDITIONS)
    tenant.delete("/finance/agreements", 2)
    damage(agreements, "update cw_sync.dead_letter set retry_at = now()")
    reports = agreements.sync(AGREEMENTS, ADDITIONS, children_max_age_hours=1e-6)
    assert "2 rows no longer listed, but kept" in str(reports[ADDITIONS].warnings), "the guard"
    agreements.sync(ADDITIONS, children_max_age_hours=1e-6, max_delete_fraction=0.5)
    assert set(agreements.table(ADDITIONS)) == {11, 12}
    audits = reconciled(agreements, AGREEMENTS, ADDITIONS)
    assert audits[ADDITIONS].proven, audits[ADDITIONS].detail


def test_a_reconcile_does_not_wait_for_such_a_letter_to_be_due(
    agreements: Story, tenant: Tenant
) -> None:
    agreements.sync(AGREEMENTS, ADDITIONS)
    tenant.delete("/finance/agreements", 2)
    audits = reconciled(agreements, AGREEMENTS, ADDITIONS, max_delete_fraction=0.5)
    assert set(agreements.table(ADDITIONS)) == {11, 12}
    assert audits[ADDITIONS].proven, audits[ADDITIONS].detail
    (letter,) = agreements.rows("select resolution from cw_sync.dead_letter")
    assert letter["resolution"] == "the source no longer has the record"


def test_children_stay_when_the_dead_letter_of_their_parent_is_discarded(
    agreements: Story, tenant: Tenant
) -> None:
    agreements.sync(AGREEMENTS, ADDITIONS)
    damage(
        agreements,
        "update cw_sync.dead_letter set resolved_at = now(), resolution = 'discarded: known'",
    )
    tenant.put("/finance/agreements/2/additions", {"id": 23, "quantity": 3})
    agreements.sync(ADDITIONS, children_max_age_hours=1e-6)
    assert set(agreements.table(ADDITIONS)) == {11, 12, 21, 22, 23}
    audits = reconciled(agreements, ADDITIONS)
    assert audits[ADDITIONS].proven, audits[ADDITIONS].detail


def test_children_of_parents_that_our_table_lacks_are_read(agreements: Story) -> None:
    """Whoever reconciles additions alone does not rely on the table of agreements."""
    agreements.sync(AGREEMENTS)
    damage(
        agreements,
        "delete from connectwise.finance_agreements where id = 1",
        "delete from cw_sync.dead_letter",
    )
    audits = reconciled(agreements, ADDITIONS)
    assert set(agreements.table(ADDITIONS)) == {11, 12, 21, 22}
    assert (audits[ADDITIONS].missing, audits[ADDITIONS].proven) == (4, True)


def test_children_two_levels_down_are_compared_with_the_parents_that_the_source_lists(
    story: Story, tenant: Tenant
) -> None:
    schedules = "procurement/pricingschedules"
    details, breaks = f"{schedules}/details", f"{schedules}/details/breaks"
    tenant.put(f"/{schedules}", {"id": 1, "name": "list prices"})
    tenant.put(f"/{schedules}/1/details", {"id": 5})
    tenant.put(f"/{schedules}/1/details/5/breaks", {"id": 51})
    story.sync(schedules, details, breaks)
    assert set(story.table(breaks)) == {51}
    damage(
        story,
        "delete from connectwise.procurement_pricingschedules_details_breaks",
        "delete from connectwise.procurement_pricingschedules_details",
    )
    audits = reconciled(story, breaks)
    assert set(story.table(breaks)) == {51}
    assert (audits[breaks].missing, audits[breaks].proven) == (1, True)
    tenant.delete(f"/{schedules}/1/details", 5)  # of which nothing here says what it is below
    hidden = {f"/{schedules}/1/details"}

    def hide(path: str, _: ListRequest) -> None:
        if path in hidden:
            raise Refusal(no_endpoint())

    story.simulator.before_page(hide)
    report = story.one(breaks, children_max_age_hours=1e-6)
    assert "details 5 belong to is not known" in str(report.warnings)
    audits = reconciled(story, breaks)
    assert "still has 5 cannot be found out" in audits[breaks].detail, "a 404 alone says nothing"
    assert set(story.table(breaks)) == {51}
    hidden.clear()
    audits = reconciled(story, breaks)
    assert set(story.table(breaks)) == set()
    assert audits[breaks].proven, audits[breaks].detail


def test_rows_deleted_doubled_and_spoilt_by_hand_are_found_in_each_kind_of_list(
    agreements: Story, tenant: Tenant, server: Server
) -> None:
    """Read by window, whole, and below parents; the rows of a record's elements, too."""
    agreements.options["max_delete_fraction"] = 1
    tenant.edit("/finance/agreements", 2, billAmount=20)
    field = {"id": 1, "caption": "Colour", "type": "Text", "value": "red"}
    for own in range(1, 7):
        ticket = {"id": own, "summary": f"ticket {own}", "customFields": [field]}
        tenant.put("/service/tickets", ticket)
        tenant.put("/finance/accountingPackages", {"id": own, "name": f"package {own}"})
    lists = (TICKETS, WHOLE, AGREEMENTS, ADDITIONS)
    values = {TICKETS: "summary", WHOLE: "name", ADDITIONS: "quantity"}
    tenant.advance(3600)
    agreements.sync(*lists)
    before = {name: _contents(agreements, name) for name in lists}
    assert all(each.proven for each in reconciled(agreements, *lists).values())
    elements = "connectwise.service_tickets__custom_fields"
    stored = agreements.rows(f"select * from {elements} order by 1, 2")  # noqa: S608 - ours
    damage(
        agreements,
        f"delete from {elements} where parent_id = 5",  # noqa: S608 - ours
        f"update {elements} set value = null where parent_id = 6",  # noqa: S608 - ours
    )
    for name, value in values.items():
        table = f"connectwise.{CATALOG[name].table}"
        one, two, three, four = sorted(before[name])[:4]
        copied = [c.name for c in CATALOG[name].row_columns if c.name != "id"]
        columns = ", ".join(f'"{column}"' for column in copied)
        damage(
            agreements,
            *(
                statement.format(
                    table=table,
                    columns=columns,
                    value=value,
                    one=one,
                    two=two,
                    three=three,
                    four=four,
                )
                for statement in DAMAGE
            ),
        )
    audits = reconciled(agreements, *lists)
    for name in values:
        audit, more = audits[name], 2 if name == TICKETS else 0
        assert (audit.missing + audit.stale, audit.extra) == (4 + more, 1), (name, audit)
        assert _contents(agreements, name) == before[name], name
    again = agreements.rows(f"select * from {elements} order by 1, 2")  # noqa: S608 - ours
    assert again == stored
    assert all(each.proven for each in reconciled(agreements, *lists).values())
    for spoil in UNSEEN:
        as_admin(server, agreements.dsn, *spoil)
        assert sum(each.stale for each in reconciled(agreements, *lists).values()), spoil
        assert agreements.rows(f"select * from {elements} order by 1, 2") == stored, spoil  # noqa: S608 - ours
        for name in values:
            assert _contents(agreements, name) == before[name], (name, spoil)
        assert all(each.proven for each in reconciled(agreements, *lists).values()), spoil


def test_merges_do_not_wait_while_all_rows_are_marked(story: Story, tenant: Tenant) -> None:
    tenant.put("/service/tickets", {"id": 1, "summary": "as it is"})
    story.sync(TICKETS)
    waits = (
        "select from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock' and query like '%%_row_hash = 0%%'"
    )
    with ThreadPoolExecutor(1) as pool, psycopg.connect(story.dsn) as merging:
        merging.execute("alter table connectwise.service_tickets disable trigger hand_edit")
        merging.execute("update connectwise.service_tickets set _row_hash = 5, summary = 'unseen'")
        merging.commit()
        merging.execute("select from connectwise.service_tickets for update")
        audits = pool.submit(reconciled, story, TICKETS)
        while not story.rows(waits):
            assert not audits.done(), audits.result()
            time.sleep(0.02)
        merging.execute(
            "set lock_timeout = '1 s'; lock table connectwise.service_tickets in row exclusive mode"
        )
        merging.rollback()
        assert audits.result()[TICKETS].stale == 1
    assert story.table(TICKETS)[1]["summary"] == "as it is"
    assert reconciled(story, TICKETS)[TICKETS].proven


def _contents(story: Story, name: str) -> dict[int, dict[str, object]]:
    """The live rows, without what says when they were written."""
    columns = {column.name for column in CATALOG[name].row_columns} - {"_synced_at"}
    return {
        own: {name: value for name, value in row.items() if name in columns}
        for own, row in story.table(name).items()
    }


@pytest.mark.parametrize("name", [TICKETS, WHOLE, ADDITIONS])
def test_a_record_without_an_id_is_counted_once_though_it_is_listed_behind_every_id(
    agreements: Story, name: str
) -> None:
    """So it is on a page with others, and once more on the one behind the last of these."""
    path = "/finance/agreements/1/additions" if name == ADDITIONS else f"/{name}"
    tenant = agreements.tenant
    for own in (1, 2):
        tenant.put(path, {"id": own})
    nameless = tenant.collection(path)
    for own in (2**62, 2**62 + 1):
        nameless.put_raw(own, 0, b'{"id": "ten"}' if own % 2 else b'{"id": null}')
    tenant.advance(3600)
    report = agreements.sync(AGREEMENTS, name)[name]
    assert report.dead_letters == 2
    read = report.rows_inserted + report.rows_updated + report.rows_unchanged
    assert report.rows_read == read + 2
    audit = reconciled(agreements, name)[name]
    assert "2 records" in audit.detail
    assert not audit.proven


def test_ids_of_zero_and_below_are_ids_on_pages_of_any_size(
    agreements: Story, tenant: Tenant
) -> None:
    ids = {-7, -5, 0, 1, 2}
    for path in (f"/{TICKETS}", f"/{WHOLE}", "/finance/agreements/1/additions"):
        for own in ids:
            tenant.put(path, {"id": own})
    tenant.delete("/finance/agreements", 2)
    tenant.advance(3600)
    lists = (TICKETS, WHOLE, AGREEMENTS, ADDITIONS)
    for size in (1, 2, 1000):
        reports = agreements.sync(*lists, page_size=size, plan=SyncRequest(full=True))
        assert [report.failure for report in reports.values()] == [None] * 4
        audits = reconciled(agreements, *lists, page_size=size)
        assert all(each.proven for each in audits.values()), audits
    for name, found in ((TICKETS, ids), (WHOLE, ids), (ADDITIONS, ids | {11, 12})):
        assert set(agreements.table(name)) == found


@pytest.mark.parametrize("name", [TICKETS, WHOLE])
def test_a_list_that_shows_less_than_it_counts_is_not_proven(
    story: Story, tenant: Tenant, name: str
) -> None:
    tenant.put(f"/{name}", {"id": 1})
    story.sync(name)
    for answer, says in (
        (Answer(body=b'{"count": 3}'), "/count says 3, and 1 were listed"),
        (Answer(status=403), ""),
        (Answer(status=404), ""),
    ):
        path = f"/v2025_1/apis/3.0/{name}/count"
        story.simulator.own_routes["GET", path] = lambda answer=answer: answer  # type: ignore[misc]
        audit = reconciled(story, name)[name]
        assert audit.proven == (not says), audit.detail
        assert audit.detail.startswith(says)


@pytest.mark.parametrize("name", [TICKETS, WHOLE])
def test_a_record_that_is_listed_twice_is_one_and_what_is_not_proven_says_why(
    story: Story, tenant: Tenant, name: str
) -> None:
    path = f"/{name}"
    for own in (1, 2, 3):
        tenant.put(path, {"id": own})
    tenant.advance(3600)
    twice = tenant.collection(path)
    twice.ids.insert(1, twice.ids[0])
    twice.stamps.insert(1, twice.stamps[0])
    twice.version += 1
    story.sync(name)
    audit = reconciled(story, name)[name]
    assert audit.proven or audit.detail
    assert (audit.source_rows, audit.warehouse_rows) == (3, 3)
    assert audit.proven, audit.detail
