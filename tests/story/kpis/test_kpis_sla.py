"""Promises are counted whole, and minutes are read as the tenant counts them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql

from cw_pipeline.reporting import entities, publish, refresh
from cw_pipeline.simulator.seed import seed_tenant
from cw_pipeline.warehouse import migrate
from tests.story.kpis.conftest import SILENT_DESK, TICKETS, ZONE, local, near, ref

if TYPE_CHECKING:
    from tests.story.kpis.conftest import Books

STAGES = ("respond", "plan", "resolve")
DATES = ("dateResponded", "dateResplan", "dateResolved")
GOALS = ("respondByGoalUTC", "resplanGoalUTC", "resolutionGoalUTC")


def settled(ticket: dict[str, Any], stage: int) -> str:
    """What became of a goal, of a ticket that is closed: worked out from its dates."""
    goal = ticket.get(GOALS[stage])
    if goal is None:
        return "no goal"
    if DATES[stage] in ticket:
        return "met" if ticket[DATES[stage]] <= goal else "missed"
    later = [ticket[name] for name in (*DATES[stage:], "closedDate") if name in ticket]
    return "skipped" if min(later) <= goal else "missed"


def to_response(ticket: dict[str, Any]) -> int:
    """Minutes on the SLA's calendar, of a tenant that counts them per stage."""
    return int(ticket["respondMinutes"] + ticket["respondedSkippedMinutes"])


def to_resolution(ticket: dict[str, Any]) -> int:
    """The same until the resolution: what was skipped is in the stage that came instead."""
    return int(ticket["respondMinutes"] + ticket["resPlanMinutes"] + ticket["resolveMinutes"])


def test_who_never_answered_counts_as_a_promise_broken(books: Books) -> None:
    """27 closed, 20 of them never answered and past their goal, five of six answers in time."""
    closed = books.ask(
        "select sum(respond_goals_met) as met, sum(respond_goals) as goals, sum(tickets_closed)"  # noqa: S608
        f" as closed from reporting.kpi_service_daily where board_id = {SILENT_DESK}"
    )
    assert closed == [{"met": 5, "goals": 26, "closed": 27}]
    (due,) = books.ask(
        "select sum(respond_met) as met, sum(respond_missed) as missed, sum(respond_overdue) as"  # noqa: S608
        " overdue, sum(respond_open) as open, sum(respond_paused) as paused,"
        " sum(respond_met) / sum(respond_met + respond_missed + respond_overdue) as rate"
        f" from reporting.kpi_sla_daily where board_id = {SILENT_DESK}"
    )
    assert near(due.pop("rate"), 5 / 29)
    assert due == {"met": 5, "missed": 21, "overdue": 3, "open": 4, "paused": 2}
    own = books.view("fct_ticket_goal", f"where board_id = {SILENT_DESK} and is_counted")
    assert (len(own), sum(row["is_met"] for row in own)) == (29, 5)


def test_open_goals_are_breached_due_soon_or_paused(books: Books) -> None:
    rows = books.view("kpi_sla_open", f"where board_id = {SILENT_DESK} and is_next")
    shown = Counter(row["urgency"] for row in rows)
    assert shown == {
        "breached": 3,
        "paused": 2,
        "due in 1 hour": 1,
        "due in 4 hours": 1,
        "due in 8 hours": 1,
        "later": 1,
    }
    now = datetime.now(UTC)
    for row in rows:
        left = (row["goal_at"] - now).total_seconds() / 3600
        assert near(row["hours_left"], left, "0.2")
        assert row["urgency"] == "paused" or (row["hours_left"] < 0) == (
            row["urgency"] == "breached"
        )


def test_goals_by_the_day_they_are_due(books: Books) -> None:
    today = books.today()
    for stage, name in enumerate(STAGES):
        true: Counter[tuple[date, int, str]] = Counter()
        for one in books.service():
            if one["closedFlag"] and GOALS[stage] in one:
                due = local(one[GOALS[stage]])
                true[due, ref(one, "board"), settled(one, stage)] += 1
        rows = books.view("kpi_sla_daily", f"where date < '{today - timedelta(days=40)}'")
        assert rows
        for row in rows:
            key = (row["date"], row["board_id"])
            # An open ticket can be missed, too, or be met in an early stage.
            assert row[f"{name}_skipped"] >= true[*key, "skipped"], key
            assert row[f"{name}_met"] >= true[*key, "met"], key
            assert row[f"{name}_missed"] >= true[*key, "missed"], key
        open_ = [one for one in books.service() if not one["closedFlag"]]
        total = sum(row[f"{name}_{state}"] for row in books.view("kpi_sla_daily") for state in
                    ("met", "missed", "overdue", "open", "paused", "skipped"))  # fmt: skip
        assert total == sum(true.values()) + sum(GOALS[stage] in one for one in open_)


def business_minutes(books: Books, since: datetime, until: datetime) -> float:
    """On the calendar of the standard agreement, minute by minute of each day's opening hours."""
    lists = "/schedule/holidayLists"
    (first, *_) = books.records(lists)
    holidays = {
        one["date"][:10] for one in books.tenant.records(f"{lists}/{first['id']}/holidays").values()
    }
    day, total = since.date() - timedelta(days=1), 0.0
    while day <= until.date() + timedelta(days=1):
        if day.weekday() < 5 and day.isoformat() not in holidays:
            opens = datetime(day.year, day.month, day.day, 8, tzinfo=ZoneInfo(ZONE))
            closes = opens.replace(hour=17)
            total += max(0.0, (min(until, closes) - max(since, opens)).total_seconds() / 60)
        day += timedelta(days=1)
    return total


