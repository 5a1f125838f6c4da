"""What SQL makes of a JSON value: a typed value or null, never an error."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

INSTANTS = {
    "2026-03-01": datetime(2026, 3, 1, tzinfo=UTC),
    "2026-03-01T10:20:30Z": datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC),
    "2026-03-01T10:20:30": datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC),
    "2026-03-01T10:20:30,25Z": datetime(2026, 3, 1, 10, 20, 30, 250_000, tzinfo=UTC),
    "2026-03-01T10:20:30.123456789+02:30": datetime(2026, 3, 1, 7, 50, 30, 123_457, tzinfo=UTC),
    "2026-03-01T10:20:30-0500": datetime(2026, 3, 1, 15, 20, 30, tzinfo=UTC),
    "2026-03-01T10:20:30+23:59": datetime(2026, 2, 28, 10, 21, 30, tzinfo=UTC),
    "2026-03-01T00:00:00." + "1" * 500 + "Z": datetime(2026, 3, 1, 0, 0, 0, 111_111, tzinfo=UTC),
    "0001-01-01T00:00:00+14:00": None,
    "9999-12-31T23:59:59-14:00": None,
    "0000-01-01T00:00:00Z": None,
    "2026-02-29T00:00:00Z": None,
    "soon": None,
}
ODD: list[Any] = [
    *("", "-", ".", "+.e1", "1e", "1e9999", "NaN", "1" * 140_000, "x" * 1_000_000, " 1 "),
    *(None, True, [], {}, [1], {"a": 1}, 2**63, -(2**63) - 1, 1.5, 7, 10**300),
    *("1e999", "." + "1" * 998, "9" * 1000, "١٢", "0x10", "1_000"),
]
FUNCTIONS = (
    *("to_numeric", "to_bigint", "to_boolean", "to_flag", "to_day", "is_day", "to_instant"),
    "to_scalar_text",
)


@pytest.mark.parametrize("style", ["postgres", "sql_standard", "iso_8601"])
def test_an_instant_is_read_whatever_its_offset_and_fraction(dsn: str, style: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"set intervalstyle = {style}; set timezone = 'Asia/Tokyo'".encode())
        query = "select cw_sync.to_instant(%s::jsonb)"
        found = {
            text: connection.execute(query, [json.dumps(text)]).fetchall()[0][0]
            for text in INSTANTS
        }
    assert found == INSTANTS


def test_no_value_is_an_error(dsn: str) -> None:
    values = [json.dumps(value) for value in (*ODD, *INSTANTS)]
    with psycopg.connect(dsn) as connection:
        for function in FUNCTIONS:
            query = f"select count(cw_sync.{function}(v::jsonb)) from unnest(%s::text[]) v"  # noqa: S608
            ((found,),) = connection.execute(query.encode(), [values]).fetchall()
            assert found > 0, function
