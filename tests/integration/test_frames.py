"""DataFrames hold what Postgres holds: exact numbers, nulls that stay nulls, times in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting.frames import table

if TYPE_CHECKING:
    import psycopg

BIG = 9_007_199_254_740_993  # the first whole number that a float cannot hold
MOMENT = datetime(2025, 3, 9, 6, 59, 59, 123456, UTC)


@pytest.fixture(autouse=True)
def _rows(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table public.sample (id bigint, amount numeric, flag boolean, at timestamptz,"
        " day date, name text, extra jsonb, small int, span interval)"
    )
    connection.execute(
        "insert into public.sample values (%s, 1234567890123456.78, true, %s, '2025-03-09',"
        " 'Zürich', '{\"a\": 1}', 7, '36 hours'),"
        " (null, null, null, null, null, null, null, null, null)",
        [BIG, MOMENT],
    )
    connection.commit()


def test_every_type_arrives_as_itself_beside_nulls(dsn: str) -> None:
    frame = table(dsn, "public.sample")
    assert frame.dtypes.astype(str).to_dict() == {
        "id": "Int64",
        "amount": "object",
        "flag": "boolean",
        "at": "datetime64[us, UTC]",
        "day": "object",
        "name": "string",
        "extra": "object",
        "small": "Int64",
        "span": "timedelta64[us]",
    }
    row = frame.iloc[0]
    assert row["id"] == BIG
    assert row["amount"] == Decimal("1234567890123456.78")
    assert row["at"] == pd.Timestamp(MOMENT)
    assert row["day"] == date(2025, 3, 9)
    assert row["extra"] == {"a": 1}
    assert row["span"] == pd.Timedelta(hours=36)
    assert frame.iloc[1].isna().all()


def test_a_table_without_rows_has_its_columns_and_types(dsn: str) -> None:
    frame = table(dsn, "public.sample", "id = %s", [1])
    assert len(frame) == 0
    assert str(frame.dtypes["id"]) == "Int64"
    assert str(frame.dtypes["at"]) == "datetime64[us, UTC]"


def test_rows_can_be_chosen(dsn: str) -> None:
    assert len(table(dsn, "public.sample", "name = %s", ["Zürich"])) == 1


def test_a_table_that_is_not_there_is_named(dsn: str) -> None:
    with pytest.raises(WarehouseError, match="fct_nothing"):
        table(dsn, "fct_nothing")