def test_minutes_to_the_resolution_are_those_of_the_slas_calendar(books: Books) -> None:
    """A wrong reading of ConnectWise's minutes is off by hours. Each stage rounds down."""
    (reading,) = books.view("kpi_sla_reading")
    assert (reading["reading"], reading["resolve_above_clock"]) == ("per stage", 0)
    rows = {
        row["ticket_id"]: row for row in books.view("fct_ticket", "where resolved_at is not null")
    }
    judged = skipped = waited = 0
    for one in books.service():
        if "dateResolved" not in one or ref(one, "board") == SILENT_DESK:
            continue
        row = rows[one["id"]]
        since = datetime.fromisoformat(one["_info"]["dateEntered"])
        until = datetime.fromisoformat(one["dateResolved"])
        if one["sla"]["name"] == "Standard SLA":
            true = business_minutes(books, since, until)
        else:
            true = (until - since).total_seconds() / 60
        shown = row["resolve_business_minutes"] + row["waiting_business_minutes"]
        assert abs(true - shown) <= 4, one["id"]
        judged += 1
        skipped += one["respondedSkippedMinutes"] + one["resplanSkippedMinutes"] > 0
        waited += one["minutesWaiting"] > 0
    assert judged > 300
    assert skipped > 30
    assert waited > 30


def test_connectwises_own_verdict_stands_beside_ours(books: Books) -> None:
    closed = [one for one in books.service() if one["closedFlag"]]
    judged = [one for one in closed if any(settled(one, n) != "no goal" for n in range(3))]
    missed = {one["id"]: [settled(one, n) == "missed" for n in range(3)] for one in judged}
    rows = books.view("kpi_sla_verdict")
    assert sum(row["tickets"] for row in rows) == len(judged)
    assert sum(row["connectwise_in_sla"] for row in rows) == sum(one["isInSla"] for one in judged)
    differing = [one for one in judged if one["isInSla"] == any(missed[one["id"]])]
    assert sum(row["differing"] for row in rows) == len(differing)
    assert sum(row["in_sla_but_respond_missed"] for row in rows) == sum(
        one["isInSla"] and missed[one["id"]][0] for one in differing
    )
    (told,) = books.view("kpi_data_readiness", "where check_name ~ 'verdict differs'")
    assert (told["affected"], told["total"]) == (len(differing), len(judged))


_COLUMNS = {
    "board_id": ("board", "id"),
    "date_entered": ("_info", "dateEntered"),
    "date_responded": ("dateResponded",),
    "date_resplan": ("dateResplan",),
    "date_resolved": ("dateResolved",),
    "closed_date": ("closedDate",),
    "closed_flag": ("closedFlag",),
    "respond_minutes": ("respondMinutes",),
    "res_plan_minutes": ("resPlanMinutes",),
    "resolve_minutes": ("resolveMinutes",),
    "responded_skipped_minutes": ("respondedSkippedMinutes",),
    "resplan_skipped_minutes": ("resplanSkippedMinutes",),
    "minutes_waiting": ("minutesWaiting",),
}


def _load(dsn: str, records: list[dict[str, Any]]) -> None:
    insert = sql.SQL("insert into connectwise.service_tickets (id, {}) values (%s, {})").format(
        sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
        sql.SQL(", ").join(sql.Placeholder() * len(_COLUMNS)),
    )
    rows = [[one["id"], *(_at(one, path) for path in _COLUMNS.values())] for one in records]
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(insert, rows)
    refresh(dsn, "connectwise")


def _at(record: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        record = record.get(name) if record is not None else None
    return record


def test_how_a_tenant_counts_is_read_off_its_tickets(dsn: str) -> None:
    """Too few to say at first, then cumulative: what was computed before follows."""
    migrate(dsn, "connectwise", entities())
    publish(dsn, "connectwise", ZONE)
    tenant = seed_tenant(tickets=300, seed=5, sla_minutes="cumulative")
    records = list(tenant.records(TICKETS).values())

    def ask(query: str, *values: Any) -> tuple[Any, ...]:
        with psycopg.connect(dsn) as connection:
            row = connection.execute(query.encode(), values).fetchone()
            assert row is not None
            return row

    reading = "select reading, taken_as from reporting.kpi_sla_reading"
    resolve = "select sum(resolve_business_minutes) from reporting.kpi_service_daily"
    told = "select affected, effect from reporting.kpi_data_readiness where check_name ~ 'reading'"
    _load(dsn, records[:30])
    closed = [one for one in records[:30] if one["closedFlag"]]
    assert ask(reading) == ("unclear", "per stage")
    assert ask(resolve) == (sum(map(to_resolution, closed)),)
    assert "unclear" in ask(told)[1]

    # More to read it off, and nothing else: no other ticket has changed.
    judged = ask("select tickets from reporting.kpi_sla_reading")
    (since,) = ask("select clock_timestamp()")
    _load(dsn, records[30:60])
    assert ask(reading) == ("unclear", "per stage")
    assert ask("select tickets from reporting.kpi_sla_reading") > judged
    moved = "select count(*), count(*) filter (where ticket_id = any(%s))"
    moved += " from reporting.fct_ticket where is_closed and changed_at > %s"
    early = [one["id"] for one in records[:30]]
    (all_of, others) = ask(moved, early, since)
    assert all_of > 0 == others

    _load(dsn, records[60:])
    assert ask(reading) == ("cumulative", "cumulative")
    closed = [one for one in records if one["closedFlag"]]
    assert ask(resolve) == (sum(one["resolveMinutes"] for one in closed),)
    assert ask(told)[0] == 0
    assert "cumulative" in ask(told)[1]
    plans = ask("select sum(plan_business_minutes) from reporting.fct_ticket")
    assert plans == (sum(one["resPlanMinutes"] for one in records if "dateResplan" in one),)
