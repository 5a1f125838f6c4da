"""Frames and Arrow tables hold what Postgres holds: exact numbers, nulls as nulls, times in UTC."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from cw_pipeline.errors import ConfigError, WarehouseError
from cw_pipeline.reporting.frames import frame
from cw_pipeline.reporting.selection import Selection

if TYPE_CHECKING:
    import psycopg

BIG = 9_007_199_254_740_993  # the first whole number that a float cannot hold
MOMENT = datetime(2025, 3, 9, 6, 59, 59, 123456, UTC)
AMOUNT = Decimal("1234567890123456.78")
SAMPLE = Selection("public.sample")


@pytest.fixture(autouse=True)
def _rows(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table public.sample (id bigint, amount numeric, flag boolean, at timestamptz,"
        " day date, name text, extra jsonb, small int, span interval, names text[], ids bigint[])"
    )
    connection.execute(
        "insert into public.sample values (%s, %s, true, %s, '2025-03-09', 'Zürich', '{\"a\": 1}',"
        " 7, '36 hours', '{Ann,Bo}', '{1,null}')",
        [BIG, AMOUNT, MOMENT],
    )
    connection.execute("insert into public.sample default values")
    connection.commit()


def test_every_type_arrives_as_itself_beside_nulls(dsn: str) -> None:
    found = frame(dsn, SAMPLE)
    assert found.dtypes.astype(str).to_dict() == {
        "id": "Int64",
        "amount": "object",
        "flag": "boolean",
        "at": "datetime64[us, UTC]",
        "day": "object",
        "name": "string",
        "extra": "object",
        "small": "Int64",
        "span": "timedelta64[us]",
        "names": "object",
        "ids": "object",
    }
    row = found.iloc[0]
    assert row["id"] == BIG
    assert row["amount"] == AMOUNT
    assert row["at"] == pd.Timestamp(MOMENT)
    assert row["day"] == date(2025, 3, 9)
    assert row["extra"] == {"a": 1}
    assert row["span"] == pd.Timedelta(hours=36)
    assert row["names"] == ["Ann", "Bo"]
    assert row["ids"] == [1, None]
    assert found.iloc[1].isna().all()


def test_a_table_without_rows_has_its_columns_and_types(dsn: str) -> None:
    found = frame(dsn, Selection("public.sample", "id = %s", [1]))
    assert len(found) == 0
    assert str(found.dtypes["id"]) == "Int64"
    assert str(found.dtypes["at"]) == "datetime64[us, UTC]"


def test_rows_can_be_chosen(dsn: str) -> None:
    assert len(frame(dsn, Selection("public.sample", "name = %s", ["Zürich"]))) == 1


def test_a_table_that_is_not_there_is_named(dsn: str) -> None:
    with pytest.raises(WarehouseError, match="fct_nothing"):
        frame(dsn, Selection("fct_nothing"))


class TestArrow:
    """`Pipeline.arrow`, where pyarrow is installed (`setup --extra arrow`; `.ci/run bi`)."""

    @pytest.fixture(autouse=True)
    def _pyarrow(self) -> None:
        pytest.importorskip("pyarrow")

    def arrow(self, dsn: str, selection: Selection = SAMPLE) -> Any:
        from cw_pipeline.reporting.arrow import arrow  # noqa: PLC0415 - an extra

        return arrow(dsn, selection)

    def test_every_type_arrives_as_itself_beside_nulls(self, dsn: str) -> None:
        found = self.arrow(dsn)
        assert {field.name: str(field.type) for field in found.schema} == {
            "id": "int64",
            "amount": "decimal128(38, 2)",
            "flag": "bool",
            "at": "timestamp[us, tz=UTC]",
            "day": "date32[day]",
            "name": "string",
            "extra": "string",
            "small": "int32",
            "span": "duration[us]",
            "names": "list<item: string>",
            "ids": "list<item: int64>",
        }
        first, second = found.to_pylist()
        assert first == {
            "id": BIG,
            "amount": AMOUNT,
            "flag": True,
            "at": MOMENT,
            "day": date(2025, 3, 9),
            "name": "Zürich",
            "extra": '{"a": 1}',
            "small": 7,
            "span": timedelta(hours=36),
            "names": ["Ann", "Bo"],
            "ids": [1, None],
        }
        assert {*second.values()} == {None}

    def test_parts_whose_numbers_need_other_scales_are_one_column(
        self, connection: psycopg.Connection, dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cw_pipeline.reporting.arrow.PART", 1)
        connection.execute(
            "insert into public.sample (amount) values (0.123456789), (1e30), (1e20)"
        )
        connection.commit()
        found = self.arrow(dsn, Selection("public.sample", columns=["amount"]))
        assert str(found.schema.types[0]) == "decimal256(76, 9)"
        assert found["amount"].to_pylist() == [
            AMOUNT, None, Decimal("0.123456789"), Decimal(10) ** 30, Decimal(10) ** 20,
        ]  # fmt: skip

    def test_a_number_that_arrow_cannot_hold_is_an_error_with_its_column(
        self, connection: psycopg.Connection, dsn: str
    ) -> None:
        connection.execute("insert into public.sample (amount) values ('NaN')")
        connection.commit()
        with pytest.raises(WarehouseError, match="amount: Arrow has no NaN"):
            self.arrow(dsn)

    def test_a_table_without_rows_has_its_columns_and_types(self, dsn: str) -> None:
        found = self.arrow(dsn, Selection("public.sample", "id = %s", [1]))
        assert found.num_rows == 0
        assert str(found.schema.field("at").type) == "timestamp[us, tz=UTC]"


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "cw_pipeline.reporting.arrow", raising=False)
    with pytest.raises(ConfigError, match="--extra arrow"):
        import cw_pipeline.reporting.arrow  # noqa: F401, PLC0415
