"""Gauges that managers ask for, against what the tenant's own records say."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.story.kpis.conftest import (
    AGREEMENTS,
    INVOICES,
    TIME,
    day,
    labour,
    local,
    money,
    month,
    near,
    ref,
    signed,
    summed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.story.kpis.conftest import Books


def identifiers(books: Books) -> dict[str, int]:
    return {one["identifier"].lower(): one["id"] for one in books.records("/system/members")}


def test_open_tickets_say_what_they_wait_for(books: Books) -> None:
    now = datetime.now(UTC)
    stages = {
        one["id"]: one["escalationStatus"] for one in books.records("/service/boards/{id}/statuses")
    }
    ahead = {
        one["objectId"]
        for one in books.records("/schedule/entries")
        if one["type"]["identifier"] == "S"
        and not one["doneFlag"]
        and one["dateEnd"] >= f"{now:%FT%T}Z"
    }
    shown = {
        row["ticket_id"]: row
        for row in books.view("kpi_open_ticket", "where record_type = 'ServiceTicket'")
    }
    opened = {one["id"]: one for one in books.service() if not one["closedFlag"]}
    assert set(shown) == set(opened)
    for own, one in opened.items():
        row, stage = shown[own], stages.get(ref(one, "status"))
        assert row["is_unassigned"] == ("owner" not in one and not one.get("resources"))
        assert row["is_customer_updated"] == one["customerUpdatedFlag"]
        assert row["is_unscheduled"] == (own not in ahead)
        assert row["is_waiting"] == (stage == "NoEscalation")
        if stage:
            assert row["is_new"] == (stage == "NotResponded")
        assert row["age_days"] == (books.today() - local(one["_info"]["dateEntered"])).days


KEYS = {
    "team": "team_id",
    "priority": "priority_id",
    "type": "type_id",
    "subType": "sub_type_id",
    "company": "company_id",
    "location": "location_id",
    "board": "board_id",
    "status": "status_id",
    "contact": "contact_id",
    "site": "site_id",
    "source": "source_id",
    "agreement": "agreement_id",
}


def by(
    records: list[dict[str, Any]],
    field: str,
    weight: Callable[[dict[str, Any]], int] = lambda _: 1,
) -> Counter[int]:
    """How many records have each id in a field."""
    found: Counter[int] = Counter()
    for one in records:
        found[ref(one, field)] += weight(one)
    return +found


def test_service_sla_and_backlog_by_any_key_of_a_ticket(books: Books) -> None:
    tickets, yesterday = books.service(), books.today() - timedelta(days=1)
    goals = ("respondByGoalUTC", "resplanGoalUTC", "resolutionGoalUTC")
    service = "where record_type = 'ServiceTicket' and not is_merged"
    facts = {row["ticket_id"]: row for row in books.view("fct_ticket", service)}
    goal_rows = books.view("fct_ticket_goal", "where record_type = 'ServiceTicket'")
    open_rows = books.view("kpi_open_ticket", "where record_type = 'ServiceTicket'")
    days = books.view("fct_ticket_daily", f"where date = '{yesterday}'")
    then = [one for one in tickets if books.open_yesterday(one)]
    several = 0
    for field, key in KEYS.items():
        done = [one for one in tickets if one["closedFlag"]]
        waiting = [one for one in tickets if not one["closedFlag"]]
        rows = [*facts.values()]
        assert Counter(row[key] for row in rows) == by(tickets, field), key
        assert Counter(row[key] for row in rows if row["is_closed"]) == by(done, field), key
        in_sla = [row[key] for row in rows if row["is_closed"] and row["is_in_sla"]]
        assert Counter(in_sla) == by([one for one in done if one["isInSla"]], field), key
        promised = by(tickets, field, lambda one: sum(goal in one for goal in goals))
        assert Counter(row[key] for row in goal_rows) == promised, key
        assert Counter(row[key] for row in open_rows) == by(waiting, field), key
        backlog = Counter(facts[row["ticket_id"]][key] for row in days if row["ticket_id"] in facts)
        assert backlog == by(then, field), key
        several += len(by(tickets, field)) > 2
    assert several >= 9


def test_a_ticket_has_everybody_who_is_assigned(books: Books) -> None:
    known = identifiers(books)
    true = set()
    for one in books.service():
        names = {name.strip().lower() for name in (one.get("resources") or "").split(",")} - {""}
        true |= {(one["id"], known.get(name, -1)) for name in names}
    rows = books.view(
        "fct_ticket_resource", "where record_type = 'ServiceTicket' and not is_merged"
    )
    assert {(row["ticket_id"], row["member_id"]) for row in rows} == true
    assert len(rows) == len(true)
    assert max(row["resource_count"] for row in rows) == 2
    assert sum(row["member_id"] > 0 for row in rows) > len(rows) / 2


def test_time_sheets_are_handed_in_complete_and_in_time(books: Books) -> None:
    members = {one["id"] for one in books.records("/system/members")}
    hours: defaultdict[tuple[int, date], Decimal] = defaultdict(Decimal)
    late: Counter[tuple[int, date]] = Counter()
    for one in books.records(TIME):
        key = (ref(one, "member"), local(one["timeStart"]))
        hours[key] += money(one["actualHours"])
        entered = datetime.fromisoformat(one["dateEntered"])
        late[key] += entered - datetime.fromisoformat(one["timeEnd"]) > timedelta(hours=24)
    sheets = {one["id"]: one for one in books.records("/time/sheets")}
    rows = {row["timesheet_id"]: row for row in books.view("kpi_timesheet")}
    assert set(rows) == set(sheets)
    oldest = date(books.today().year - 5, 1, 1)
    for own, one in sheets.items():
        first, last = day(one["dateStart"]), day(one["dateEnd"])
        assert first
        assert last
        span = [first + timedelta(days=at) for at in range((last - first).days + 1)]
        if first < oldest or ref(one, "member") not in members:
            continue
        assert rows[own]["hours_entered"] == sum(hours[ref(one, "member"), each] for each in span)
        assert rows[own]["late_time_entries"] == sum(late[ref(one, "member"), e] for e in span)
        assert rows[own]["is_submitted"]
        assert not rows[own]["is_overdue"]


def test_where_the_hours_of_a_month_went(books: Books) -> None:
    members = {one["id"] for one in books.records("/system/members")}
    off = {one["id"] for one in books.records("/time/chargeCodes") if one["name"] == "Vacation"}

    def kind(one: dict[str, Any]) -> str:
        if one["chargeToType"] == "ChargeCode":
            return "time off" if one["chargeToId"] in off else "internal"
        if one["agreementHours"] > 0:
            return "client, covered by an agreement"
        billed = one["billableOption"] == "Billable"
        return "client, billed" if billed else "client, not billed"

    def key(one: dict[str, Any]) -> tuple[Any, ...]:
        member = ref(one, "member")
        return (member if member in members else -1, month(local(one["timeStart"])), kind(one))

    hours = summed(books.records(TIME), key, lambda one: money(one["actualHours"]))
    costs = summed(books.records(TIME), key, labour)
    shown: defaultdict[Any, Decimal] = defaultdict(Decimal)
    cost: defaultdict[Any, Decimal] = defaultdict(Decimal)
    for row in books.view("kpi_work_month"):
        shown[row["member_id"], row["month"], row["kind_of_work"]] += row["hours_actual"]
        cost[row["member_id"], row["month"], row["kind_of_work"]] += row["labour_cost"]
    assert shown == hours
    assert all(near(cost[each], costs[each]) for each in costs)
    assert {each[2] for each in hours} >= {"client, billed", "internal", "time off"}


def what_is_left(
    one: dict[str, Any], granted: dict[date, Decimal], used: dict[date, Decimal], today: date
) -> Decimal:
    """Day by day, as one would with a jar for each month: what is left in all."""
    jars: list[tuple[Decimal, date]] = []  # what is in it, and when that is poured away
    overrun = Decimal()
    at = month(day(one["startDate"]) or today)
    while at <= today:
        jars = [jar for jar in jars if at < jar[1]]
        if at == month(at):
            following = month(at + timedelta(days=31))
            lasts = one.get("expiredDays") or 10**5
            if not one["carryOverUnused"]:
                jars = []
            jars.append((max(granted[at], Decimal()), following + timedelta(days=lasts)))
            overrun = Decimal()
        wanted = used[at] + (max(-granted[at], Decimal()) if at == month(at) else 0)
        for number, (left, until) in enumerate(jars):
            taken = min(wanted, left)
            wanted -= taken
            jars[number] = (left - taken, until)
        overrun += wanted
        at += timedelta(days=1)
    return sum((left for left, _ in jars), Decimal()) - overrun


def test_what_is_left_of_an_agreements_hours(books: Books) -> None:
    """Every agreement of this tenant starts anew with the month, and some carry over."""
    today = books.today()
    used: dict[int, dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for one in books.records(TIME):
        if (own := ref(one, "agreement")) > 0:
            used[own][local(one["timeStart"])] += money(one["agreementHours"])
    adjusted: dict[int, dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for one in books.records(f"{AGREEMENTS}/{{id}}/adjustments"):
        if (on := day(one["effectiveDate"]) or date.min) <= today:
            adjusted[one["agreementId"]][month(on)] += money(one["amount"])
    running = {
        one["id"]: one
        for one in books.records(AGREEMENTS)
        if not one["applicationUnlimitedFlag"]
        and (day(one["startDate"]) or date.min) <= today
        and (one["noEndingDateFlag"] or (day(one.get("endDate")) or date.max) >= today)
        and not (one["cancelledFlag"] and (day(one["dateCancelled"]) or date.max) <= today)
    }
    rows = {row["agreement_id"]: row for row in books.view("kpi_agreement_allotment")}
    assert set(rows) == set(running)
    for own, one in running.items():
        row = rows[own]
        limit = money(one["applicationLimit"])
        granted = defaultdict(
            lambda limit=limit: limit, {of: limit + more for of, more in adjusted[own].items()}
        )
        spent = sum(
            (hours for on, hours in used[own].items() if month(on) == month(today)), Decimal()
        )
        assert (row["period_start"], row["allotment"]) == (month(today), limit)
        assert (row["used"], row["adjusted"]) == (spent, adjusted[own][month(today)])
        assert row["remaining"] == what_is_left(one, granted, used[own], today)
        assert row["remaining"] == limit + row["adjusted"] + row["carried_over"] - spent
        assert row["carried_over"] == 0 or one["carryOverUnused"]
        assert row["is_overrun"] == (row["remaining"] < 0)
    assert any(row["carried_over"] > 0 for row in rows.values())


def test_how_much_depends_on_whom(books: Books) -> None:
    today = books.today()
    revenue = summed(
        (
            one
            for one in books.records(INVOICES)
            if today - timedelta(days=365) < (day(one["date"]) or date.min) <= today
        ),
        lambda one: ref(one, "company"),
        lambda one: signed(one, "subtotal"),
    )
    positive = {own: amount for own, amount in revenue.items() if amount > 0}
    total = sum(positive.values())
    rows = {row["company_id"]: row for row in books.view("kpi_revenue_concentration")}
    assert {own: row["revenue"] for own, row in rows.items()} == positive
    index = sum((amount / total) ** 2 for amount in positive.values())
    for own, row in rows.items():
        larger = sum(amount for amount in positive.values() if amount >= positive[own])
        assert row["rank"] == 1 + sum(amount > positive[own] for amount in positive.values())
        assert near(row["share"], positive[own] / total)
        assert near(row["share_of_larger"], larger / total)
        assert near(row["herfindahl_index"], index)


def test_projects_phase_by_phase(books: Books) -> None:
    hours = summed(
        (one for one in books.records(TIME) if "phase" in one),
        lambda one: (ref(one, "project"), ref(one, "phase")),
        lambda one: money(one["actualHours"]),
    )
    tickets = Counter(
        (ref(one, "project"), ref(one, "phase")) for one in books.records("/project/tickets")
    )
    closed = Counter(
        (ref(one, "project"), ref(one, "phase"))
        for one in books.records("/project/tickets")
        if one["closedFlag"]
    )
    rows = {(row["project_id"], row["phase_id"]): row for row in books.view("kpi_project_phase")}
    assert len(rows) == len(books.records("/project/projects/{id}/phases"))
    assert any(hours[key] for key in rows)
    for key, row in rows.items():
        assert near(row["hours_actual"], hours[key])
        assert (row["tickets"], row["tickets_closed"]) == (tickets[key], closed[key])


def test_quotas_beside_what_was_won(books: Books) -> None:
    names = ("january", "february", "march", "april", "may", "june", "july", "august")
    names += ("september", "october", "november", "december")
    quota: defaultdict[tuple[int, date], Decimal] = defaultdict(Decimal)
    for one in books.records("/sales/quotas"):
        for number, name in enumerate(names, 1):
            first = date(one["forecastYear"], number, 1)
            quota[ref(one, "member"), first] += money(one.get(f"{name}Revenue"))
    won = {
        (row["member_id"], row["currency_id"], row["month"]): row["revenue_won"]
        for row in books.view("kpi_sales_month")
    }
    rows = {(row["member_id"], row["month"]): row for row in books.view("kpi_quota_month")}
    assert {key: row["revenue_quota"] for key, row in rows.items()} == quota
    for (member, first), row in rows.items():
        assert row["revenue_won"] == won.get((member, row["currency_id"], first), 0)


def test_hours_a_client_an_endpoint_and_a_target(books: Books) -> None:
    since = books.today() - timedelta(days=365)
    hours = summed(
        (
            one
            for one in books.records(TIME)
            if one["chargeToType"] != "ChargeCode" and local(one["timeStart"]) > since
        ),
        lambda one: ref(one, "company"),
        lambda one: money(one["actualHours"]),
    )
    for row in books.view("kpi_client_load"):
        own = row["company_id"]
        assert near(row["hours_actual"], hours[own])
        if row["configurations"] and hours[own]:
            assert near(row["hours_per_configuration"], hours[own] / row["configurations"])
    targets = {
        one["id"]: money(one["billableForecast"]) for one in books.records("/system/members")
    }
    for row in books.view("kpi_member_week"):
        assert near(row["hours_target"], row["hours_capacity"] * targets[row["member_id"]] / 100)


def test_touches_and_first_contact(books: Books) -> None:
    times = books.entries_by_ticket()
    done = [one for one in books.service() if one["closedFlag"]]
    (total,) = books.ask(
        "select sum(time_entries) as touches, sum(closed_first_contact) as first"
        " from reporting.kpi_service_daily"
    )
    assert total["touches"] == sum(len(times[one["id"]]) for one in done)
    assert total["first"] == sum(
        len(times[one["id"]]) == 1
        and local(one["closedDate"]) == local(one["_info"]["dateEntered"])
        for one in done
    )


def test_the_pipeline_as_it_was_at_the_end_of_each_day(books: Books) -> None:
    states = {one["id"]: one for one in books.records("/sales/opportunities/statuses")}
    worth = {
        one["id"]: money(one["forecastRevenueTotals"]["revenue"])
        for one in books.records("/sales/opportunities/{id}/forecast")
    }
    today, moved, came_from = books.today(), *books.promoted
    count: Counter[tuple[date, int]] = Counter()
    revenue: defaultdict[tuple[date, int], Decimal] = defaultdict(Decimal)
    for one in books.records("/sales/opportunities"):
        began = local(one.get("dateBecameLead") or one["_info"]["dateEntered"])
        closed = states[ref(one, "status")]["closedFlag"]
        ended = local(one["closedDate"]) if closed else today
        stage = came_from if one["id"] == moved else ref(one, "stage")
        first = max(began, today - timedelta(days=400))
        for back in range((min(ended, today) - first).days):
            key = (first + timedelta(days=back), stage)
            count[key] += 1
            revenue[key] += worth[one["id"]]
    rows = {
        (row["date"], row["opportunity_stage_id"]): row for row in books.view("kpi_pipeline_daily")
    }
    assert {key: row["opportunities"] for key, row in rows.items()} == count
    assert all(near(row["revenue"], revenue[key]) for key, row in rows.items())
    assert (today - timedelta(days=1), came_from) in rows
