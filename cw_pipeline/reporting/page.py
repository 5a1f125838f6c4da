"""The KPIs as one HTML page that needs nothing else: no server, no network, no BI tool."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg import sql
from psycopg.rows import dict_row

from cw_pipeline.reporting.charts import CHARTS
from cw_pipeline.reporting.database import transaction
from cw_pipeline.reporting.script import reporting_schema
from cw_pipeline.reporting.tiles import TILES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.reporting.charts import Chart

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
        tiles = [each.html(_asked(cursor, each.query, schema)[0]) for each in TILES]
        parts = [_Part(each, _asked(cursor, each.query, schema)) for each in CHARTS]
        tables = [_table(title, _asked(cursor, query, schema)) for title, query in _TABLES]
        (through,) = _asked(cursor, _THROUGH, schema)
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


def _asked(cursor: Any, query: str, schema: str) -> Rows:  # noqa: ANN401 - psycopg's generics
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
