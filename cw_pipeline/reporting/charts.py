"""What the page shows: a question in SQL, its basis in words, and how to draw the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from datetime import date

Rows: TypeAlias = list[dict[str, Any]]
Figure: TypeAlias = dict[str, Any]
"""A figure as plotly.js takes it."""

COLOURS = ("#2f7de1", "#c96a12", "#1f9254", "#d04437", "#8e5bd0", "#6f7f90")
"""Each stands out from the page's light ground and from its dark one by 3:1 or more."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. The query's first column is x; each other column is a series, named for it.

    `kind`: lines, bars, stacked bars, or rows: bars that lie, for names. `is_money`: the query's
    first column is the currency, and each currency gets a chart of its own. `period`: x is the
    first day of one, and the one that is not over is marked. `empty`: why there may be nothing;
    without, the chart is left out then. In the query, `{schema}` is the reporting schema and
    `{today}` the tenant's local day.
    """

    title: str
    basis: str
    query: str
    kind: str = "lines"
    percent: bool = False
    unit: str = ""
    is_money: bool = False
    period: Literal["", "month"] = ""
    empty: str = "Nothing to show yet"

    def by_currency(self, rows: Rows) -> list[tuple[str, Rows]]:
        """The rows of each chart to draw, with its currency; the one with most of it first."""
        if not self.is_money or not rows:
            return [("", rows)]
        first = next(iter(rows[0]))
        found: dict[str, Rows] = {}
        for row in rows:
            found.setdefault(row[first], []).append({k: v for k, v in row.items() if k != first})
        return sorted(found.items(), key=lambda part: -_size(part[1]))

    def with_named_months(self, rows: Rows, today: date) -> Rows:
        """The rows as they are shown; of the month that is not over it is said."""
        if self.period != "month" or not rows:
            return rows
        across = next(iter(rows[0]))
        return [{**row, across: _month(row[across], today)} for row in rows]

    def series(self, rows: Rows) -> list[tuple[str, str]]:
        """The name and the colour of each series."""
        _, *names = rows[0]
        return [(name.replace("_", " "), c) for name, c in zip(names, COLOURS, strict=False)]

    def figure(self, rows: Rows, unit: str = "") -> Figure:
        """The chart of these rows; `unit` of its values, where the chart itself names none."""
        across, *series = rows[0]
        traces = [
            self._trace(name, [row[across] for row in rows], [row[name] for row in rows], colour)
            for name, colour in zip(series, COLOURS, strict=False)
        ]
        return {"data": traces, "layout": self._layout(self.unit or unit)}

    def _trace(self, name: str, x: list[Any], y: list[Any], colour: str) -> Figure:
        drawn: Figure = {
            "name": name.replace("_", " "),
            "x": [str(value) for value in x],
            # A chart is for the eye: what is exact is in the view.
            "y": [None if value is None else round(float(value), 4) for value in y],
        }
        if self.kind == "lines":
            return {**drawn, "type": "scatter", "mode": "lines", "line": {"color": colour}}
        if self.kind == "rows":
            drawn |= {"x": drawn["y"], "y": drawn["x"], "orientation": "h"}
        return {**drawn, "type": "bar", "marker": {"color": colour}}

    def _layout(self, unit: str) -> Figure:
        """Grounds and texts get their colours from the page's style, which knows dark and print."""
        layout: Figure = {
            "margin": {"l": 50, "r": 12, "t": 12, "b": 30},
            "showlegend": False,  # the page has its own, which wraps
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hovermode": "y unified" if self.kind == "rows" else "x unified",
            "barmode": "relative" if self.kind == "stacked" else "group",
            # The first name would stand on the foot of the other axis.
            "xaxis": {"automargin": True, "ticklabelstandoff": 6},
            "yaxis": {"automargin": True, "rangemode": "tozero"},
        }
        if self.period:
            layout["xaxis"] |= {"type": "category", "nticks": 7}
        if self.kind == "rows":  # in the order of the answer, from the top
            layout["yaxis"] = {"automargin": True, "autorange": "reversed", "type": "category"}
        if self.percent:
            layout["yaxis"]["tickformat"] = ".0%"
        if unit:
            layout["xaxis" if self.kind == "rows" else "yaxis"]["ticksuffix"] = f" {unit}"
        return layout


