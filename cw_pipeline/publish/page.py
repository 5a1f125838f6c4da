"""The KPIs as one HTML page that needs nothing else: no server, no network, no BI tool."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg import sql
from psycopg.rows import dict_row

from cw_pipeline.publish.charts import CHARTS
from cw_pipeline.publish.database import transaction
from cw_pipeline.publish.script import reporting_schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.publish.charts import Chart

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
.chart { height: 320px; } .nothing { padding: 4rem 0; text-align: center; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e8ebef; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
@media (max-width: 600px) { main { grid-template-columns: 1fr; } }
"""


@dataclass(frozen=True, slots=True)
class _Part:
    chart: Chart
    rows: Rows


def page(dsn: str, tenant: str) -> str:
    """The page, with the figures as they stand in the reporting schema. Raises WarehouseError."""
    with transaction(dsn) as connection:
        schema = sql.Identifier(reporting_schema(tenant)).as_string(connection)
        cursor = connection.cursor(row_factory=dict_row)
        parts = [_Part(each, _asked(cursor, each.query, schema)) for each in CHARTS]
        readiness = _asked(cursor, _READINESS, schema)
        (through,) = _asked(cursor, _THROUGH, schema)
    complete = through["data_complete_through"]
    return "".join(
        (
            "<!doctype html><html lang=en><meta charset=utf-8>",
            "<meta name=viewport content='width=device-width, initial-scale=1'>",
            f"<title>Service report: {escape(tenant)}</title><style>{_STYLE}</style>",
            f"<header><h1>Service report</h1><p>{_standing(tenant, complete)}</p></header><main>",
            *(_section(part, number) for number, part in enumerate(parts)),
            _table("What makes these numbers wrong", readiness),
            f"</main>{_drawing(parts)}</html>\n",
        )
    )


_READINESS = """
select check_name as "check", entity, affected, total, effect, remedy
from {schema}.kpi_data_readiness where affected > 0
order by affected::numeric / nullif(total, 0) desc nulls last, check_name
"""
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
    heads = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(map(_cell, row.values()))}</tr>" for row in rows)
    return (
        f"<section class=wide><h2>{escape(title)}</h2>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></section>"
    )


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"<td class=number>{value:,}</td>"
    return f"<td>{escape(str(value))}</td>"
