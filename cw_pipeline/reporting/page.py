"""The KPIs as one HTML page that needs nothing else: no server, no network, no BI tool."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from psycopg import sql
from psycopg.rows import dict_row

from cw_pipeline.reporting.charts import CHARTS
from cw_pipeline.reporting.database import transaction
from cw_pipeline.reporting.script import reporting_schema
from cw_pipeline.reporting.tiles import TILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cw_pipeline.reporting.charts import Chart, Rows


LIGHT = {
    "ground": "#f4f5f7",
    "panel": "#ffffff",
    "line": "#dfe3e8",
    "ink": "#1c2430",
    "muted": "#4d5867",
    "good": "#1a7a3f",
    "bad": "#b3261e",
}
DARK = {
    "ground": "#0e1217",
    "panel": "#171c24",
    "line": "#333c48",
    "ink": "#e6eaf0",
    "muted": "#a9b4c2",
    "good": "#57c785",
    "bad": "#ff8a80",
}


def _colours(of: Mapping[str, str]) -> str:
    return ":root { " + " ".join(f"--{name}: {colour};" for name, colour in of.items()) + " }"


# Texts and lines of the charts follow the style, so that dark and print need no other drawing.
_STYLE = f"""
:root {{ color-scheme: light dark; }}
{_colours(LIGHT)}
@media (prefers-color-scheme: dark) {{ {_colours(DARK)} }}
@media print {{ {_colours({**LIGHT, "ground": "#ffffff"})} }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 0; background: var(--ground);
  color: var(--ink); -webkit-text-size-adjust: 100%; }}
header, main {{ max-width: 1240px; margin: 0 auto; padding: 1rem clamp(.75rem, 3vw, 1.5rem); }}
h1 {{ margin: .5rem 0 0; font-size: 1.6rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.05rem; margin: 0; }}
main {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 500px), 1fr));
  gap: 1rem; }}
section, .tile {{ background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  padding: 1rem; min-width: 0; break-inside: avoid; }}
section.wide {{ grid-column: 1 / -1; }}
.scroll {{ overflow-x: auto; }}
p {{ margin: .25rem 0 .5rem; color: var(--muted); }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 210px), 1fr));
  gap: 1rem; grid-column: 1 / -1; }}
.tile {{ padding: .75rem 1rem; }}
.tile h3 {{ margin: 0; font-size: .9rem; font-weight: 600; }}
.tile b {{ font-size: 1.4rem; font-variant-numeric: tabular-nums; margin-right: .5rem;
  white-space: nowrap; }}
.tile span {{ color: var(--muted); font-size: .85rem; display: inline-block; }}
.tile .good {{ color: var(--good); }} .tile .bad {{ color: var(--bad); }}
.tile p {{ font-size: .8rem; margin: 0; }}
.legend {{ display: flex; flex-wrap: wrap; gap: .1rem 1rem; padding: 0; margin: .25rem 0;
  list-style: none; font-size: .85rem; }}
.legend i {{ display: inline-block; width: .8rem; height: .8rem; border-radius: 2px;
  margin-right: .35rem; vertical-align: -.1rem; print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }}
.chart {{ height: 300px; overflow: hidden; }} .nothing {{ padding: 4rem 0; text-align: center; }}
.chart .xtick text, .chart .ytick text, .chart .g-xtitle, .chart .g-ytitle
  {{ fill: var(--muted) !important; }}
.chart .gridlayer path {{ stroke: var(--line) !important; }}
.chart .zerolinelayer path {{ stroke: var(--muted) !important; }}
details {{ margin-top: .5rem; font-size: .85rem; }} summary {{ cursor: pointer; }}
table {{ border-collapse: collapse; width: 100%; font-size: .9rem; }}
th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }}
td {{ white-space: nowrap; }} td.long {{ white-space: normal; min-width: 6rem; }}
th.number, td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
tr {{ break-inside: avoid; }}
@media (max-width: 600px) {{
  .tiles {{ grid-template-columns: 1fr 1fr; gap: .6rem; }}
  .tile {{ padding: .6rem .7rem; }} .tile b {{ font-size: 1.15rem; white-space: normal; }}
  .scroll table {{ min-width: 40rem; }} details .scroll table {{ min-width: 0; }}
  .scroll td.long {{ min-width: 11rem; }}
}}
@media print {{
  @page {{ margin: 12mm; }}
  body {{ font-size: 11px; }}
  header, main {{ padding: 0; max-width: none; }}
  main {{ display: block; }}
  main > * {{ margin-bottom: 4mm; }}
  .tiles {{ grid-template-columns: repeat(4, 1fr); gap: 2mm; }} .tile b {{ font-size: 15px; }}
  .chart {{ height: 260px; }}
  details {{ display: none; }}
  section.wide {{ break-inside: auto; }}
  .scroll {{ overflow: visible; }}
  table {{ font-size: 9px; }} th, td {{ padding: .15rem .3rem; }} td.long {{ min-width: 0; }}
}}
"""
_TECHNICIANS = """
select m.member_name as technician, k.tickets_closed as "tickets closed",
    round(100.0 * k.closed_in_sla / nullif(k.closed_with_sla, 0)) || ' %' as "in SLA (ConnectWise)",
    round(100.0 * k.closed_first_touch / nullif(k.tickets_closed, 0)) || ' %' as "first touch",
    round(k.average_resolve_business_minutes / 60, 1) as "business hours to resolve",
    round(k.hours_actual, 1) as "hours worked",
    round(k.hours_billable, 1) as "of these billable",
    round(k.average_survey_points, 1) as "survey points"
