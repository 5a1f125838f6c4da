"""From the vendor's fields to columns: names, types, references, arrays."""

from __future__ import annotations

import json

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.columns import fit_name
from cw_pipeline.catalog.facts import HERE, fields, list_fact
from cw_pipeline.model import Kind


def column(entity: str, name: str) -> tuple[tuple[str, ...], Kind]:
    return next((c.path, c.kind) for c in CATALOG[entity].columns if c.name == name)


@pytest.mark.parametrize(
    ("entity", "name", "path", "kind"),
    [
        ("service/tickets", "id", ("id",), Kind.BIGINT),
        ("service/tickets", "closed_flag", ("closedFlag",), Kind.BOOLEAN),
        ("service/tickets", "address_line1", ("addressLine1",), Kind.TEXT),
        ("service/tickets", "severity", ("severity",), Kind.TEXT),
        ("service/tickets", "budget_hours", ("budgetHours",), Kind.NUMERIC),
        ("service/tickets", "resolution_goal_utc", ("resolutionGoalUTC",), Kind.TIMESTAMPTZ),
        ("service/tickets", "integrator_tags", ("integratorTags",), Kind.JSONB),
        ("service/tickets", "board_id", ("board", "id"), Kind.BIGINT),
        ("service/tickets", "board_name", ("board", "name"), Kind.TEXT),
        ("service/tickets", "company_identifier", ("company", "identifier"), Kind.TEXT),
        ("service/tickets", "currency_symbol", ("currency", "symbol"), Kind.TEXT),
        ("service/tickets", "last_updated", ("_info", "lastUpdated"), Kind.TIMESTAMPTZ),
        ("service/tickets", "updated_by", ("_info", "updatedBy"), Kind.TEXT),
        ("service/tickets", "date_entered", ("_info", "dateEntered"), Kind.TIMESTAMPTZ),
        ("service/tickets", "entered_by", ("_info", "enteredBy"), Kind.TEXT),
        ("finance/agreements", "created_date", ("_info", "createdDate"), Kind.TIMESTAMPTZ),
        ("time/entries", "charge_to_mobile_guid", ("_info", "chargeToMobileGuid"), Kind.TEXT),
        # What the record says itself wins over what `_info` says.
        ("time/entries", "date_entered", ("dateEntered",), Kind.TIMESTAMPTZ),
        ("time/entries", "entered_by", ("enteredBy",), Kind.TEXT),
        # Security masks it as the text "0.00".
        ("time/entries", "hourly_cost", ("hourlyCost",), Kind.TEXT),
    ],
)
def test_a_field_has_its_column(entity: str, name: str, path: tuple[str, ...], kind: Kind) -> None:
    assert column(entity, name) == (path, kind)


@pytest.mark.parametrize(
    ("entity", "name", "path"),
    [
        ("service/tickets", "site_name", ("siteName",)),
        ("service/tickets", "site_ref_name", ("site", "name")),
        ("finance/invoices", "location_id", ("locationId",)),
        ("finance/invoices", "location_ref_id", ("location", "id")),
        # Two spellings of one field, declared and seen.
        ("service/tickets", "status_sort", ("status", "sort")),
        ("service/tickets", "status_ref_sort", ("status", "Sort")),
        # Of two nested ones, the shorter path keeps the name.
        ("procurement/products", "recurring_bill_cycle_id", ("recurring", "billCycleId")),
        ("procurement/products", "recurring_bill_cycle_ref_id", ("recurring", "billCycle", "id")),
        # A child's key is `parent_id`; a field of that name steps aside.
        ("service/boards/statuses", "parent_ref_id", ("parentId",)),
        ("system/workflows/events", "parent_id", ("parentId",)),
    ],
)
def test_names_that_would_clash_are_both_kept(
    entity: str, name: str, path: tuple[str, ...]
) -> None:
    assert column(entity, name)[0] == path


def test_no_field_is_lost_between_facts_and_columns() -> None:
    for entity in CATALOG.values():
        model = list_fact(entity.path).get("model")
        reached = {column.path[0] for column in entity.columns} | {a.field for a in entity.arrays}
        if model:
            assert set(fields(model)) - reached <= {"_info"}, entity.name


