from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.facts import facts
from cw_pipeline.model import Kind
from cw_pipeline.simulator import Tenant, seed_tenant, working_day
from cw_pipeline.simulator.tenant import Change, template

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
TICKETS = "/service/tickets"
DATA = Path(__file__).parents[1] / "data"
_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.BIGINT: (int,),
    Kind.NUMERIC: (int, float),
    Kind.BOOLEAN: (bool,),
    Kind.TEXT: (str,),
    Kind.TIMESTAMPTZ: (str,),
    Kind.DATE: (str,),
    Kind.JSONB: (object,),
}


@pytest.fixture(scope="module")
def tenant() -> Tenant:
    return seed_tenant(tickets=600, seed=3, now=NOW)


def _all(tenant: Tenant) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in tenant.paths():
        for record in tenant.records(path).values():
            yield path, record


def test_the_same_seed_gives_the_same_tenant(tenant: Tenant) -> None:
    assert list(_all(seed_tenant(tickets=600, seed=3, now=NOW))) == list(_all(tenant))


def test_another_seed_gives_another_tenant(tenant: Tenant) -> None:
    other = seed_tenant(tickets=600, seed=4, now=NOW)
    assert other.records(TICKETS) != tenant.records(TICKETS)


def test_there_are_as_many_tickets_as_wanted_and_two_time_entries_for_each(tenant: Tenant) -> None:
    assert len(tenant.records(TICKETS)) == 600
    assert len(tenant.records("/time/entries")) == 1200


def test_every_core_entity_has_records(tenant: Tenant) -> None:
    seeded = {template(path) for path in tenant.paths()}
    assert [e.path for e in CATALOG.values() if e.core and template(e.path) not in seeded] == []


def test_nothing_was_changed_in_the_future_and_stamps_are_whole_seconds_with_ties(
    tenant: Tenant,
) -> None:
    stamps = [r["_info"]["lastUpdated"] for r in tenant.records(TICKETS).values()]
    assert all(len(stamp) == len("2026-03-01T09:00:00Z") for stamp in stamps)
    assert max(stamps) <= "2026-03-01T09:00:00Z"
    assert len(set(stamps)) < len(stamps)


def test_ids_have_gaps(tenant: Tenant) -> None:
    ids = list(tenant.records(TICKETS))
    assert ids == sorted(ids)
    assert ids[-1] - ids[0] > len(ids)


def test_records_hold_what_the_catalog_declares(tenant: Tenant) -> None:
    entities = {template(entity.path): entity for entity in CATALOG.values()}
    wrong = set()
    for path, record in _all(tenant):
        entity = entities[template(path)]
        kinds = {column.path: column.kind for column in entity.columns}
        arrays = {array.field for array in entity.arrays}
        for place, value in _leaves(record):
            kind = kinds.get(place, kinds.get(place[:1]))
            if place[0] in arrays or "_info" in place or _fits(kind, value):
                continue
            wrong.add((path, place, kind))
    assert wrong == set()


def test_records_hold_what_the_api_document_requires(tenant: Tenant) -> None:
    """Clients with typed models, which other people wrote, refuse records without."""
    required = json.loads((DATA / "required_fields.json").read_text())
    models = {template(path): fact.get("model") for path, fact in facts()["lists"].items()}
    lacking = set()
    for path, record in _all(tenant):
        names = required.get(models[template(path)], "").split()
        lacking |= {(template(path), name) for name in names if record.get(name) is None}
    assert lacking == set()


def _fits(kind: Kind | None, value: Any) -> bool:
    if kind is None:
        return False
    if kind is Kind.NUMERIC and isinstance(value, str):
        return float(value) >= 0
    return isinstance(value, _TYPES[kind]) and (
        not isinstance(value, bool) or kind in {Kind.BOOLEAN, Kind.JSONB}
    )


def _leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(value, dict):
        yield place, value
        return
    for name, each in value.items():
        yield from _leaves(each, (*place, name))


