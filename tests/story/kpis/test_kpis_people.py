"""What members worked, could have worked and billed, each basis by itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.story.kpis.conftest import TIME, day, labour, local, money, near, ratio, ref, summed

if TYPE_CHECKING:
    from tests.story.kpis.conftest import Books

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def monday(of: date) -> date:
    return of - timedelta(days=of.weekday())


def working_days(books: Books, member: dict[str, Any]) -> set[date]:
    """The days, until today, on which the member's calendar is open and they were employed."""
    calendars = {one["id"]: one for one in books.records("/schedule/calendars")}
    calendar = calendars.get(ref(member, "calendar"), {})
    off = {
        day(one["date"])
        for one in books.records("/schedule/holidayLists/{id}/holidays")
        if ref(one, "holidayList") == ref(calendar, "holidayList")
    }
    first = max(day(member["hireDate"]) or date.min, date(books.today().year - 5, 1, 1))
    last = books.today()
    if member["inactiveFlag"]:
        last = min(last, date.fromisoformat(member["inactiveDate"][:10]) - timedelta(days=1))
    span = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    return {
        each
        for each in span
        if each not in off
        and (
            calendar.get(f"{_WEEKDAYS[each.weekday()]}StartTime")
            if calendar
            else each.weekday() < 5
        )
    }


def test_capacity_is_the_calendar_less_holidays_while_employed(books: Books) -> None:
    shown: dict[tuple[int, date], Decimal] = defaultdict(Decimal)
    for row in books.view("fct_member_day"):
        shown[row["member_id"], row["date"]] += row["hours_capacity"]
    former = 0
    for member in books.records("/system/members"):
        own = working_days(books, member)
        worked = {each for (who, each), hours in shown.items() if who == member["id"] and hours}
        entered = {
            local(one["timeStart"])
            for one in books.records(TIME)
            if ref(one, "member") == member["id"]
        }
        # Who works although they had left had capacity that day, or nothing would be comparable.
        assert own <= worked
        assert worked - own <= entered
        assert {shown[member["id"], each] for each in own} <= {money(member["dailyCapacity"])}
        former += member["inactiveFlag"]
    assert former, "the seed must hold members who have left"


def test_hours_of_a_week_in_every_basis(books: Books) -> None:
    useful = {one["id"] for one in books.records("/time/workTypes") if one["utilizationFlag"]}
    members = {one["id"] for one in books.records("/system/members")}
    time_off = {
        one["id"] for one in books.records("/time/chargeCodes") if one["name"] == "Vacation"
    }

    def away(one: dict[str, Any]) -> bool:
        return one["chargeToType"] == "ChargeCode" and one["chargeToId"] in time_off

    def late(one: dict[str, Any]) -> bool:
        entered = datetime.fromisoformat(one["dateEntered"])
        return entered - datetime.fromisoformat(one["timeEnd"]) > timedelta(hours=24)

    def key(one: dict[str, Any]) -> tuple[int, date]:
        return ref(one, "member"), monday(local(one["timeStart"]))

    def hours(one: dict[str, Any]) -> Decimal:
        return money(one["actualHours"])

    ours = [one for one in books.records(TIME) if ref(one, "member") in members]
    billable = [one for one in ours if one["billableOption"] == "Billable"]
    utilized = [one for one in ours if ref(one, "workType") in useful and not away(one)]
    true = {
        "hours_actual": summed(ours, key, hours),
        "time_entries": summed(ours, key, lambda _: Decimal(1)),
        "labour_cost": summed(ours, key, labour),
        "hours_time_off": summed([one for one in ours if away(one)], key, hours),
        "hours_billable": summed(billable, key, hours),
        "hours_billed": summed(billable, key, lambda one: money(one["hoursBilled"])),
        "hours_agreement": summed(ours, key, lambda one: money(one["agreementHours"])),
        "revenue": summed(billable, key, lambda one: money(one["extendedInvoiceAmount"])),
        "hours_utilized": summed(utilized, key, hours),
        "late_time_entries": summed(ours, key, lambda one: Decimal(late(one))),
    }
    shown = {(row["member_id"], row["week"]): row for row in books.view("kpi_member_week")}
    assert {key for own in true.values() for key in own} <= set(shown)
    for week, row in shown.items():
        for name, own in true.items():
            assert near(row[name], own[week]), (week, name)
        capacity, worked = row["hours_capacity"], true["hours_actual"][week]
        assert ratio(row["utilization"], true["hours_utilized"][week], capacity)
        available = capacity - true["hours_time_off"][week]
        assert ratio(row["utilization_of_available"], true["hours_utilized"][week], available)
        assert ratio(row["billable_rate"], true["hours_billable"][week], capacity)
        assert ratio(row["realization"], true["hours_billed"][week], worked)


def test_work_across_midnight_counts_on_the_local_day_it_began(books: Books) -> None:
    nightly = [
        one
        for one in books.records(TIME)
        if one["timeStart"][:10] != one["timeEnd"][:10]
        or one["timeStart"][:10] != local(one["timeStart"]).isoformat()
    ]
    assert len(nightly) > 10
    shown = {row["time_entry_id"]: row["work_date"] for row in books.view("fct_time_entry")}
    assert {one["id"]: local(one["timeStart"]) for one in nightly} == {
        one["id"]: shown[one["id"]] for one in nightly
    }


def test_work_that_is_not_billed_costs_all_the_same(books: Books) -> None:
    free = [one for one in books.records(TIME) if one["billableOption"] != "Billable"]
    assert free
    shown = {row["time_entry_id"]: row for row in books.view("fct_time_entry")}
    for one in free:
        row = shown[one["id"]]
        assert (row["hours_billed"], row["revenue"]) == (0, 0)
        assert row["labour_cost"] == labour(one)


