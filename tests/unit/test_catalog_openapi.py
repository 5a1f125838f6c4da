"""The vendor's OpenAPI document in, facts out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TypeAlias

import pytest

from cw_pipeline.catalog.facts import HERE, facts
from cw_pipeline.catalog.openapi import build_facts, facts_as_json, write_facts
from cw_pipeline.errors import ConfigError

Facts: TypeAlias = dict[str, dict[str, dict[str, object]]]

TINY = Path(__file__).parents[1] / "data" / "tiny_openapi.json"


@pytest.fixture
def tiny() -> Facts:
    return build_facts(json.loads(TINY.read_text()))


def test_every_get_list_is_found_with_its_twins_and_its_parent(
    tiny: Facts,
) -> None:
    orders, lines = "/shop/orders", "/shop/orders/{parentId}/lines/"
    assert tiny["lists"] == {
        "/shop/Orders/{grandparentId}/lines/{parentId}/parts": {
            "kind": "entity",
            "model": "Part",
            "parent": lines,
        },
        "/shop/novelties": {"kind": "entity"},
        orders: {"kind": "entity", "model": "Order", "count": True, "search": True, "byId": True},
        "/shop/orders/default": {"kind": "singleton", "model": "Order"},
        "/shop/orders/info": {"kind": "info", "model": "OrderInfo"},
        lines: {"kind": "entity", "model": "Line", "byId": True, "parent": orders},
        "/shop/orders/{parentId}/payments": {
            "kind": "link",
            "model": "PaymentReference",
            "parent": orders,
        },
        "/shop/orders/{parentId}/usages": {"kind": "usages", "model": "Usage", "parent": orders},
    }


def test_every_form_of_a_field_is_reduced_to_one_word(
    tiny: Facts,
) -> None:
    assert tiny["models"]["Order"] == {
        "id": "int",
        "number": "string",  # a list of types, one of them null
        "state": "string",  # a reference to an enum
        "kind": "string",  # an enum that names no type
        "total": "number",
        "paidFlag": "boolean",
        "token": "string",
        "placed": "date-time",
        "due": "date",
        "customer": "@CustomerReference",  # allOf around a reference
        "agent": "@CustomerReference",  # oneOf
        "address": "@Order.address",  # declared in place
        "lines": "[@Line]",
        "tags": "[string]",
        "extras": "map",
        "anything": "any",
        "blob": "any",
        "_info": "map",
    }
    assert tiny["models"]["Order.address"] == {"city": "string"}


def test_inherited_fields_come_first(tiny: Facts) -> None:
    assert list(tiny["models"]["Line"]) == ["id", "quantity", "order"]


def test_only_models_that_records_hold_are_kept(
    tiny: Facts,
) -> None:
    assert set(tiny["models"]) == {"CustomerReference", "Line", "Order", "Order.address", "Part"}


def test_the_same_document_makes_the_same_bytes_packed_or_not(tmp_path: Path) -> None:
    packed = tmp_path / "openapi.json.gz"
    packed.write_bytes(gzip.compress(TINY.read_bytes()))
    write_facts(TINY, tmp_path / "plain.json")
    write_facts(packed, tmp_path / "packed.json")
    assert (tmp_path / "plain.json").read_bytes() == (tmp_path / "packed.json").read_bytes()


def test_a_diff_shows_which_list_or_model_changed(
    tiny: Facts,
) -> None:
    lines = facts_as_json(tiny).splitlines()
    assert len([line for line in lines if line.startswith('"/shop/')]) == len(tiny["lists"])
    assert json.loads(facts_as_json(tiny)) == tiny


def test_the_committed_facts_are_as_the_tool_writes_them() -> None:
    assert facts_as_json(facts()) == (HERE / "facts.json").read_text()


@pytest.mark.parametrize("content", ["not json", "[]", "{}", '{"swagger": "2.0"}'])
def test_a_file_that_is_no_openapi_document_is_refused(content: str, tmp_path: Path) -> None:
    source = tmp_path / "openapi.json"
    source.write_text(content)
    with pytest.raises(ConfigError, match="OpenAPI"):
        write_facts(source, tmp_path / "facts.json")
    assert not (tmp_path / "facts.json").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.json"):
        write_facts(tmp_path / "absent.json", tmp_path / "facts.json")