@pytest.mark.parametrize(
    ("path", "reference", "target"),
    [
        (TICKETS, "company", "/company/companies"),
        (TICKETS, "contact", "/company/contacts"),
        (TICKETS, "board", "/service/boards"),
        (TICKETS, "agreement", "/finance/agreements"),
        ("/time/entries", "invoice", "/finance/invoices"),
        ("/project/tickets", "project", "/project/projects"),
        ("/finance/invoices", "company", "/company/companies"),
        ("/sales/orders", "opportunity", "/sales/opportunities"),
        ("/procurement/products", "ticket", None),
        ("/time/entries", "ticket", None),
    ],
)
def test_references_lead_to_records(
    tenant: Tenant, path: str, reference: str, target: str | None
) -> None:
    either = [target] if target else [TICKETS, "/project/tickets"]
    known = {record_id for each in either for record_id in tenant.records(each)}
    held = [r[reference] for r in tenant.records(path).values() if r.get(reference)]
    assert held
    assert {each["id"] for each in held} <= known


def test_a_tickets_status_is_one_of_its_boards(tenant: Tenant) -> None:
    for ticket in tenant.records(TICKETS).values():
        statuses = tenant.records(f"/service/boards/{ticket['board']['id']}/statuses")
        assert statuses[ticket["status"]["id"]]["closedStatus"] == ticket["closedFlag"]


def test_the_awkward_cases_are_there(tenant: Tenant) -> None:
    tickets = tenant.records(TICKETS).values()
    members = tenant.records("/system/members")
    time = tenant.records("/time/entries").values()
    assert any("mergedParentTicket" in each for each in tickets)
    assert any("parentTicketId" in each for each in tickets)
    assert any(each["status"]["name"] == "Re-opened" and "dateResolved" in each for each in tickets)
    assert any(each["member"]["id"] not in members for each in time)
    assert any(each["inactiveFlag"] for each in members.values())
    assert any(each["timeStart"][:10] != each["timeEnd"][:10] for each in time)
    assert any(each["cancelledFlag"] for each in tenant.records("/finance/agreements").values())
    assert any(each["total"] < 0 for each in tenant.records("/finance/invoices").values())
    assert any(each["deletedFlag"] for each in tenant.records("/company/companies").values())
    assert not any("_info" in each for each in tenant.records("/company/entityTypes").values())
    assert any(
        each.get("lastName") is None for each in tenant.records("/company/contacts").values()
    )


def test_the_tenant_is_a_healthy_provider(tenant: Tenant) -> None:
    """Whoever looks at the demo sees figures as they should be, with a few that need care."""
    tickets = tenant.records(TICKETS).values()
    closed = [each for each in tickets if each["closedFlag"]]
    assert 0.85 < sum(each["isInSla"] for each in closed) / len(closed) < 0.97
    still_open = [each for each in tickets if not each["closedFlag"]]
    assert 0.005 < len(still_open) / len(tickets) < 0.05
    assert min(each["_info"]["dateEntered"] for each in still_open) > "2025-09"
    invoices = tenant.records("/finance/invoices").values()
    overdue = [e for e in invoices if e["balance"] > 0 and e["dueDate"] < "2026-03-01"]
    assert 0 < sum(each["balance"] for each in overdue) < 0.1 * sum(e["total"] for e in invoices)
    recent = [e for e in invoices if e["date"] > "2025-03"]
    revenue = sum(each["subtotal"] for each in recent) / 12
    members = {key: each["hourlyCost"] for key, each in tenant.records("/system/members").items()}
    work = tenant.records("/time/entries").values()
    labour = sum(
        each["actualHours"] * members.get(each["member"]["id"], 0)
        for each in work
        if each["timeStart"] > "2025-03"
    )
    assert 0.15 < labour / 12 / revenue < 0.6
    unbilled = [e for e in work if e["billableOption"] == "Billable" and "invoice" not in e]
    assert sum(e["timeStart"] < "2025-10" for e in unbilled) < 0.01 * len(work)
    points = [
        each["totalPoints"]
        for listed in tenant.children("/service/surveys/{}/results")
        for each in listed
    ]
    assert 8 < sum(points) / len(points) < 9.8
    deals = tenant.records("/sales/opportunities").values()
    due = [each["expectedCloseDate"] for each in deals if each["status"]["name"] == "Open"]
    assert sum(each < "2026-03-01" for each in due) < 0.4 * len(due)


