"""The figures at the head of the page: what is asked first, and what it was before."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

Format = Literal["count", "percent", "hours", "points"]


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure. The query gives `value`, and `before` where there is something to compare with.

    `better`: which way is good news; empty where neither is.
    """

    title: str
    basis: str
    query: str
    shown_as: Format = "count"
    better: Literal["up", "down", ""] = ""

    def html(self, row: Mapping[str, Decimal | int | None]) -> str:
        """The tile of an answer."""
        value, before = row["value"], row.get("before")
        told = "" if value is None or before is None else self._change(value, before)
        head = f"<h3>{escape(self.title)}</h3><b>{self._written(value)}</b>"
        return f"<div class=tile>{head}{told}<p>{escape(self.basis)}</p></div>"

    def _change(self, value: Decimal | int, before: Decimal | int) -> str:
        if value == before:
            return "<span>as before</span>"
        way = "up" if value > before else "down"
        news = "" if not self.better else " class=good" if way == self.better else " class=bad"
        arrow = "▲" if way == "up" else "▼"
        return f"<span{news}>{arrow} from {self._written(before)}</span>"

    def _written(self, value: Decimal | int | None) -> str:
        if value is None:
            return "none"
        match self.shown_as:
            case "percent":
                return f"{value:.0%}"
            case "hours":
                return f"{value:,.1f} h"
            case "points":
                return f"{value:,.1f}"
            case "count":
                return f"{value:,.0f}"


_TODAY = "with today as (select date as day from {schema}.dim_date where days_from_today = 0)\n"


def _monthly(what: str, view: str) -> str:
    """A figure of the last 30 full days, and of the 30 before."""
    return f"""{_TODAY}
        select {what.format(when="date >= today.day - 30")} as value,
            {what.format(when="date < today.day - 30")} as before
        from {{schema}}.{view} cross join today
        where date >= today.day - 60 and date < today.day
    """  # noqa: S608 - all of it is written here


_SHARE = (
    "sum({over}) filter (where {{when}})::numeric / nullif(sum({under}) filter (where {{when}}), 0)"
)

TILES = (
    Tile(
        "Open tickets",
        "Service tickets open at the end of yesterday; 30 days before",
        f"""{_TODAY}
        select sum(tickets_open) filter (where date = today.day - 1) as value,
            sum(tickets_open) filter (where date = today.day - 31) as before
        from {{schema}}.kpi_backlog_daily cross join today
        """,  # noqa: S608 - all of it is written here
        better="down",
    ),
    Tile(
        "Tickets closed",
        "Service tickets closed in the last 30 full days; in the 30 before",
        _monthly("sum(tickets_closed) filter (where {when})", "kpi_service_daily"),
        better="up",
    ),
    Tile(
        "Within SLA",
        "Of the tickets closed in the last 30 full days, by ConnectWise's own verdict",
        _monthly(
            _SHARE.format(over="closed_in_sla", under="closed_in_sla + closed_out_of_sla"),
            "kpi_service_daily",
        ),
        "percent",
        "up",
    ),
    Tile(
        "First response",
        "Business hours until it, tickets closed in the last 30 full days",
        _monthly(
            _SHARE.format(over="respond_business_minutes", under="60 * responded"),
            "kpi_service_daily",
        ),
        "hours",
        "down",
    ),
    Tile(
        "Untouched tickets",
        "Open, and neither changed nor worked on for seven days",
        "select count(*) as value from {schema}.kpi_stale_ticket",
    ),
    Tile(
        "Utilization",
        "Utilized hours over capacity less time off, last 30 full days",
        _monthly(
            _SHARE.format(over="hours_utilized", under="hours_capacity - hours_time_off"),
            "fct_member_day",
        ).replace("where date", "where is_in_utilization and date"),
        "percent",
        "up",
    ),
    Tile(
        "Recurring revenue",
        "A month, as of today; at the end of last month",
        f"""{_TODAY}
        select sum(mrr) as value, sum(mrr_before) as before
        from {{schema}}.kpi_mrr_month cross join today
        where month = date_trunc('month', today.day)
        """,  # noqa: S608 - all of it is written here
        better="up",
    ),
    Tile(
        "Overdue receivables",
        "Open balances past their due date, credits taken off",
        """
        select sum(overdue_1_30 + overdue_31_60 + overdue_61_90 + overdue_91) as value
        from {schema}.kpi_ar_aging
        """,
    ),
    Tile(
        "Unbilled work",
        "What billable time, expenses and products on no invoice would bring",
        "select sum(revenue) as value from {schema}.kpi_unbilled",
    ),
    Tile(
        "Satisfaction",
        "Points an answered survey gave, last 30 full days",
        _monthly(
            "avg(points) filter (where {when})",
            "fct_survey cross join lateral (select answered_date as date) answered",
        ),
        "points",
        "up",
    ),
)
