"""What a server may send, good and bad, by what the columns hold."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from cw_pipeline.catalog import CATALOG
from cw_pipeline.model import Kind

if TYPE_CHECKING:
    from cw_pipeline.model import Column

ENTITIES = (
    "service/tickets",
    "company/contacts",
    "finance/agreements",
    "time/entries",
    "sales/opportunities/forecast",
)
BIG = 2**63 - 1


class Number(str):
    """A JSON number by its digits, as a server writes it."""

    __slots__ = ()


def text_of(value: Any) -> str:
    """JSON as a server may write it: numbers by their digits, half surrogates escaped."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        inner = (f"{json.dumps(key)}: {text_of(each)}" for key, each in value.items())
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(text_of, value)) + "]"
    return json.dumps(value)


def page_of(*records: Any) -> bytes:
    return text_of(list(records)).encode()


def outside(entity: str) -> dict[str, int]:
    return {"parent_id": 7} if CATALOG[entity].parent else {}


instants = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0).isoformat() + "Z"
)
days = st.dates(date(1950, 1, 1), date(2099, 12, 31)).map(date.isoformat)
decimals = st.decimals(-(10**20), 10**20, allow_nan=False, places=4).map(lambda d: Number(f"{d:f}"))
integers = st.integers(-(2**63), BIG).map(Number)
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | integers | decimals | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
GOOD: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.BIGINT: integers,
    Kind.NUMERIC: decimals | integers | decimals.map(str),
    Kind.BOOLEAN: st.booleans(),
    Kind.TIMESTAMPTZ: instants,
    Kind.DATE: days | days.map(lambda day: f"{day}T00:00:00Z"),
    Kind.TEXT: texts,
    Kind.JSONB: json_values.filter(lambda value: value is not None),
}
odd = (
    st.sampled_from(
        [
            "", "a\x00b", "half \ud800", True, False, [], {}, [None], [{}], [[1]], {"id": None},
            "2025-02-30", "2025-01-01T04:00:00Z", "2025-01-01T10:00:00+02:00", "2025-01-01",
            "2025-01-01T00:00:00.1234567Z", "2025-01-01 00:00:00", "9999-12-31T23:59:59Z",
            "0001-01-01T00:00:00Z", "1_000", " 5 ", "0.00", "twelve",
            Number("1.50"), Number("3.0"), Number("-0"), Number("1e3"), Number("1E-7"),
            Number(str(2**63)), Number(str(-(2**63) - 1)), Number("123456789012345678901234567890"),
        ]
    )
    | json_values
)  # fmt: skip
unknown_keys = st.sampled_from(
    [
        "futureField",
        "dateEntered",
        "enteredBy",
        "lastUpdated",
        "Sort",
        "href",
        "logo_href",
        "x\x00y",
        "_info",
        "ø",
        "",
        'a "b" \\',
    ]
)


def put(record: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        inner = record.get(key)
        if not isinstance(inner, dict):
            inner = record[key] = {}
        record = inner
    record[path[-1]] = value


@st.composite
def objects(draw: st.DrawFn, columns: tuple[Column, ...], *, odds: bool) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for column in draw(st.lists(st.sampled_from(columns), max_size=6)):
        values = GOOD[column.kind]
        put(made, column.path, draw(st.none() | values | odd if odds else st.none() | values))
    return made


@st.composite
def records(draw: st.DrawFn, entity: str, *, odds: bool) -> dict[str, Any]:
    shape = CATALOG[entity]
    made: dict[str, Any] = {"id": Number(draw(st.integers(1, 10**6)))}
    made |= {k: v for k, v in draw(objects(shape.columns, odds=odds)).items() if k != "id"}
    for array in shape.arrays:
        if draw(st.integers(0, 3)) == 0:
            made[array.field] = draw(st.lists(objects(array.columns, odds=odds), max_size=2))
    if odds:
        for _ in range(draw(st.integers(0, 2))):
            places = [(), ("board",), ("_info",), ("company",), ("type",)]
            places += [("site", "_info"), ("phase",)]
            where = draw(st.sampled_from(places))
            put(made, (*where, draw(unknown_keys)), draw(odd))
        if draw(st.integers(0, 9)) == 0:
            made["id"] = draw(odd)
    return made


@st.composite
def pages(draw: st.DrawFn, *, odds: bool) -> tuple[str, list[dict[str, Any]]]:
    entity = draw(st.sampled_from(ENTITIES))
    return entity, draw(st.lists(records(entity, odds=odds), min_size=1, max_size=4))
