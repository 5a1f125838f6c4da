"""What the SQL files of the reporting schema promise before any database sees them."""

from __future__ import annotations

import re

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.reporting import (
    column_lineage,
    column_types,
    entities,
    lineage,
    reporting_schema,
)
from cw_pipeline.reporting.script import ReportingSchema, ViewScript, in_order, roots, scripts
from tests.lineage import traced

PLACES = ["system/departments", "system/locations"]
HERE = ReportingSchema("connectwise", "Europe/Zurich")


@pytest.mark.parametrize("script", scripts(), ids=lambda script: script.name)
def test_every_view_says_its_grain_and_its_source(script: ViewScript) -> None:
    assert re.match(r"One row (per|for) ", script.comment), script.comment
    assert re.search(r"Sources?: ", script.comment), script.comment
    assert script.columns


def test_a_view_comes_after_what_it_reads() -> None:
    seen: set[str] = set()
    for script in scripts():
        assert script.needs <= seen, script.name
        seen.add(script.name)


def test_lineage_names_views_and_the_entities_of_the_catalog() -> None:
    found = lineage()
    assert set(found) == {script.name for script in scripts()}
    for name, sources in found.items():
        for source in sources:
            assert source in CATALOG if "/" in source else source in found, (name, source)
    assert found["kpi_member_week"] == ["fct_member_day", *PLACES, "system/members"]
    assert "time/entries" in found["fct_time_entry_all"]
    assert found["fct_opportunity_forecast"].count("sales/opportunities/forecast") == 1


def test_the_columns_lineage_is_what_the_sql_says() -> None:
    found = {script.name: traced(script) for script in scripts()}
    assert found == column_lineage(), "run `python -m tests.lineage`"
    for script in scripts():
        assert list(found[script.name]) == list(script.columns), script.name


def test_a_column_comes_from_columns_of_what_its_view_reads() -> None:
    tables = [table for own in entities() for table in (own, *own.arrays)]
    known = {(table.table, column.name) for table in tables for column in table.row_columns}
    known |= {(table.table, stamp) for table in tables for stamp in ("_synced_at", "_deleted_at")}
    known |= {(own.name, column) for own in scripts() for column in own.columns}
    for script in scripts():
        for column, sources in column_lineage()[script.name].items():
            read = [tuple(source.split(".")) for source in sources]
            assert known.issuperset(read), (script.name, column)
            assert {table for table, _ in read} <= script.needs | script.sources, script.name


@pytest.mark.parametrize(
    ("column", "sources"),
    [
        ("dim_company.company_name", "company_companies.name"),
        ("dim_company.is_deleted", "company_companies._deleted_at"),
        ("dim_date_all.date", ""),  # made of nothing
        ("fct_ticket.owner_id", "system_members.id"),
        ("fct_ticket.summary", "fct_ticket_all.summary"),
        ("fct_ticket_all.is_closed", "project_tickets.closed_flag service_tickets.closed_flag"),
        ("fct_ticket_all.sla_id", "service_tickets.sla_id"),  # null, of project tickets
        ("fct_ticket_all.hours_actual", "time_entries.actual_hours"),
        ("fct_ticket_all.time_entries", ""),  # count(*)
        ("fct_change_all.value", ""),  # the history's, which is no asset
        ("kpi_agreement_month.month", "fct_agreement_month.month"),
        (
            "kpi_agreement_month.effective_rate_actual",
            """fct_agreement_month.additions_cost fct_agreement_month.hours_actual
            fct_agreement_month.revenue_billed""",
        ),
        # through common tables, a lateral query, a function's rows, and versions
        ("fct_agreement_month.is_running", "finance_agreements.start_date"),
        ("fct_mrr_month.month", "finance_agreements.start_date"),
        (
            "fct_addition.cost_per_bill",
            """finance_agreements_additions.ext_cost finance_agreements_additions.quantity
            finance_agreements_additions.unit_cost""",
        ),
        (
            "fct_opportunity_forecast.revenue",
            "sales_opportunities_forecast__forecast_items.revenue",
        ),
    ],
)
def test_a_column_comes_from_what_its_value_is_made_of(column: str, sources: str) -> None:
    view, _, name = column.partition(".")
    assert column_lineage()[view][name] == sources.split()