from {schema}.kpi_technician_month k
join {schema}.dim_member m using (member_id)
where k.month = date_trunc('month', {today}) - interval '1 month'
order by k.tickets_closed desc, m.member_name limit 25
"""
_BREACHES = """
select count(*) over () as found, k.ticket_id::text as ticket, k.stage,
    case when k.hours_left < 0 then 'late by ' || case when k.hours_left > -48
        then round(-k.hours_left, 1) || ' h' else round(-k.hours_left / 24) || ' days' end
        else 'in ' || round(k.hours_left, 1) || ' h' end as "time left",
    to_char(k.goal_at at time zone '{zone}', 'YYYY-MM-DD HH24:MI') as due,
    p.priority_name as priority, c.company_name as client, b.board_name as board,
    m.member_name as owner, t.summary
from {schema}.kpi_sla_open k
join {schema}.kpi_open_ticket t using (ticket_id)
join {schema}.dim_company c on c.company_id = k.company_id
join {schema}.dim_board b on b.board_id = k.board_id
join {schema}.dim_priority p on p.priority_id = k.priority_id
join {schema}.dim_member m on m.member_id = k.owner_id
where k.is_next and k.urgency in ('breached', 'due in 1 hour', 'due in 4 hours')
order by k.goal_at, k.ticket_id limit 15
"""
_UNTOUCHED = """
select count(*) over () as found, k.ticket_id::text as ticket, k.summary, c.company_name as client,
    b.board_name as board, m.member_name as owner, floor(k.days_untouched)::int as "days untouched"
from {schema}.kpi_open_ticket k
join {schema}.dim_company c using (company_id)
join {schema}.dim_board b using (board_id)
join {schema}.dim_member m on m.member_id = k.owner_id
where k.is_untouched and k.record_type = 'ServiceTicket'
order by k.days_untouched desc, k.ticket_id limit 10
"""
_READINESS = """
select check_name as "check", entity, affected, total, effect, remedy
from {schema}.kpi_data_readiness where affected > 0
order by affected::numeric / nullif(total, 0) desc nulls last, check_name
"""
_FIRST = (("Breached now, or due within four hours", _BREACHES),)
_LAST = (
    ("Technicians last month: service tickets they own, hours they worked", _TECHNICIANS),
    ("Untouched longest: open, neither changed nor worked on for seven days", _UNTOUCHED),
    ("What makes these numbers wrong", _READINESS),
)
_STANDING = """
select (select min(data_complete_through) from {schema}.freshness) as complete,
    (select date from {schema}.dim_date where days_from_today = 0) as today,
    (select max(time_zone) from cw_sync.publication where tenant = %(tenant)s) as zone,
    (select tenant from cw_sync.schema_owner where schema = %(tenant)s) as company
"""


@dataclass(frozen=True, slots=True)
class _Part:
    """A chart to draw: of one currency, if it shows money."""

    chart: Chart
    currency: str
    rows: Rows


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks the tenant's reporting schema. `today` is its local day."""

    cursor: Any
    schema: str
    zone: str
    today: date

    def rows(self, query: str) -> Rows:
        text = query.format(schema=self.schema, zone=self.zone, today=f"date '{self.today}'")
        found: Rows = self.cursor.execute(text.encode()).fetchall()
        return found

    def parts(self, chart: Chart) -> list[_Part]:
        rows = chart.by_currency(self.rows(chart.query))
        return [
            _Part(chart, currency, chart.with_named_months(amounts, self.today))
            for currency, amounts in rows
        ]


def render_kpi_page(dsn: str, tenant: str) -> str:
    """The page, with the figures as they stand in the reporting schema. Raises WarehouseError."""
    with transaction(dsn) as connection:
        schema = sql.Identifier(reporting_schema(tenant)).as_string(connection)
        cursor = connection.cursor(row_factory=dict_row)
        standing = cursor.execute(
            _STANDING.format(schema=schema).encode(), {"tenant": tenant}
        ).fetchone()
        assert standing is not None
        ask = _Asker(cursor, schema, standing["zone"] or "UTC", standing["today"])
        tiles = [each.html(ask.rows(each.query)) for each in TILES]
        parts = [part for each in CHARTS for part in ask.parts(each) if part.rows or each.empty]
        first = [_table_section(title, ask.rows(query)) for title, query in _FIRST]
        last = [_table_section(title, ask.rows(query)) for title, query in _LAST]
    company = (standing["company"] or tenant).partition("@")[0]
    return "".join(
        (
            "<!doctype html><html lang=en><meta charset=utf-8>",
            "<meta name=viewport content='width=device-width, initial-scale=1'>",
            f"<title>Service report: {escape(company)}</title><style>{_STYLE}</style>",
            f"<header><h1>Service report: {escape(company)}</h1>",
            f"<p>{_as_of(standing['complete'], ask.zone)}</p></header><main>",
            f"<div class=tiles>{''.join(tiles)}</div>",
            *first,
            *(_section(part, number) for number, part in enumerate(parts)),
            *last,
            f"</main>{_drawing(parts)}</html>\n",
        )
    )


