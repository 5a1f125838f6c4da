"""What the page shows: a question in SQL, its basis in words, and how to draw the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Rows: TypeAlias = list[dict[str, Any]]
Figure: TypeAlias = dict[str, Any]
"""A figure as plotly.js takes it."""

_COLOURS = ("#2f6fde", "#f2994a", "#27ae60", "#c0392b", "#8e5bd0", "#607080")


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. The query's first column is x; each other column is a series, named for it.

    `kind`: lines, bars, stacked bars, or rows: bars that lie, for names. `{schema}` in the query is
    the reporting schema.
    """

    title: str
    basis: str
    query: str
    kind: str = "lines"
    percent: bool = False
    unit: str = ""

    def figure(self, rows: Rows) -> Figure:
        """The chart of these rows."""
        across, *series = rows[0]
        traces = [
            self._trace(name, [row[across] for row in rows], [row[name] for row in rows], colour)
            for name, colour in zip(series, _COLOURS, strict=False)
        ]
        return {"data": traces, "layout": self._layout(several=len(traces) > 1)}

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

    def _layout(self, *, several: bool) -> Figure:
        layout: Figure = {
            "margin": {"l": 50, "r": 20, "t": 30, "b": 30},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
            "showlegend": several,
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "hovermode": "y unified" if self.kind == "rows" else "x unified",
            "barmode": "relative" if self.kind == "stacked" else "group",
            "xaxis": {"gridcolor": "#eef0f3", "automargin": True},
            "yaxis": {"gridcolor": "#eef0f3", "automargin": True, "rangemode": "tozero"},
        }
        if self.kind == "rows":  # in the order of the answer, from the top
            layout["yaxis"] = {"automargin": True, "autorange": "reversed", "type": "category"}
        if self.percent:
            layout["yaxis"]["tickformat"] = ".0%"
        if self.unit:
            layout["xaxis" if self.kind == "rows" else "yaxis"]["ticksuffix"] = f" {self.unit}"
        return layout


CHARTS = (
    Chart(
        "Tickets in and out",
        "Service tickets a week, by local day of entering and closing; merged ones left out",
        """
        select date_trunc('week', date)::date as week,
            sum(tickets_opened) as opened, sum(tickets_closed) as closed
        from {schema}.kpi_service_daily
        where date >= date_trunc('week', now() - interval '26 weeks')
          and date < date_trunc('week', now())
        group by 1 order by 1
        """,
        "bars",
    ),
    Chart(
        "Backlog by age",
        "Service tickets open at the end of each local day, by days since they came in",
        """
        select
            date,
            sum(tickets_open) filter (where age_bucket = '0-1') as "0-1 days",
            sum(tickets_open) filter (where age_bucket = '2-7') as "2-7 days",
            sum(tickets_open) filter (where age_bucket = '8-30') as "8-30 days",
            sum(tickets_open) filter (where age_bucket = '31+') as "31 days and more"
        from {schema}.kpi_backlog_daily
        where date >= now() - interval '90 days'
        group by 1 order by 1
        """,
        "stacked",
    ),
    Chart(
        "Promises kept",
        "Share of the service tickets closed in a month: in SLA by ConnectWise's own verdict;"
        " responded and resolved by their goals; closed with one time entry",
        """
        select
            date_trunc('month', date)::date as month,
            sum(closed_in_sla)::numeric
                / nullif(sum(closed_in_sla + closed_out_of_sla), 0) as in_sla,
            sum(respond_goals_met)::numeric / nullif(sum(respond_goals), 0) as responded_in_time,
            sum(resolve_goals_met)::numeric / nullif(sum(resolve_goals), 0) as resolved_in_time,
            sum(closed_first_touch)::numeric / nullif(sum(closed_with_time), 0) as first_touch
        from {schema}.kpi_service_daily
        where date >= date_trunc('month', now() - interval '12 months')
        group by 1 order by 1
        """,
        percent=True,
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
        where date >= date_trunc('month', now() - interval '12 months')
        group by 1 order by 1
        """,
        unit="h",
    ),
    Chart(
        "Where tickets wait",
        "Hours that half of the stays in a status were shorter than, around the clock, as far as"
        " seen; the ten longest",
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
        where is_in_utilization and week >= date_trunc('week', now() - interval '26 weeks')
          and week < date_trunc('week', now())
        group by 1 order by 1
        """,
        percent=True,
    ),
    Chart(
        "Agreements: revenue and cost",
        "Revenue by invoice date, cost of additions by day, of hours worked by local day; all"
        " currencies added up",
        """
        select month, sum(revenue_billed) as revenue, -sum(additions_cost) as additions,
            -sum(labour_cost) as labour, -sum(other_cost) as other
        from {schema}.kpi_agreement_month
        where month >= date_trunc('month', now() - interval '12 months')
        group by 1 order by 1
        """,
        "stacked",
    ),
    Chart(
        "What moved recurring revenue",
        "Monthly recurring revenue at the end of each month against the month before, by client",
        """
        select month, sum(mrr_new + mrr_reactivation) as new, sum(mrr_expansion) as expansion,
            sum(mrr_contraction) as contraction, sum(mrr_churn) as churn
        from {schema}.kpi_mrr_month
        where month >= date_trunc('month', now() - interval '12 months')
        group by 1 order by 1
        """,
        "stacked",
    ),
    Chart(
        "Receivables by age",
        "Open balances by days overdue today, credits taken off; all currencies added up",
        """
        select b.bucket, sum(b.amount) as balance
        from {schema}.kpi_ar_aging
        cross join lateral (values
            (1, 'not due', not_due), (2, '1-30', overdue_1_30), (3, '31-60', overdue_31_60),
            (4, '61-90', overdue_61_90), (5, '91 and more', overdue_91)
        ) as b (at, bucket, amount)
        group by b.at, b.bucket order by b.at
        """,
        "bars",
    ),
    Chart(
        "Unbilled work by age",
        "What billable work on no invoice would bring, by days since it was done; all currencies"
        " added up",
        """
        select age_bucket || ' days' as age,
            sum(revenue) filter (where kind = 'time') as time,
            sum(revenue) filter (where kind = 'expense') as expenses,
            sum(revenue) filter (where kind = 'product') as products
        from {schema}.kpi_unbilled group by age_bucket order by min(age_bucket)
        """,
        "stacked",
    ),
    Chart(
        "Pipeline by stage",
        "Forecast revenue of open opportunities, and the same times its probability",
        """
        select s.opportunity_stage_name as stage,
            sum(p.revenue) as revenue, sum(p.weighted_revenue) as weighted
        from {schema}.kpi_pipeline p
        join {schema}.dim_opportunity_stage s using (opportunity_stage_id)
        group by 1, s.sort_order order by s.sort_order
        """,
        "bars",
    ),
    Chart(
        "Clients: best and worst of the year",
        "All revenue less all cost of the last twelve months, the five at each end",
        """
        with ranked as (
            select company_id, sum(profit) as profit,
                row_number() over (order by sum(profit)) as low,
                row_number() over (order by sum(profit) desc) as high
            from {schema}.kpi_client_month
            where month >= date_trunc('month', now() - interval '12 months')
            group by 1
        )
        select c.company_name as client, r.profit
        from ranked r join {schema}.dim_company c using (company_id)
        where r.low <= 5 or r.high <= 5 order by r.profit desc
        """,
        "rows",
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
        where month >= date_trunc('month', now() - interval '12 months')
        group by 1 order by 1
        """,
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
