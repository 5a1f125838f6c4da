"""What is synced: every list is accounted for, and every entity is sound."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.catalog.declare import build_entity, entity
from cw_pipeline.catalog.facts import facts, list_fact
from cw_pipeline.catalog.left_out import BY_PATH, reasons
from cw_pipeline.errors import ConfigError
from cw_pipeline.model import Column, Entity, Kind, SyncMode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.catalog.declare import Declared

ENTITIES = list(CATALOG.values())


def identifiers(one: Entity) -> list[str]:
    arrays = [name for array in one.arrays for name in (array.table, *names(array.row_columns))]
    return [one.table, *names(one.row_columns), *arrays]


def names(columns: tuple[Column, ...]) -> list[str]:
    return [column.name for column in columns]


def test_every_list_of_the_vendor_is_kept_or_left_out_with_a_reason() -> None:
    kept = {one.path for one in ENTITIES}
    both = kept & set(BY_PATH)  # a line of the catalogue counts for more than a list's kind
    neither = {path for path, why in reasons(kept).items() if why is None}
    assert (both, neither) == (set(), set())


def test_a_list_that_is_left_out_by_its_kind_needs_no_more_than_its_line() -> None:
    info = "/company/companies/info"
    assert reasons(set())[info]
    assert info not in reasons({info})


def without_facts(declared: Iterable[Declared]) -> list[str]:
    """Paths that the document does not know, of lines that bring no columns: misspelled ones."""
    return [one.path for one in declared if one.columns is None and not list_fact(one.path)]


def test_every_declared_or_left_out_path_is_spelled_as_the_vendor_spells_it() -> None:
    assert without_facts(CATALOG.declared.values()) == []
    assert set(BY_PATH) <= set(facts()["lists"])


def test_the_catalog_is_as_large_as_the_api() -> None:
    top = [one for one in ENTITIES if not one.parent]
    assert len(top) >= 243  # the vendor's 247 less four that are left out with a reason
    assert len(ENTITIES) > 400


def test_no_two_entities_share_a_name_or_a_table() -> None:
    tables = [name for one in ENTITIES for name in (one.table, *(a.table for a in one.arrays))]
    assert len(set(tables)) == len(tables)
    assert len({one.name.lower() for one in ENTITIES}) == len(ENTITIES)


def test_every_child_names_a_parent_that_is_in_the_catalog_and_has_ids() -> None:
    children = [one for one in ENTITIES if one.parent]
    assert len(children) > 150
    assert [one.name for one in children if not CATALOG[one.parent or ""].has_id] == []


def test_a_grandchild_hangs_on_the_child_and_keeps_both_places_in_its_path() -> None:
    one = CATALOG["company/configurations/types/questions/values"]
    assert one.path == "/company/configurations/types/{grandparentId}/questions/{parentId}/values"
    assert one.parent == "company/configurations/types/questions"
    assert CATALOG[one.parent].parent == "company/configurations/types"


def test_the_columns_of_a_table_are_distinct() -> None:
    for one in ENTITIES:
        own = [*names(one.row_columns), "_synced_at", "_deleted_at"]
        for columns in (own, *(names(array.row_columns) for array in one.arrays)):
            assert len(set(columns)) == len(columns), one.name


def test_every_identifier_fits_postgres() -> None:
    long = {name for one in ENTITIES for name in identifiers(one) if len(name.encode()) > 63}
    assert long == set()


def test_a_value_goes_to_one_column_only() -> None:
    for one in ENTITIES:
        paths = {column.path for column in one.columns}
        above = {path[:depth] for path in paths for depth in range(1, len(path))}
        assert len(paths) == len(one.columns), one.name
        assert paths & above == set(), one.name


def test_ids_are_bigint() -> None:
    kinds = {c.kind for one in ENTITIES for c in one.columns if c.path == ("id",)}
    assert kinds == {Kind.BIGINT}


def test_a_window_needs_an_id_and_a_stamp() -> None:
    for one in ENTITIES:
        if one.mode is SyncMode.INCREMENTAL:
            assert one.has_id
            assert Column("last_updated", ("_info", "lastUpdated"), Kind.TIMESTAMPTZ) in one.columns
        assert (one.mode is SyncMode.PER_PARENT) == (one.parent is not None)


def test_what_leaves_its_list_when_it_is_done_is_read_whole() -> None:
    assert CATALOG["finance/accounting/unpostedinvoices"].mode is SyncMode.FULL


def test_only_the_two_ticket_lists_can_be_searched() -> None:
    searched = {one.name for one in ENTITIES if one.search}
    assert searched == {"service/tickets", "project/tickets"}


def test_the_core_is_what_reporting_needs_and_asks_no_ticket_contact_or_invoice_by_itself() -> None:
    core = {one.name: one for one in select(None)}
    assert {"service/tickets", "project/tickets", "time/entries", "finance/invoices"} <= set(core)
    assert {"finance/agreements/additions", "sales/opportunities/forecast"} <= set(core)
    assert {one.parent for one in core.values() if one.parent} <= set(core)
    many = {"service/tickets", "project/tickets", "company/contacts", "finance/invoices"}
    assert [name for name, one in core.items() if one.parent in many] == []
    assert 80 <= len(core) <= 130
    assert [name for name in core if not CATALOG.declared[name].about] == []


def test_the_core_includes_no_list_that_the_vendor_cannot_count_or_stamp_without_a_word() -> None:
    odd = {one.name for one in select("core") if one.mode is SyncMode.FULL}
    assert odd == set()


class TestSelect:
    def test_names_tables_and_globs_may_be_mixed(self) -> None:
        chosen = select("time/*, service_tickets ,finance/agreements/additions")
        found = {one.name for one in chosen}
        assert {"time/entries", "time/entries/audits", "service/tickets"} <= found
        assert "finance/agreements/additions" in found
        assert {one.module for one in chosen} == {"time", "service", "finance"}

    def test_spelling_may_be_lower_case(self) -> None:
        assert [one.name for one in select("service/slas")] == ["service/SLAs"]

    @pytest.mark.parametrize("everything", ["all", "*"])
    def test_all_means_every_one(self, everything: str) -> None:
        assert len(select(everything)) == len(CATALOG)

    @pytest.mark.parametrize("nothing", [None, "", " , ", "core"])
    def test_the_core_is_what_is_meant_when_nothing_is_said(self, nothing: str | None) -> None:
        assert select(nothing) == select("core")

    def test_parents_come_before_their_children(self) -> None:
        order = [one.name for one in select("all")]
        for one in ENTITIES:
            if one.parent:
                assert order.index(one.parent) < order.index(one.name)

    def test_a_child_may_be_chosen_without_its_parent(self) -> None:
        assert [one.name for one in select("service/tickets/notes")] == ["service/tickets/notes"]

    def test_an_unknown_name_names_the_setting_and_the_closest_match(self) -> None:
        with pytest.raises(ConfigError, match=r"CW_ENTITIES.*'service/ticket'.*'service/tickets'"):
            select("service/ticket")
        with pytest.raises(ConfigError, match="catalog list"):
            select("qwertz")


def test_indexes_are_the_stamp_and_the_ids_that_reporting_joins() -> None:
    assert CATALOG["service/tickets"].indexed == (
        "last_updated",
        "company_id",
        "board_id",
        "owner_id",
        "agreement_id",
    )
    assert CATALOG["system/reports"].indexed == ()


class TestANewEntity:
    def test_is_one_line_even_when_the_facts_do_not_know_it(self) -> None:
        one = build_entity(entity("/shop/novelties", "New things"))
        assert (one.name, one.table, one.module) == ("shop/novelties", "shop_novelties", "shop")
        assert one.columns == (Column("id", ("id",), Kind.BIGINT),)
        assert (one.mode, one.has_id, one.key) == (SyncMode.FULL, True, ("id",))

    def test_may_bring_its_own_columns(self) -> None:
        columns = (
            Column("id", ("id",), Kind.BIGINT),
            Column("last_updated", ("_info", "lastUpdated"), Kind.TIMESTAMPTZ),
        )
        one = build_entity(entity("/shop/novelties", columns=columns))
        assert one.columns == columns
        assert one.mode is SyncMode.INCREMENTAL

    def test_may_be_unknown_to_the_document_if_it_brings_its_columns(self) -> None:
        columns = (Column("id", ("id",), Kind.BIGINT),)
        assert without_facts([entity("/shop/novelties", columns=columns)]) == []
        assert without_facts([entity("/service/tikcets")]) == ["/service/tikcets"]

    def test_may_be_a_child(self) -> None:
        one = build_entity(entity("/shop/novelties/{parentId}/parts"))
        assert (one.name, one.parent) == ("shop/novelties/parts", "shop/novelties")
        assert (one.mode, one.key) == (SyncMode.PER_PARENT, ("parent_id", "id"))


def test_importing_the_catalog_stays_light() -> None:
    program = (
        "import sys, cw_pipeline.catalog as catalog\n"
        "heavy = {'msgspec', 'pydantic', 'psycopg', 'httpx', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert not catalog.CATALOG._built\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_building_every_entity_takes_a_moment_only() -> None:
    began = time.process_time()
    for declared in CATALOG.declared.values():
        build_entity(declared)
    assert time.process_time() - began < 0.25


def test_history_is_kept_of_columns_that_there_are() -> None:
    for one in ENTITIES:
        plain = {column.name for column in one.columns if column.kind is not Kind.JSONB}
        assert plain.issuperset(one.history), one.name


def test_a_list_below_another_needs_its_right() -> None:
    rights = {one.name: one.right for one in ENTITIES}
    assert rights["service/surveys"] == rights["service/surveys/results"] == "System > Table Setup"
    assert rights["project/tickets/notes"] == "Project > Project Tickets"
    assert rights["project/projects"] == "Project > Project Headers"
    assert all(rights.values())