def _as_of(complete: datetime | None, zone: str) -> str:
    local = ZoneInfo(zone)
    made = f"{datetime.now(local):%Y-%m-%d %H:%M}"
    until = f"{complete.astimezone(local):%Y-%m-%d %H:%M}" if complete else ""
    until_when = f"Every change is in up to {until}." if until else "Nothing was synced yet."
    return f"Made {made}. {until_when} Days and times are those of {escape(zone)} (CW_TIME_ZONE)."


def _section(part: _Part, number: int) -> str:
    title = part.chart.title + (f" ({part.currency})" if part.currency else "")
    head = f"<h2>{escape(title)}</h2><p>{escape(part.chart.basis)}</p>"
    if not part.rows:
        return f"<section>{head}<div class=nothing>{escape(part.chart.empty)}</div></section>"
    series = part.chart.series(part.rows)
    shown = "".join(f"<li><i style='background:{c}'></i>{escape(n)}</li>" for n, c in series)
    legend = f"<ul class=legend>{shown}</ul>" if len(series) > 1 else ""
    chart = f"<div class=chart id=chart{number} role=img aria-label='{escape(title)}'></div>"
    rows = [{k: _round(v, part.chart) for k, v in row.items()} for row in part.rows]
    figures = f"<details><summary>Figures</summary>{_table(rows)}</details>"
    return f"<section>{head}{legend}{chart}{figures}</section>"


def _round(value: object, chart: Chart) -> object:
    if not isinstance(value, Decimal):
        return value
    return f"{value:.1%}" if chart.percent else round(value, 0 if chart.is_money else 1)


_ON_A_LINE = 17
# A chart keeps the width of the screen when it is printed: it gets that of the paper meanwhile.
_DRAW = """
const figures = {};
const packed = new Blob([Uint8Array.from(atob("{}"), c => c.charCodeAt(0))]);
const script = document.createElement("script");
try {{
  const inflated = packed.stream().pipeThrough(new DecompressionStream("gzip"));
  script.textContent = await new Response(inflated).text();
  document.head.append(script);
}} catch (error) {{
  for (const chart of document.querySelectorAll(".chart"))
    chart.textContent = "This browser is too old to draw: open Figures below.";
  throw error;
}}
for (const [place, figure] of Object.entries(figures)) Plotly.newPlot(place, figure);
const paper = {{width: 680, height: 260}}, screen = {{autosize: true, width: null, height: null}};
const all = size => Object.keys(figures).forEach(place => Plotly.relayout(place, size));
addEventListener("beforeprint", () => all(paper));
addEventListener("afterprint", () => all(screen));
"""


def _drawing(parts: Iterable[_Part]) -> str:
    """The script that draws the charts, once the page is laid out and their places have sizes."""
    config = {"displayModeBar": False, "responsive": True}
    figures = {
        f"chart{number}": {**part.chart.figure(part.rows, part.currency), "config": config}
        for number, part in enumerate(parts)
        if part.rows
    }
    # A name that holds `</script>` would end the script.
    data = json.dumps(figures).replace("<", "\\u003c")
    return f"<script type=module>{_DRAW.format(data, _library())}</script>"


def _library() -> str:
    """plotly.js, whole, in gzip and base64: the page must work where there is no network."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped] # noqa: PLC0415 - slow

    return b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _table_section(title: str, rows: Rows) -> str:
    """A table with its title; `found` in its rows is how many there are in all."""
    found = rows[0].get("found", len(rows)) if rows else 0
    shown = [{name: value for name, value in row.items() if name != "found"} for row in rows]
    some = f"<p>{len(rows):,} of {found:,}</p>" if found > len(rows) else ""
    body = _table(shown) if rows else "<p>Nothing was found.</p>"
    return f"<section class=wide><h2>{escape(title)}</h2>{some}{body}</section>"


def _table(rows: Rows) -> str:
    heads = "".join(_head(name, [row[name] for row in rows]) for name in rows[0])
    body = "".join(f"<tr>{''.join(map(_cell, row.values()))}</tr>" for row in rows)
    return (
        f"<div class=scroll><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        "</div>"
    )


def _head(name: str, values: list[object]) -> str:
    is_number = any(isinstance(value, (int, Decimal)) for value in values)
    return f"<th{' class=number' if is_number else ''}>{escape(name.replace('_', ' '))}</th>"


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, (int, Decimal)):
        return f"<td class=number>{value:,}</td>"
    text = str(value)  # a date or a name stays on its line, a sentence does not
    return f"<td{' class=long' if len(text) > _ON_A_LINE else ''}>{escape(text)}</td>"
