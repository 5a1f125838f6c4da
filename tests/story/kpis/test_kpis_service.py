"""What a service manager reads about tickets is what the tenant's tickets say."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from statistics import mean
from typing import TYPE_CHECKING, Any

from tests.story.kpis.conftest import TICKETS, local, month, near, ref
from tests.story.kpis.test_kpis_sla import settled, to_resolution, to_response

if TYPE_CHECKING:
    from datetime import date

    from tests.story.kpis.conftest import Books


def minutes(ticket: dict[str, Any], until: str) -> float:
    """From the entering of a ticket until one of its moments, around the clock."""
    entered = datetime.fromisoformat(ticket["_info"]["dateEntered"])
    return (datetime.fromisoformat(ticket[until]) - entered).total_seconds() / 60


def test_what_came_in_and_what_was_closed_each_day(books: Books) -> None:
    opened: Counter[tuple[date, int]] = Counter()
    closed: Counter[tuple[date, int]] = Counter()
    same: Counter[tuple[date, int]] = Counter()
    for one in books.service():
        board, came = ref(one, "board"), local(one["_info"]["dateEntered"])
        opened[came, board] += 1
        if one["closedFlag"]:
            went = local(one["closedDate"])
            closed[went, board] += 1
            same[came, board] += came == went
    shown = {(row["date"], row["board_id"]): row for row in books.view("kpi_service_daily")}
    assert set(shown) == set(opened) | set(closed) | {
        (books.today(), ref(books.tenant.get(TICKETS, books.reopened), "board"))
    }
    for key, row in shown.items():
        assert row["tickets_opened"] == opened[key], key
        assert row["tickets_closed"] == closed[key], key
        assert row["tickets_closed_same_day"] == same[key], key
        if opened[key]:
            assert near(row["kill_rate"], closed[key] / opened[key])
            assert near(row["same_day_close_rate"], same[key] / opened[key])
        else:
            assert row["kill_rate"] is None


def test_days_end_at_midnight_where_the_tenant_is_not_in_utc(books: Books) -> None:
    late = [
        one
        for one in books.service()
        if one["closedFlag"] and one["closedDate"][:10] != local(one["closedDate"]).isoformat()
    ]
    assert late, "the seed must hold tickets closed between local and UTC midnight"
    shown = {row["ticket_id"]: row for row in books.view("fct_ticket")}
    for one in late:
        assert shown[one["id"]]["closed_date"] == local(one["closedDate"])


def test_response_resolution_and_sla_of_the_closed_in_both_bases(books: Books) -> None:
    done = [one for one in books.service() if one["closedFlag"]]
    times = books.entries_by_ticket()
    total = books.ask(
        "select "  # noqa: S608 - ours
        + ", ".join(f"sum({name}) as {name}" for name in _SUMMED)
        + " from reporting.kpi_service_daily"
    )[0]
    assert total["closed_with_time"] == sum(bool(times[one["id"]]) for one in done)
    assert total["closed_first_touch"] == sum(len(times[one["id"]]) == 1 for one in done)
    assert total["closed_single_member"] == sum(
        len({ref(each, "member") for each in times[one["id"]]}) == 1 for one in done
    )
    assert total["closed_in_sla"] == sum(one["isInSla"] for one in done)
    assert total["closed_out_of_sla"] == sum(not one["isInSla"] for one in done)
    for name, stage in (("respond", 0), ("plan", 1), ("resolve", 2)):
        counted = Counter(settled(one, stage) for one in done)
        assert total[f"{name}_goals"] == counted["met"] + counted["missed"]
        assert total[f"{name}_goals_met"] == counted["met"]
    answered = [one for one in done if "dateResponded" in one or one["respondedSkippedMinutes"]]
    resolved = [one for one in done if "dateResolved" in one]
    assert total["responded"] == len(answered)
    assert total["resolved"] == len(resolved)
    assert total["respond_business_minutes"] == sum(to_response(one) for one in answered)
    assert total["resolve_business_minutes"] == sum(to_resolution(one) for one in resolved)
    assert near(
        total["resolve_calendar_minutes"],
        sum(minutes(one, "dateResolved") for one in resolved),
        "0.001",
    )
    assert near(
        total["respond_calendar_minutes"],
        sum(minutes(one, "dateResponded") for one in done if "dateResponded" in one),
        "0.001",
    )
    assert near(
        total["close_calendar_minutes"], sum(minutes(one, "closedDate") for one in done), "0.001"
    )
    assert near(
        total["hours_actual"],
        sum(each["actualHours"] for one in done for each in times[one["id"]]),
    )


_SUMMED = (
    "closed_with_time",
    "closed_first_touch",
    "closed_single_member",
    "closed_in_sla",
    "closed_out_of_sla",
    "respond_goals",
    "respond_goals_met",
    "plan_goals",
    "plan_goals_met",
    "responded",
    "resolved",
    "resolve_calendar_minutes",
    "resolve_goals",
    "resolve_goals_met",
    "respond_business_minutes",
    "resolve_business_minutes",
    "respond_calendar_minutes",
    "close_calendar_minutes",
    "hours_actual",
)


def test_merged_tickets_are_kept_but_counted_nowhere(books: Books) -> None:
    merged = {one["id"] for one in books.records(TICKETS) if "mergedParentTicket" in one}
    assert merged
    shown = {row["ticket_id"] for row in books.view("fct_ticket", "where is_merged")}
    assert shown == merged
    daily = {row["ticket_id"] for row in books.view("fct_ticket_daily")}
    assert not daily & merged


def test_deleted_records_are_out_of_every_fact_and_kept_in_the_all_variant(books: Books) -> None:
    assert not books.view("fct_ticket", f"where ticket_id = {books.deleted[TICKETS]}")
    (kept,) = books.view("fct_ticket_all", f"where ticket_id = {books.deleted[TICKETS]}")
    assert kept["is_deleted"]
    assert not books.view("fct_ticket_daily", f"where ticket_id = {books.deleted[TICKETS]}")
    own = books.deleted["/time/entries"]
    assert not books.view("fct_time_entry", f"where time_entry_id = {own}")
    assert not books.view("fct_invoice", f"where invoice_id = {books.deleted['/finance/invoices']}")


def test_backlog_is_who_was_open_at_the_end_of_each_local_day(books: Books) -> None:
    today, true = books.today(), defaultdict(set)
    for one in [*books.service(), *books.records("/project/tickets")]:
        came = local(one["_info"]["dateEntered"])
        went = local(one["closedDate"]) if one["closedFlag"] else today
        first = max(came, today - timedelta(days=400))
        for back in range((min(went, today) - first).days):
            true[first + timedelta(days=back)].add(one["id"])
    # It was closed once before, on the day its record said until it was reopened.
    shown = defaultdict(set)
    for row in books.view("fct_ticket_daily", f"where ticket_id <> {books.reopened}"):
        shown[row["date"]].add(row["ticket_id"])
    assert shown == {each: own - {books.reopened} for each, own in true.items() if own}


def test_backlog_ages_and_boards_as_of_that_day(books: Books) -> None:
    rows = books.view("kpi_backlog_daily")
    facts = books.view("fct_ticket_daily", "where record_type = 'ServiceTicket'")
    assert sum(row["tickets_open"] for row in rows) == len(facts)
    yesterday = books.today() - timedelta(days=1)
    assert sum(row["age_days"] for row in rows) == sum(row["age_days"] for row in facts)
    shown = Counter({row["age_bucket"]: 0 for row in rows})
    for row in rows:
        if row["date"] == yesterday:
            shown[row["age_bucket"]] += row["tickets_open"]
    true: Counter[str] = Counter()
    for one in books.service():
        if books.open_yesterday(one):
            age = (yesterday - local(one["_info"]["dateEntered"])).days
            true["0-1" if age < 2 else "2-7" if age < 8 else "8-30" if age < 31 else "31+"] += 1
    assert shown == true
    # Moved today: until yesterday it was on its old board, with its old owner.
    (was,) = [
        row for row in facts if row["ticket_id"] == books.moved["id"] and row["date"] == yesterday
    ]
    assert was["board_id"] == books.moved["board"]
    assert was["owner_id"] == books.moved["owner"]
    (now,) = books.view("fct_ticket", f"where ticket_id = {books.moved['id']}")
    assert (now["board_id"], now["owner_id"]) == (5, -1)


def test_a_reopened_ticket_shows_with_its_spans_and_is_closed_once(books: Books) -> None:
    turns = books.view(
        "fct_ticket_transition",
        f"where ticket_id = {books.reopened} and attribute = 'closed_flag' order by changed_at",
    )
    assert [(row["from_value"], row["to_value"]) for row in turns] == [
        ("true", "false"),
        ("false", "true"),
    ]
    assert [row["is_reopening"] for row in turns] == [True, False]
    assert sum(row["tickets_reopened"] for row in books.view("kpi_service_daily")) == 1
    spans = books.view(
        "fct_ticket_status_span",
        f"where ticket_id = {books.reopened} order by began_at nulls first",
    )
    assert [row["began_at"] is None for row in spans] == [True, False, False]
    assert [row["is_current"] for row in spans] == [False, False, True]
    assert spans[1]["began_at"] == spans[0]["ended_at"]
    assert near(
        spans[1]["calendar_minutes"],
        (spans[1]["ended_at"] - spans[1]["began_at"]).total_seconds() / 60,
    )
    (stay,) = books.view("kpi_time_in_status")
    assert (stay["stays"], stay["status_id"]) == (1, spans[1]["status_id"])
    before = books.view(
        "fct_ticket_daily", f"where ticket_id = {books.reopened} order by date desc limit 1"
    )
    assert not before or before[0]["date"] < books.today() - timedelta(days=1), (
        "closed until today: yesterday's backlog does not have it"
    )


def test_untouched_tickets_are_those_without_change_or_work_for_a_week(books: Books) -> None:
    times, now = books.entries_by_ticket(), datetime.now(UTC)
    stale = set()
    for one in [*books.service(), *books.records("/project/tickets")]:
        touched = [one["_info"]["lastUpdated"], *(e["timeStart"] for e in times[one["id"]])]
        latest = max(map(datetime.fromisoformat, touched))
        if not one["closedFlag"] and now - latest > timedelta(days=7):
            stale.add(one["id"])
    assert {row["ticket_id"] for row in books.view("kpi_stale_ticket")} == stale


def test_the_leaderboard_counts_tickets_by_owner_and_hours_by_who_worked(books: Books) -> None:
    members = {one["id"] for one in books.records("/system/members")}
    closed: Counter[tuple[int, date]] = Counter()
    in_sla: Counter[tuple[int, date]] = Counter()
    first: Counter[tuple[int, date]] = Counter()
    replies, solved = defaultdict(list), defaultdict(list)
    times = books.entries_by_ticket()
    for one in books.service():
        if one["closedFlag"]:
            owner = ref(one, "owner")
            key = (owner if owner in members else -1, month(local(one["closedDate"])))
            closed[key] += 1
            in_sla[key] += one["isInSla"]
            first[key] += len(times[one["id"]]) == 1
            if "dateResponded" in one or one["respondedSkippedMinutes"]:
                replies[key].append(to_response(one))
            if "dateResolved" in one:
                solved[key].append(to_resolution(one))
    hours: Counter[tuple[int, date]] = Counter()
    billable: Counter[tuple[int, date]] = Counter()
    for entry in books.records("/time/entries"):
        if ref(entry, "member") in members:
            key = (ref(entry, "member"), month(local(entry["timeStart"])))
            hours[key] += entry["actualHours"]
            billable[key] += entry["actualHours"] * (entry["billableOption"] == "Billable")
    shown = {(row["member_id"], row["month"]): row for row in books.view("kpi_technician_month")}
    assert set(closed) | {key for key, own in hours.items() if own} <= set(shown)
    for key, row in shown.items():
        assert row["tickets_closed"] == closed[key], key
        assert row["closed_in_sla"] == in_sla[key], key
        assert row["closed_first_touch"] == first[key], key
        assert near(row["hours_actual"], hours[key]), key
        assert near(row["hours_billable"], billable[key]), key
        assert not solved[key] or near(row["average_resolve_business_minutes"], mean(solved[key]))
        reply = row["average_respond_business_minutes"]
        assert not replies[key] or near(reply, mean(replies[key]))
    assert (-1 in {member for member, _ in closed}) == (-1 in {member for member, _ in shown})


def test_an_answer_counts_for_who_owns_the_ticket(books: Books) -> None:
    members = {one["id"] for one in books.records("/system/members")}
    tickets = [*books.records(TICKETS), *books.records("/project/tickets")]
    owners = {one["id"]: ref(one, "owner") for one in tickets}
    points = defaultdict(list)
    for one in books.records("/service/surveys/{id}/results"):
        if one["ticketId"] in owners:
            owner = owners[one["ticketId"]]
            entered = month(local(one["_info"]["dateEntered"]))
            points[owner if owner in members else -1, entered].append(one["totalPoints"])
    for row in books.view("kpi_technician_month"):
        given = points.pop((row["member_id"], row["month"]), [])
        assert row["survey_answers"] == len(given)
        assert not given or near(row["average_survey_points"], mean(given))
    assert not points


def test_satisfaction_is_points_an_answer(books: Books) -> None:
    points = defaultdict(list)
    closed = Counter(
        (ref(one, "company"), month(local(one["closedDate"])))
        for one in books.service()
        if one["closedFlag"]
    )
    for one in books.records("/service/surveys/{id}/results"):
        key = (ref(one, "company"), month(local(one["_info"]["dateEntered"])))
        points[key].append(one["totalPoints"])
    shown = {(row["company_id"], row["month"]): row for row in books.view("kpi_csat_month")}
    assert set(shown) == set(points)
    for key, row in shown.items():
        assert row["answers"] == len(points[key])
        assert near(row["average_points"], mean(points[key]))
        rate = row["response_rate"]
        assert rate is None if not closed[key] else near(rate, len(points[key]) / closed[key])


def test_load_is_tickets_of_a_year_a_contact_and_a_device(books: Books) -> None:
    since = books.today() - timedelta(days=365)
    tickets = Counter(
        ref(one, "company") for one in books.service() if local(one["_info"]["dateEntered"]) > since
    )
    contacts = Counter(
        ref(one, "company") for one in books.records("/company/contacts") if not one["inactiveFlag"]
    )
    devices = Counter(
        ref(one, "company") for one in books.records("/company/configurations") if one["activeFlag"]
    )
    live = {one["id"] for one in books.records("/company/companies") if not one["deletedFlag"]}
    rows = books.view("kpi_client_load")
    assert {row["company_id"] for row in rows} == live
    for row in rows:
        own = row["company_id"]
        assert (row["tickets"], row["contacts"]) == (tickets[own], contacts[own])
        assert row["configurations"] == devices[own]
        if tickets[own] and contacts[own]:
            assert near(row["tickets_per_contact"], tickets[own] / contacts[own])
        if tickets[own] and devices[own]:
            assert near(row["tickets_per_configuration"], tickets[own] / devices[own])