def test_an_array_of_objects_is_a_table_keyed_by_parent_and_position() -> None:
    arrays = {array.table: array for array in CATALOG["company/contacts"].arrays}
    assert set(arrays) == {
        "company_contacts__communication_items",
        "company_contacts__types",
        "company_contacts__custom_fields",
    }
    items = arrays["company_contacts__communication_items"]
    assert items.field == "communicationItems"
    assert [c.name for c in items.row_columns][:5] == [
        "parent_id",
        "position",
        "id",
        "type_id",
        "type_name",
    ]


def test_custom_fields_keep_their_value_as_json() -> None:
    array = CATALOG["service/tickets"].arrays[0]
    assert array.table == "service_tickets__custom_fields"
    assert {c.name: c.kind.value for c in array.columns} == {
        "id": "bigint",
        "caption": "text",
        "type": "text",
        "entry_method": "text",
        "number_of_decimals": "bigint",
        "value": "jsonb",
        "connect_wise_id": "text",
        "row_num": "bigint",
        "user_defined_field_rec_id": "bigint",
        "pod_id": "text",
    }


def test_a_column_lies_two_references_deep_at_most() -> None:
    deep = [c for entity in CATALOG.values() for c in entity.columns if len(c.path) == 3]
    assert {c.kind for c in deep} > {Kind.BIGINT, Kind.TEXT}
    assert max(len(c.path) for entity in CATALOG.values() for c in entity.columns) == 3


def test_a_reference_has_no_columns_for_its_links() -> None:
    nested = [c.path for e in CATALOG.values() for c in e.columns if "_info" in c.path[1:]]
    assert nested == []


class TestDates:
    @pytest.mark.parametrize(
        ("entity", "name"),
        [
            ("service/tickets", "required_date"),
            ("service/tickets", "estimated_start_date"),
            ("project/projects", "estimated_end"),
            ("finance/invoices", "date"),
            ("finance/invoices", "due_date"),
            ("finance/agreements", "start_date"),
            ("finance/agreements", "date_cancelled"),
            ("finance/agreements/additions", "effective_date"),
            ("sales/opportunities", "expected_close_date"),
            ("schedule/holidayLists/holidays", "date"),
            ("time/sheets", "date_start"),
            ("expense/entries", "date"),
            ("procurement/purchaseorders", "po_date"),
            ("company/configurations", "warranty_expiration_date"),
            ("time/entries", "invoice_invoice_date"),
        ],
    )
    def test_a_business_date_is_a_day(self, entity: str, name: str) -> None:
        assert column(entity, name)[1] is Kind.DATE

    @pytest.mark.parametrize(
        ("entity", "name"),
        [
            ("service/tickets", "closed_date"),
            ("service/tickets", "date_resolved"),
            ("project/tickets", "closed_date"),
            ("company/companies", "date_acquired"),  # seen as T04:00:00Z
            ("system/members", "hire_date"),  # seen as T08:00:00Z
            ("sales/opportunities", "closed_date"),
            ("time/entries", "time_start"),
        ],
    )
    def test_an_instant_is_an_instant_whatever_the_document_calls_it(
        self, entity: str, name: str
    ) -> None:
        assert column(entity, name)[1] is Kind.TIMESTAMPTZ

    @pytest.mark.parametrize(
        ("entity", "name"),
        [
            ("service/tickets", "sla_status"),  # prose
            ("schedule/calendars", "monday_start_time"),  # a time of day
            ("schedule/holidayLists/holidays", "time_start"),
        ],
    )
    def test_prose_and_times_of_day_stay_text(self, entity: str, name: str) -> None:
        assert column(entity, name)[1] is Kind.TEXT

    def test_every_decision_is_about_a_field_there_is_and_says_why(self) -> None:
        decisions = json.loads((HERE / "dates.json").read_text())
        for place, (kind, why) in decisions.items():
            model, field = place.split(".")
            assert field in fields(model), place
            assert Kind(kind) in {Kind.DATE, Kind.TIMESTAMPTZ, Kind.TEXT}
            assert len(why) > 10


class TestLongNames:
    def test_a_name_that_fits_is_left_alone(self) -> None:
        assert fit_name("x" * 63) == "x" * 63

    def test_a_name_that_does_not_is_cut_and_told_apart_by_a_checksum(self) -> None:
        name = "finance_tax_codes_expense_type_exemptions_taxable_expense_type_levels"
        assert (
            fit_name(name)
            == "finance_tax_codes_expense_type_exemptions_taxable_expe_" + fit_name(name)[55:]
        )
        assert len(fit_name(name)) == 63
        assert fit_name(name) != fit_name(name + "s")