def test_a_join_with_any_dimension_loses_no_row(books: Books) -> None:
    """The system member is named by tickets and time, and is not in the list of members."""
    dims = {
        "company_id": "dim_company",
        "vendor_id": "dim_company",
        "member_id": "dim_member",
        "owner_id": "dim_member",
        "board_id": "dim_board",
        "status_id": "dim_ticket_status",
        "type_id": "dim_ticket_type",
        "sub_type_id": "dim_ticket_subtype",
        "item_id": "dim_ticket_item",
        "priority_id": "dim_priority",
        "sla_id": "dim_sla",
        "source_id": "dim_source",
        "contact_id": "dim_contact",
        "site_id": "dim_site",
        "location_id": "dim_location",
        "department_id": "dim_department",
        "agreement_id": "dim_agreement",
        "project_id": "dim_project",
        "phase_id": "dim_phase",
        "product_id": "dim_product",
        "work_type_id": "dim_work_type",
        "work_role_id": "dim_work_role",
        "charge_code_id": "dim_charge_code",
        "currency_id": "dim_currency",
        "billing_status_id": "dim_billing_status",
        "opportunity_stage_id": "dim_opportunity_stage",
        "opportunity_status_id": "dim_opportunity_status",
        "opportunity_type_id": "dim_opportunity_type",
        "activity_type_id": "dim_activity_type",
        "schedule_type_id": "dim_schedule_type",
        "date_id": "dim_date",
        "month_id": "dim_date",
        "entered_date_id": "dim_date",
        "closed_date_id": "dim_date",
        "work_date_id": "dim_date",
        "goal_date_id": "dim_date",
        "team_id": "dim_team",
        "service_location_id": "dim_service_location",
    }
    keys = {"owner_id": "member_id", "vendor_id": "company_id"}
    columns = books.ask(
        "select table_name, column_name from information_schema.columns where table_schema ="
        " 'reporting' and (table_name like 'fct%' or table_name like 'kpi%')"
    )
    asked = defaultdict(list)
    for row in columns:
        fact, column = row["table_name"], row["column_name"]
        if column not in dims or (fact.endswith("_all") and not column.endswith("date_id")):
            continue
        dim = dims[column]
        key = "date_id" if dim == "dim_date" else keys.get(column, column)
        asked[fact].append(
            f"select '{column}' as key, f.{column} as lost from f"  # noqa: S608 - ours
            f" left join reporting.{dim} d on d.{key} = f.{column} where d.{key} is null"
        )
    for fact, each in asked.items():  # a fact is read once for all of its keys
        query = f"with f as materialized (table reporting.{fact}) {' union all '.join(each)}"
        lost = books.ask(query)
        assert not lost, (fact, lost[:3])
    checked = sum(map(len, asked.values()))
    assert checked > 80
    assert books.view("fct_time_entry", "where member_id = -1")


def test_keys_of_dimensions_are_unique(books: Books) -> None:
    names = books.ask(
        "select relname from pg_class where relnamespace = 'reporting'::regnamespace"
        " and relkind in ('r', 'v') and relname like 'dim%' and relname <> 'dim_calendar_day'"
    )
    for row in names:
        own = books.view(row["relname"])
        key = next(iter(own[0]))
        counted = Counter(each[key] for each in own)
        assert max(counted.values()) == 1, (row["relname"], counted.most_common(2))
        assert counted[-1] == 1, row["relname"]


def test_days_are_kept_and_today_is_the_tenants_own(books: Books) -> None:
    rows = {row["date"]: row for row in books.view("dim_date") if row["date"]}
    assert (min(rows), max(rows)) == (date(1990, 1, 1), date(2050, 12, 31))
    assert len(rows) == (max(rows) - min(rows)).days + 1
    today = books.today()
    for own in (today, today - timedelta(days=40), date(2024, 2, 29), date(2050, 12, 31)):
        row = rows[own]
        assert row["date_id"] == int(f"{own:%Y%m%d}")
        assert row["days_from_today"] == (own - today).days
        assert row["week_starts_on"] == own - timedelta(days=own.weekday())
        assert row["is_month_end"] == ((own + timedelta(days=1)).day == 1)
        assert (row["month_name"], row["weekday_name"]) == (f"{own:%b}", f"{own:%a}")
    (plan,) = books.ask("explain (format json) select * from reporting.dim_date")
    assert "generate_series" not in str(plan), "generated at each use"


def test_holidays_are_those_of_the_calendar_that_most_members_work_by(books: Books) -> None:
    calendars = {one["id"]: one for one in books.records("/schedule/calendars")}
    worked_by = Counter(
        ref(member, "calendar")
        for member in books.records("/system/members")
        if not member["inactiveFlag"] and ref(member, "calendar") in calendars
    )
    most = min(worked_by, key=lambda own: (-worked_by[own], own))
    off = {
        day(one["date"])
        for one in books.records("/schedule/holidayLists/{id}/holidays")
        if ref(one, "holidayList") == ref(calendars[most], "holidayList")
    }
    days = books.view("dim_date", "where date is not null")
    assert {row["date"] for row in days if row["is_holiday"]} == off != set()
    assert all((row["holiday_name"] is not None) == row["is_holiday"] for row in days)
    assert {row["date"] for row in days if row["is_working_day"]} == {
        row["date"] for row in days if row["date"].weekday() < 5
    } - off
