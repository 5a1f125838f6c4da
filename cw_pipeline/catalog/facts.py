"""The vendor's facts as the catalog reads them, with what was seen of real tenants added.

`facts.json` is generated from the vendor's OpenAPI document and never edited. `observed.json` holds
fields that real answers have and the document lacks, `dates.json` which fields are instants and
which are days, each with its reason: the document's word for that is not reliable. `places.json`
has the facts that versions keep at different places of a record.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent

Fields = dict[str, str]


@cache
def facts() -> dict[str, Any]:
    """The generated facts: `lists` and `models`."""
    return _read("facts.json")


def list_fact(path: str) -> dict[str, Any]:
    """What is known of the list at `path`; empty for one the document does not know."""
    fact: dict[str, Any] = facts()["lists"].get(path, {})
    return fact


def fields(model: str) -> Fields:
    """The fields of a model, in the document's order, then those only seen in real answers.

    The type is `int`, `string`, …; `@Model` for an object, `[@Model]` for an array of them.
    """
    declared: Fields = facts()["models"].get(model, {})
    observed = _observed_fields()["fields"].get(model, {})
    return declared | {name: word for name, word in observed.items() if name not in declared}


def info_fields(model: str) -> Fields:
    """The data in a record's `_info`, which the document only calls a map. Links are no data.

    Records of models for which it declares none have one all the same, in many tenants.
    """
    if not {"_info", "id"} & {*fields(model)}:
        return {}
    observed = _observed_fields()["info"]
    return {**observed["*"], **observed.get(model, {})}


def decided_kind(model: str, field: str) -> str | None:
    """The kind decided on for a field that holds an instant or a day; None: its type tells."""
    decision = _dates().get(f"{model}.{field}")
    return decision[0] if decision else None


def other_places(paths: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Where versions of ConnectWise have what is a column already, by where that column has it.

    `paths` are those of an entity's columns. `places.json` has each fact's places, and how that is
    known.
    """
    known = {*paths}
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for *places, _ in _read_places().values():
        listed = [tuple(place) for place in places]
        kept = [place for place in listed if place in known]
        found |= {place: kept[0] for place in listed if len(kept) == 1 and place not in known}
    return found


@cache
def _read_places() -> dict[str, list[Any]]:
    return _read("places.json")


@cache
def _observed_fields() -> dict[str, dict[str, Fields]]:
    return _read("observed.json")


@cache
def _dates() -> dict[str, list[str]]:
    return _read("dates.json")


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((HERE / name).read_text(encoding="utf-8"))
    return content