def test_every_user_defined_field_is_listed_and_empty_ones_have_no_value(tenant: Tenant) -> None:
    defined = {r["id"] for r in tenant.records("/system/userDefinedFields").values()}
    empty = 0
    for ticket in tenant.records(TICKETS).values():
        assert len(ticket["customFields"]) == 5
        assert {each["id"] for each in ticket["customFields"]} <= defined
        empty += sum("value" not in each for each in ticket["customFields"])
    assert empty


def test_no_id_is_in_two_lists_of_one_table_even_after_a_day() -> None:
    tenant = seed_tenant(tickets=300, seed=3, now=NOW)
    working_day(tenant, seed=4, share=0.5)
    assert not tenant.records(TICKETS).keys() & tenant.records("/project/tickets").keys()
    for like in (f"{TICKETS}/{{}}/notes", "/finance/agreements/{}/additions"):
        ids = [record["id"] for each in tenant.children(like) for record in each]
        assert len(ids) == len(set(ids)) > 10


@pytest.mark.parametrize("seed", range(8))
def test_a_working_day_reports_exactly_what_changed(seed: int) -> None:
    tenant = seed_tenant(tickets=50, seed=3, now=NOW)
    before = {path: tenant.records(path) for path in tenant.paths()}
    report = working_day(tenant, seed, share=1.0)
    for path in tenant.paths():
        was, now = before.get(path, {}), tenant.records(path)
        assert report.created.get(path, set()) == now.keys() - was.keys(), path
        assert report.deleted.get(path, set()) == was.keys() - now.keys(), path
        edited = {each for each in was.keys() & now.keys() if was[each] != now[each]}
        assert report.edited.get(path, set()) == edited, path
    assert report.created[TICKETS]
    assert report.edited[TICKETS]
    assert report.deleted[TICKETS]


def test_what_a_day_changes_is_stamped_after_it_began() -> None:
    tenant = seed_tenant(tickets=600, seed=3, now=NOW)
    report = working_day(tenant, seed=5, hours=8)
    stamps = [
        tenant.get(TICKETS, each)["_info"]["lastUpdated"]
        for each in report.edited[TICKETS] | report.created[TICKETS]
    ]
    assert min(stamps) >= "2026-03-01T09:30:00Z"
    assert max(stamps) > "2026-03-01T15:00:00Z"


def test_a_day_goes_on_though_somebody_deletes_tickets_meanwhile() -> None:
    tenant = seed_tenant(tickets=50, seed=3, now=NOW)

    def delete(change: Change) -> None:
        if change.path.endswith("/notes") and change.record["ticketId"] in tenant.records(TICKETS):
            tenant.delete(TICKETS, change.record["ticketId"])

    tenant.watchers.append(delete)
    working_day(tenant, seed=4, share=1.0)
    assert not any(
        each["ticketId"] in tenant.records(TICKETS)
        for path in tenant.paths()
        if path.endswith("/notes") and path.startswith(TICKETS)
        for each in tenant.records(path).values()
        if each["text"] == "Worked on it today."
    )


def test_as_many_tickets_close_in_a_day_as_come_in() -> None:
    tenant = seed_tenant(tickets=800, seed=7, now=NOW)
    levels = []
    for day in range(3):
        working_day(tenant, seed=day, share=0.2)
        levels.append(sum(not each["closedFlag"] for each in tenant.records(TICKETS).values()))
    assert levels[0] > 8
    assert max(levels) < 1.3 * min(levels)


def test_a_day_of_a_large_tenant_is_one_of_its_days() -> None:
    """Else the last month of a demo differs from all before it."""
    tenant = seed_tenant(tickets=5000, seed=7, now=NOW)
    before = {own for own, one in tenant.records(TICKETS).items() if one["closedFlag"]}
    report = working_day(tenant, seed=1)
    assert 1 <= len(report.created[TICKETS]) <= 15
    done = [one for own, one in tenant.records(TICKETS).items() if own not in before]
    done = [one for one in done if one["closedFlag"] and one["sla"]["name"] == "Standard SLA"]
    assert done
    for one in done:
        entered, minutes = datetime.fromisoformat(one["_info"]["dateEntered"]), 0
        while entered < NOW + timedelta(days=1):
            minutes += 9 * 60 * (entered.weekday() < 5)
            entered += timedelta(days=1)
        assert one["respondMinutes"] + one["resPlanMinutes"] + one["resolveMinutes"] <= minutes
