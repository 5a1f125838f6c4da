"""The naming rule: what users query by, so every example here is a promise."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_pipeline.catalog.facts import facts
from cw_pipeline.catalog.naming import entity_name, snake, table_name


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("closedFlag", "closed_flag"),
        ("serviceSLA", "service_sla"),
        ("SLAs", "slas"),
        ("RMADispositions", "rma_dispositions"),
        ("resolutionGoalUTC", "resolution_goal_utc"),
        ("addressLine1", "address_line1"),
        ("externalXRef", "external_x_ref"),
        ("opportunityStatusRecIDs", "opportunity_status_rec_ids"),
        ("office365Id", "office365_id"),
        ("scheduled_Start", "scheduled_start"),
        ("_info", "info"),
    ],
)
def test_a_field_becomes_a_column_in_snake_case(field: str, column: str) -> None:
    assert snake(field) == column


@pytest.mark.parametrize(
    ("path", "name", "table"),
    [
        ("/service/tickets", "service/tickets", "service_tickets"),
        ("/company/companies", "company/companies", "company_companies"),
        (
            "/finance/agreements/{parentId}/additions",
            "finance/agreements/additions",
            "finance_agreements_additions",
        ),
        (
            "/service/SLAs/{parentId}/priorities",
            "service/SLAs/priorities",
            "service_slas_priorities",
        ),
        ("/procurement/subcategories/", "procurement/subcategories", "procurement_subcategories"),
    ],
)
def test_a_path_becomes_a_name_and_a_table(path: str, name: str, table: str) -> None:
    assert entity_name(path) == name
    assert table_name(path) == table


@given(st.from_regex(r"[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*", fullmatch=True))
def test_a_name_that_is_snake_case_already_stays_as_it_is(name: str) -> None:
    assert snake(name) == name


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9]*", fullmatch=True))
def test_no_letter_or_digit_of_a_spelling_is_lost(spelling: str) -> None:
    assert snake(spelling).replace("_", "") == spelling.lower()


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9]*", fullmatch=True))
def test_naming_twice_is_naming_once(spelling: str) -> None:
    assert snake(snake(spelling)) == snake(spelling)


def test_every_field_of_the_vendor_gets_a_plain_identifier() -> None:
    spellings = {field for model in facts()["models"].values() for field in model}
    assert len(spellings) > 2000
    assert [name for name in spellings if not re.fullmatch(r"[a-z][a-z0-9_]*", snake(name))] == []
