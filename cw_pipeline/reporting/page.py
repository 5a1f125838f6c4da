"""The KPIs as one HTML page that needs nothing else: no server, no network, no BI tool."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from psycopg import sql
from psycopg.rows import dict_row

from cw_pipeline.reporting.charts import CHARTS
from cw_pipeline.reporting.database import transaction
from cw_pipeline.reporting.script import reporting_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cw_pipeline.reporting.charts import Chart


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
        head = f"<h3>{escape(self.title)}</h3><b>{self._format(value)}</b>"
        return f"<div class=tile>{head}{told}<p>{escape(self.basis)}</p></div>"

    def _change(self, value: Decimal | int, before: Decimal | int) -> str:
        if value == before:
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


Rows: TypeAlias = list[dict[str, Any]]

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 0; background: #f4f5f7; color: #1c2430; }
header, main { max-width: 1240px; margin: 0 auto; padding: 1rem 1.5rem; }
h1 { margin: .5rem 0 0; font-size: 1.6rem; } h2 { font-size: 1.05rem; margin: 0; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(520px, 1fr)); gap: 1rem; }
section { background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; padding: 1rem;
  min-width: 0; }
section.wide { grid-column: 1 / -1; overflow-x: auto; }
p { margin: .25rem 0 .5rem; color: #566274; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 1rem;
  grid-column: 1 / -1; }
.tile { background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; padding: .75rem 1rem; }
.tile h3 { margin: 0; font-size: .9rem; font-weight: 600; }
.tile b { font-size: 1.7rem; font-variant-numeric: tabular-nums; margin-right: .5rem; }
.tile span { color: #566274; font-size: .85rem; white-space: nowrap; }
.tile .good { color: #1e8449; } .tile .bad { color: #c0392b; }
.tile p { font-size: .8rem; margin: 0; }
.chart { height: 320px; } .nothing { padding: 4rem 0; text-align: center; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e8ebef; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
@media (max-width: 600px) { main { grid-template-columns: 1fr; } }
"""


@dataclass(frozen=True, slots=True)
class _Part:
    chart: Chart
    rows: Rows


def render_kpi_page(dsn: str, tenant: str) -> str:
    """The page, with the figures as they stand in the reporting schema. Raises WarehouseError."""
    with transaction(dsn) as connection:
        schema = sql.Identifier(reporting_schema(tenant)).as_string(connection)
        cursor = connection.cursor(row_factory=dict_row)
        tiles = [each.html(_query(cursor, each.query, schema)[0]) for each in TILES]
        parts = [_Part(each, _query(cursor, each.query, schema)) for each in CHARTS]
        tables = [_table(title, _query(cursor, query, schema)) for title, query in _TABLES]
        (through,) = _query(cursor, _THROUGH, schema)
    complete = through["data_complete_through"]
    return "".join(
        (
            "<!doctype html><html lang=en><meta charset=utf-8>",
            "<meta name=viewport content='width=device-width, initial-scale=1'>",
            f"<title>Service report: {escape(tenant)}</title><style>{_STYLE}</style>",
            f"<header><h1>Service report</h1><p>{_standing(tenant, complete)}</p></header><main>",
            f"<div class=tiles>{''.join(tiles)}</div>",
            *(_section(part, number) for number, part in enumerate(parts)),
            *tables,
            f"</main>{_drawing(parts)}</html>\n",
        )
    )


_TECHNICIANS = """
select m.member_name as technician, k.tickets_closed as "tickets closed",
    round(100.0 * k.closed_in_sla / nullif(k.closed_with_sla, 0)) || ' %' as "in SLA",
    round(100.0 * k.closed_first_touch / nullif(k.tickets_closed, 0)) || ' %' as "first touch",
    round(k.average_resolve_business_minutes / 60, 1) as "business hours to resolve",
    round(k.hours_actual, 1) as "hours worked",
    round(k.hours_billable, 1) as "of these billable",
    round(k.average_survey_points, 1) as "survey points"
from {schema}.kpi_technician_month k
join {schema}.dim_member m using (member_id)
where k.month = (select month_starts_on - interval '1 month' from {schema}.dim_date
    where days_from_today = 0)
order by k.tickets_closed desc, m.member_name limit 25
"""
_UNTOUCHED = """
select k.ticket_id as ticket, k.summary, c.company_name as client, b.board_name as board,
    m.member_name as owner, floor(k.days_untouched)::int as "days untouched"
from {schema}.kpi_stale_ticket k
join {schema}.dim_company c using (company_id)
join {schema}.dim_board b using (board_id)
join {schema}.dim_member m on m.member_id = k.owner_id
order by k.days_untouched desc, k.ticket_id limit 10
"""
_READINESS = """
select check_name as "check", entity, affected, total, effect, remedy
from {schema}.kpi_data_readiness where affected > 0
order by affected::numeric / nullif(total, 0) desc nulls last, check_name
"""
_TABLES = (
    ("Technicians last month: service tickets they own, hours they worked", _TECHNICIANS),
    ("Untouched longest: open, neither changed nor worked on for seven days", _UNTOUCHED),
    ("What makes these numbers wrong", _READINESS),
)
_THROUGH = """
select min(data_complete_through) as data_complete_through from {schema}.freshness
"""


def _query(cursor: Any, query: str, schema: str) -> Rows:  # noqa: ANN401 - psycopg's generics
    rows: Rows = cursor.execute(query.format(schema=schema).encode()).fetchall()
    return rows


def _standing(tenant: str, complete: datetime | None) -> str:
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    until = f"{complete:%Y-%m-%d %H:%M} UTC" if complete else "never: nothing was synced yet"
    return f"{escape(tenant)}. Made {made}. Every change is in up to {until}."


def _section(part: _Part, number: int) -> str:
    head = f"<h2>{escape(part.chart.title)}</h2><p>{escape(part.chart.basis)}</p>"
    place = f"<div class=chart id=chart{number}></div>" if part.rows else _NOTHING
    return f"<section>{head}{place}</section>"


_NOTHING = "<div class=nothing>Nothing to show yet</div>"
_DRAW = "for (const [place, figure] of Object.entries({}))\n  Plotly.newPlot(place, figure);"


def _drawing(parts: Iterable[_Part]) -> str:
    """The script that draws the charts, once the page is laid out and their places have sizes."""
    config = {"displayModeBar": False, "responsive": True}
    figures = {
        f"chart{number}": {**part.chart.figure(part.rows), "config": config}
        for number, part in enumerate(parts)
        if part.rows
    }
    # A name that holds `</script>` would end the script.
    told = json.dumps(figures).replace("<", "\\u003c")
    return f"{_library()}<script>{_DRAW.format(told)}</script>"


def _library() -> str:
    """plotly.js, whole: the page must work where there is no network."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped] # noqa: PLC0415 - slow

    return f"<script>{get_plotlyjs()}</script>"


def _table(title: str, rows: Rows) -> str:
    if not rows:
        return f"<section class=wide><h2>{escape(title)}</h2><p>Nothing was found.</p></section>"
    heads = "".join(_head(name, [row[name] for row in rows]) for name in rows[0])
    body = "".join(f"<tr>{''.join(map(_cell, row.values()))}</tr>" for row in rows)
    return (
        f"<section class=wide><h2>{escape(title)}</h2>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></section>"
    )


def _head(name: str, values: list[object]) -> str:
    is_number = any(isinstance(value, (int, Decimal)) for value in values)
    return f"<th{' class=number' if is_number else ''}>{escape(name)}</th>"


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, (int, Decimal)):
        return f"<td class=number>{value:,}</td>"
    return f"<td>{escape(str(value))}</td>"
