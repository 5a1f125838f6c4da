"""The figures at the head of the page: a question in SQL, its basis in words, its form."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

Format = Literal["count", "percent", "hours", "points"]


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure. The query gives `value`, and `before` where there is something to compare with.

    An amount has a `currency` and a row for each. `better`: which way is good news; empty where
    neither is.
    """

    title: str
    basis: str
    query: str
    shown_as: Format = "count"
    better: Literal["up", "down", ""] = ""
    metric: str = ""
    """The same figure in `sql/bi/dbt/models/metrics.yml`, if it is there. A test compares them."""

    def html(self, rows: Iterable[Mapping[str, Any]]) -> str:
        """The tile of an answer: of several currencies the largest amount first."""
        shown = sorted(rows, key=lambda row: -abs(row["value"] or 0)) or [{"value": None}]
        figures = "".join(self._figure(row, is_first=not at) for at, row in enumerate(shown))
        title, basis = escape(self.title), escape(self.basis)
        return f"<div class=tile><h3>{title}</h3>{figures}<p>{basis}</p></div>"

    def _figure(self, row: Mapping[str, Any], *, is_first: bool) -> str:
        value, before, currency = row["value"], row.get("before"), row.get("currency")
        shown = self._format(value)
        if currency and value is not None:
            shown = f"{escape(currency)} {shown}"
        change = "" if value is None or before is None else self._change(value, before)
        return f"<b>{shown}</b>{change}" if is_first else f"<div>{shown} {change}</div>"

    def _change(self, value: Decimal | int, before: Decimal | int) -> str:
        if self._format(value) == self._format(before):  # as it is read, not as it is stored
            return "<span>as before</span>"
        way = "up" if value > before else "down"
        news = "" if not self.better else " class=good" if way == self.better else " class=bad"
        arrow = "▲" if way == "up" else "▼"
        return f"<span{news}>{arrow} from {self._format(before)}</span>"

    def _format(self, value: Decimal | int | None) -> str:
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


def _monthly(what: str, view: str) -> str:
    """A figure of the last 30 full days, and of the 30 before."""
    return f"""
        select {what.format(when="date >= {today} - 30")} as value,
            {what.format(when="date < {today} - 30")} as before
        from {{schema}}.{view}
        where date >= {{today}} - 60 and date < {{today}}
    """  # noqa: S608 - all of it is written here


_SHARE = (
    "sum({over}) filter (where {{when}})::numeric / nullif(sum({under}) filter (where {{when}}), 0)"
)
_OPEN = """
select count(*) filter (where {what}) as value from {{schema}}.kpi_open_ticket
where record_type = 'ServiceTicket'
"""

TILES = (
    Tile(
        "Open tickets",
        "Service tickets open now; at the end of the day 30 days ago",
        """
        select (select count(*) from {schema}.kpi_open_ticket where record_type = 'ServiceTicket')
            as value,
            (select sum(tickets_open) from {schema}.kpi_backlog_daily where date = {today} - 31)
            as before
        """,
        better="down",
        metric="tickets_open",
    ),
    Tile(
        "Breached now",
        "Of the open tickets, those past a goal of their SLA that they have not reached",
        _OPEN.format(what="is_breached"),
        metric="tickets_breached_now",
    ),
    Tile(
        "Unassigned",
        "Of the open tickets, those without owner and without anybody assigned",
        _OPEN.format(what="is_unassigned"),
        metric="tickets_unassigned_now",
    ),
    Tile(
        "Untouched",
        "Of the open tickets, those neither changed nor worked on for seven days",
        _OPEN.format(what="is_untouched"),
        metric="tickets_untouched_now",
    ),
    Tile(
        "Tickets closed",
        "Service tickets closed in the last 30 full days; in the 30 before",
        _monthly("sum(tickets_closed) filter (where {when})", "kpi_service_daily"),
        better="up",
        metric="tickets_closed",
    ),
    Tile(
        "Responded in time",
        "Of the responses due in the last 30 full days; none at all counts as late",
        _monthly(
            _SHARE.format(
                over="respond_met", under="respond_met + respond_missed + respond_overdue"
            ),
            "kpi_sla_daily",
        ),
        "percent",
        "up",
        metric="respond_rate",
    ),
    Tile(
        "Resolved in time",
        "Of the resolutions due in the last 30 full days; none at all counts as late",
        _monthly(
            _SHARE.format(
                over="resolve_met", under="resolve_met + resolve_missed + resolve_overdue"
            ),
            "kpi_sla_daily",
        ),
        "percent",
        "up",
        metric="resolve_rate",
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
        metric="average_minutes_to_respond",
    ),
    Tile(
        "Utilization",
        "Utilized hours over capacity less time off, last 30 full days",
        _monthly(
            _SHARE.format(over="hours_utilized", under="hours_capacity - hours_time_off"),
            "fct_member_day",
        ).replace("where date", "where is_in_utilization and has_capacity and date"),
        "percent",
        "up",
        metric="utilization",
    ),
    Tile(
        "Recurring revenue",
        "A month, as of today; at the end of last month",
        """
        select cur.currency_name as currency, sum(k.mrr) as value, sum(k.mrr_before) as before
        from {schema}.kpi_mrr_month k join {schema}.dim_currency cur using (currency_id)
        where k.month = date_trunc('month', {today}) group by 1
        """,
        better="up",
        metric="mrr",
    ),
    Tile(
        "Overdue receivables",
        "Open balances past their due date, credits taken off",
        """
        select cur.currency_name as currency,
            sum(k.overdue_1_30 + k.overdue_31_60 + k.overdue_61_90 + k.overdue_91) as value
        from {schema}.kpi_ar_aging k join {schema}.dim_currency cur using (currency_id)
        group by 1
        """,
        metric="balance_overdue",
    ),
    Tile(
        "Unbilled work",
        "What billable time, expenses and products on no invoice would bring",
        """
        select cur.currency_name as currency, sum(k.revenue) as value
        from {schema}.kpi_unbilled k join {schema}.dim_currency cur using (currency_id)
        group by 1
        """,
        metric="unbilled_work",
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
        metric="average_survey_points",
    ),
)