def test_an_array_of_an_entity_leads_to_the_entity() -> None:
    assert "sales/opportunities/forecast" in {entity.name for entity in entities()}


def test_the_age_of_a_view_follows_from_entities_and_from_tables_on_the_way() -> None:
    assert roots("dim_board") == ({"service/boards"}, frozenset())
    through, kept = roots("kpi_member_week")
    assert (through, kept) == ({"system/members", *PLACES}, {"fct_member_day"})
    through, kept = roots("kpi_client_month")
    assert {"fct_time_entry_all", "fct_invoice_all"} <= kept
    assert {"expense/entries", "company/companies"} <= through
    assert not {"time/entries", "finance/invoices"} & through


def test_no_placeholder_is_left_when_a_script_is_filled() -> None:
    for script in scripts():
        assert "{{" not in script.query_for(HERE), script.name
        assert "{{" not in HERE.fill(script.changed or "", since="2025-01-31"), script.name


def test_a_table_can_be_narrowed_to_the_rows_that_changed_if_it_tells_them() -> None:
    for script in scripts():
        narrowed = "pg_temp.changed" in script.query_for(HERE, "pg_temp.changed")
        told = re.search(r"^select (?!where$)[\w']", script.changed or "", re.MULTILINE)
        assert narrowed == bool(told), script.name


def test_what_a_table_is_narrowed_by_may_be_an_expression() -> None:
    script = ViewScript(
        "kpi_thing",
        "{{only by index: f(a, 0)}} {{only by index: f(a, b), c}} {{only from: f(a, 0), d}}",
    )
    assert script.query_for(HERE, "keys") == (
        "f(a, 0) = any(array(select distinct * from keys))"
        " f(a, b) = any(array(select distinct c from keys))"
        " f(a, 0) >= (select min(d) from keys)"
    )
    assert script.whole == "true true true"


def test_comments_behind_the_columns_describe_them() -> None:
    script = ViewScript(
        "fct_thing",
        "-- One row per thing,\n-- whole. Source: a/b.\n"
        "select\n    t.id as thing_id, -- its id\n    t.name, -- what it is called\n"
        "    case when t.a then 1\n        else 2 end as number -- which one\n"
        "from {{source}}.t t -- not a column\n",
    )
    assert script.comment == "One row per thing, whole. Source: a/b."
    assert script.columns == {
        "thing_id": "its id",
        "name": "what it is called",
        "number": "which one",
    }


def test_every_column_has_the_type_that_postgresql_says_of_it() -> None:
    types = column_types()
    unknown = [(own.name, c) for own in scripts() for c in own.columns if c not in types[own.name]]
    assert unknown == []  # python -m tests.bi_tools --types


def test_views_that_read_each_other_are_refused() -> None:
    one = ViewScript("one", "select * from {{reporting}}.two")
    two = ViewScript("two", "select * from {{reporting}}.one")
    with pytest.raises(ValueError, match="cycle"):
        in_order([one, two])


def test_another_tenant_has_a_reporting_schema_of_its_own() -> None:
    assert reporting_schema("connectwise") == "reporting"
    assert reporting_schema("acme") == "acme_reporting"
    filled = ReportingSchema("acme").fill("{{source}}.a {{reporting}}.b {{tenant}}")
    assert filled == '"acme".a "acme_reporting".b \'acme\''


def test_a_new_time_zone_makes_the_views_that_know_local_days_anew() -> None:
    by_name = {script.name: script for script in scripts()}
    elsewhere = ReportingSchema("connectwise", "Asia/Tokyo")
    assert by_name["fct_ticket_all"].digest(HERE) != by_name["fct_ticket_all"].digest(elsewhere)
    assert by_name["dim_board"].digest(HERE) == by_name["dim_board"].digest(elsewhere)