def _size(rows: Rows) -> float:
    return sum(abs(float(v)) for row in rows for v in [*row.values()][1:] if v is not None)


def _month(first: date, today: date) -> str:
    is_over = (first.year, first.month) < (today.year, today.month)
    return f"{first:%b %Y}" if is_over else f"{first:%b} so far"


_CURRENCY = "join {schema}.dim_currency cur on cur.currency_id = k.currency_id"

CHARTS = (
    Chart(
        "Tickets in and out",
        "Service tickets a week, by local day of entering and closing; merged ones left out",
        """
        select date_trunc('week', date)::date as week,
            sum(tickets_opened) as opened, sum(tickets_closed) as closed
        from {schema}.kpi_service_daily
        where date >= date_trunc('week', {today} - interval '26 weeks')
          and date < date_trunc('week', {today})
        group by 1 order by 1
        """,
        "bars",
    ),
    Chart(
        "Backlog by age",
        "Service tickets open at the end of each local day, and now, by days since they came in",
        """
        select
            date,
            sum(tickets_open) filter (where age_bucket = '0-1') as "0-1 days",
            sum(tickets_open) filter (where age_bucket = '2-7') as "2-7 days",
            sum(tickets_open) filter (where age_bucket = '8-30') as "8-30 days",
            sum(tickets_open) filter (where age_bucket = '31+') as "31 days and more"
        from (
            select date, age_bucket, tickets_open from {schema}.kpi_backlog_daily
            where date >= {today} - interval '90 days'
            union all
            select
                {today},
                case when age_days <= 1 then '0-1' when age_days <= 7 then '2-7'
                    when age_days <= 30 then '8-30' else '31+' end,
                1
            from {schema}.kpi_open_ticket where record_type = 'ServiceTicket'
        ) counted
        group by 1 order by 1
        """,
        "stacked",
    ),
    Chart(
        "Promises kept",
        "Share of the SLA goals of service tickets due in a month that were met. One that is past"
        " and was not reached counts as not met",
        """
        select
            date_trunc('month', date)::date as month,
            sum(respond_met)::numeric
                / nullif(sum(respond_met + respond_missed + respond_overdue), 0) as responded,
            sum(plan_met)::numeric
                / nullif(sum(plan_met + plan_missed + plan_overdue), 0) as planned,
            sum(resolve_met)::numeric
                / nullif(sum(resolve_met + resolve_missed + resolve_overdue), 0) as resolved
        from {schema}.kpi_sla_daily
        where date >= date_trunc('month', {today} - interval '12 months') and date < {today}
        group by 1 order by 1
        """,
        percent=True,
        period="month",
    ),
    Chart(
        "ConnectWise's verdict, and first touch",
        "Of the service tickets closed in a month: within SLA by ConnectWise's own verdict; no goal"
        " missed by its date; closed with one time entry",
        """
        select v.month, v.connectwise as "ConnectWise", v.no_goal_missed, d.first_touch
        from (
            select month,
                sum(connectwise_in_sla)::numeric / nullif(sum(tickets), 0) as connectwise,
                sum(no_stage_missed)::numeric / nullif(sum(tickets), 0) as no_goal_missed
            from {schema}.kpi_sla_verdict
            where month >= date_trunc('month', {today} - interval '12 months')
            group by 1
        ) v
        left join (
            select date_trunc('month', date)::date as month,
                sum(closed_first_touch)::numeric / nullif(sum(closed_with_time), 0) as first_touch
            from {schema}.kpi_service_daily
            where date >= date_trunc('month', {today} - interval '12 months')
            group by 1
        ) d using (month)
        order by 1
        """,
        percent=True,
        period="month",
    ),
    Chart(
        "Time to respond and to resolve",
        "Hours a closed service ticket took on average: on the SLA's calendar, and around the"
        " clock",
        """
        select
            date_trunc('month', date)::date as month,
            sum(respond_business_minutes) / nullif(sum(responded), 0) / 60 as respond_business,
            sum(respond_calendar_minutes) / nullif(sum(responded), 0) / 60 as respond_calendar,
            sum(resolve_business_minutes) / nullif(sum(resolved), 0) / 60 as resolve_business,
            sum(resolve_calendar_minutes) / nullif(sum(resolved), 0) / 60 as resolve_calendar
        from {schema}.kpi_service_daily
        where date >= date_trunc('month', {today} - interval '12 months')
        group by 1 order by 1
        """,
        unit="h",
        period="month",
    ),
    Chart(
        "Where tickets wait",
        "Service tickets that are open now, by status and board; the ten with most",
        """
        select s.status_name || ' (' || b.board_name || ')' as status, count(*) as tickets
        from {schema}.kpi_open_ticket k
        join {schema}.dim_ticket_status s using (status_id)
        join {schema}.dim_board b on b.board_id = k.board_id
        where k.record_type = 'ServiceTicket'
        group by 1 order by 2 desc, 1 limit 10
        """,
        "rows",
    ),
    Chart(
        "How long tickets wait",
        "Days since service tickets that are open now were last changed or worked on, by status"
        " and board: half of them wait less; the ten longest",
        """
        select s.status_name || ' (' || b.board_name || ')' as status,
            percentile_cont(0.5) within group (order by k.days_untouched)::numeric as median_days
        from {schema}.kpi_open_ticket k
        join {schema}.dim_ticket_status s using (status_id)
        join {schema}.dim_board b on b.board_id = k.board_id
        where k.record_type = 'ServiceTicket' and k.days_untouched is not null
        group by 1 order by 2 desc, 1 limit 10
        """,
        "rows",
        unit="d",
    ),
    Chart(
        "How long tickets stay in a status",
        "Hours that half of the stays in a status were shorter than, around the clock; the ten"
        " longest",
        """
        select s.status_name || ' (' || b.board_name || ')' as status,
            k.median_calendar_minutes / 60 as median_hours
        from {schema}.kpi_time_in_status k
        join {schema}.dim_ticket_status s using (status_id)
        join {schema}.dim_board b on b.board_id = k.board_id
        where not s.is_closed
        order by k.median_calendar_minutes desc limit 10
        """,
        "rows",
        unit="h",
        empty="",  # ConnectWise tells of no status before: two changes after the first load
    ),
    Chart(
        "Utilization",
        "Hours of members who count in utilization over their capacity less time off, a week",
        """
        select
            week,
            sum(hours_utilized) / nullif(sum(hours_capacity - hours_time_off), 0) as utilized,
            sum(hours_billable) / nullif(sum(hours_capacity - hours_time_off), 0) as billable,
            sum(hours_billed) / nullif(sum(hours_capacity - hours_time_off), 0) as billed_rounded
        from {schema}.kpi_member_week
        where is_in_utilization and has_capacity
          and week >= date_trunc('week', {today} - interval '26 weeks')
          and week < date_trunc('week', {today})
        group by 1 order by 1
        """,
        percent=True,
    ),
    Chart(
        "Agreements: revenue and cost",
        "Revenue by invoice date, cost of additions by day, of hours worked by local day",
        f"""
        select cur.currency_name as currency, k.month, sum(k.revenue_billed) as revenue,
            -sum(k.additions_cost) as additions, -sum(k.labour_cost) as labour,
            -sum(k.other_cost) as other
        from {{schema}}.kpi_agreement_month k {_CURRENCY}
        where k.month >= date_trunc('month', {{today}} - interval '12 months')
        group by 1, 2 order by 1, 2
        """,  # noqa: S608 - all of it is written here
        "stacked",
        is_money=True,
        period="month",
    ),
    Chart(
        "What moved recurring revenue",
        "Monthly recurring revenue at the end of each month against the month before, by client;"
        " what went to another client or currency is in neither",
        f"""
        select cur.currency_name as currency, k.month, sum(k.mrr_new + k.mrr_reactivation) as new,
            sum(k.mrr_expansion) as expansion, sum(k.mrr_contraction) as contraction,
            sum(k.mrr_churn) as churn
        from {{schema}}.kpi_mrr_month k {_CURRENCY}
        where k.month >= date_trunc('month', {{today}} - interval '12 months')
        group by 1, 2 order by 1, 2
        """,  # noqa: S608 - all of it is written here
        "stacked",
        is_money=True,
        period="month",
    ),
    Chart(
        "Receivables by age",
        "Open balances by days overdue today, credits taken off",
        f"""
        select cur.currency_name as currency, b.bucket, sum(b.amount) as balance
        from {{schema}}.kpi_ar_aging k {_CURRENCY}
        cross join lateral (values
            (1, 'not due', not_due), (2, '1-30', overdue_1_30), (3, '31-60', overdue_31_60),
            (4, '61-90', overdue_61_90), (5, '91 and more', overdue_91)
        ) as b (at, bucket, amount)
        group by 1, b.at, b.bucket order by 1, b.at
        """,  # noqa: S608 - all of it is written here
        "bars",
        is_money=True,
    ),
    Chart(
        "Unbilled work by age",
        "What billable work on no invoice would bring, by days since it was done",
        f"""
        select cur.currency_name as currency, k.age_bucket || ' days' as age,
            sum(k.revenue) filter (where k.kind = 'time') as time,
            sum(k.revenue) filter (where k.kind = 'expense') as expenses,
            sum(k.revenue) filter (where k.kind = 'product') as products
        from {{schema}}.kpi_unbilled k {_CURRENCY}
        group by 1, k.age_bucket order by 1, k.age_bucket
        """,  # noqa: S608 - all of it is written here
        "stacked",
        is_money=True,
    ),
    Chart(
        "Pipeline by stage",
        "Forecast revenue of open opportunities, and the same times its probability",
        f"""
        select cur.currency_name as currency, s.opportunity_stage_name as stage,
            sum(k.revenue) as revenue, sum(k.weighted_revenue) as weighted
        from {{schema}}.kpi_pipeline k {_CURRENCY}
        join {{schema}}.dim_opportunity_stage s using (opportunity_stage_id)
        group by 1, 2, s.sort_order order by 1, s.sort_order
        """,  # noqa: S608 - all of it is written here
        "bars",
        is_money=True,
    ),
    Chart(
        "Clients: best and worst of the year",
        "All revenue less all cost of the last twelve months, the five at each end",
        f"""
        with k as (
            select company_id, currency_id, sum(profit) as profit,
                row_number() over (partition by currency_id order by sum(profit)) as low,
                row_number() over (partition by currency_id order by sum(profit) desc) as high
            from {{schema}}.kpi_client_month
            where month >= date_trunc('month', {{today}} - interval '12 months')
            group by 1, 2
        )
        select cur.currency_name as currency, c.company_name as client, k.profit
        from k join {{schema}}.dim_company c using (company_id) {_CURRENCY}
        where k.low <= 5 or k.high <= 5 order by k.profit desc
        """,  # noqa: S608 - all of it is written here
        "rows",
        is_money=True,
    ),
    Chart(
        "Projects against their budget",
        "Hours worked on open projects, and hours budgeted, the ten with most hours",
        """
        select d.project_name as project, p.hours_budget as budget, p.hours_actual as worked
        from {schema}.kpi_project p join {schema}.dim_project d using (project_id)
        where not p.is_closed order by p.hours_actual desc limit 10
        """,
        "rows",
        unit="h",
    ),
    Chart(
        "What clients say",
        "Points an answered survey gave, on average",
        """
        select month, sum(points) / sum(answers) as points
        from {schema}.kpi_csat_month
        where month >= date_trunc('month', {today} - interval '12 months')
        group by 1 order by 1
        """,
        period="month",
    ),
    Chart(
        "Devices without warranty",
        "Active configurations by days until their warranty ends",
        """
        select warranty_ends_in as ends_in, sum(configurations) as configurations
        from {schema}.kpi_warranty
        group by 1
        order by array_position(
            array['expired', '0-30', '31-90', '91-365', '366+', 'unknown'], warranty_ends_in
        )
        """,
        "bars",
    ),
)
