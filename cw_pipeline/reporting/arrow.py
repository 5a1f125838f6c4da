"""Tables and views as Arrow tables, read in parts, with the types that they have in Postgres."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cw_pipeline.errors import ConfigError, WarehouseError
from cw_pipeline.warehouse.connections import transaction

try:
    import pyarrow as pa
except ImportError as error:
    raise ConfigError(
        "Arrow needs pyarrow: `cw-pipeline setup --extra arrow`, or `pip install pyarrow`"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from cw_pipeline.reporting.selection import Selection

PART = 50_000
"""Rows that are read at a time. As Python objects they take a hundred bytes a value."""

_TYPES = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "timestamp": pa.timestamp("us"),
    "interval": pa.duration("us"),
}
"""What is not here is text, but for numeric and lists: JSON as it is written, ids as they print."""
_DIGITS, _MOST_DIGITS = 38, 76
"""What Arrow's two sizes of decimals hold; most readers know the first alone."""


def arrow(dsn: str, selection: Selection) -> pa.Table:
    """The rows of a table or view; nothing is guessed and nothing is rounded.

    Numeric is a decimal of the scale that its values need, 38 digits or, where they do not fit, 76.
    Timestamps are in UTC, lists are lists, JSON is text. Raises WarehouseError if there is no such
    table or column, with the name that may be meant, if a number has no place in a decimal (NaN,
    more digits), or if the warehouse cannot be reached.
    """
    with (
        transaction(dsn, read_only=True) as connection,
        connection.cursor("cw_arrow") as cursor,  # the server keeps what is not read yet
    ):
        columns = [_Column(name, kind) for name, kind in selection.ask(cursor)]
        while rows := cursor.fetchmany(PART):
            for column, values in zip(columns, zip(*rows, strict=True), strict=True):
                column.add(values)
    return pa.table([column.whole() for column in columns], names=[c.name for c in columns])


@dataclass(slots=True)
class _Column:
    """A column as it is read. `scale` and `digits` before the point: what its numbers need."""

    name: str
    kind: str
    parts: list[pa.Array] = field(default_factory=list)
    scale: int = 0
    digits: int = 0

    def add(self, values: Sequence[Any]) -> None:
        if self._is_numeric:
            for value in values:
                for number in value or () if self.kind == "numeric[]" else (value,):
                    self._measure(number)
        elif self._type == pa.string() and self.kind not in ("text", "varchar"):
            values = [None if value is None else _as_text(value) for value in values]
        self.parts.append(pa.array(values, self._type))

    def whole(self) -> pa.ChunkedArray:
        return pa.chunked_array([part.cast(self._type) for part in self.parts], self._type)

    @property
    def _is_numeric(self) -> bool:
        return self.kind.removesuffix("[]") == "numeric"

    @property
    def _type(self) -> pa.DataType:
        kind = self._decimal if self._is_numeric else _TYPES.get(self.kind.removesuffix("[]"))
        kind = kind or pa.string()
        return pa.list_(kind) if self.kind.endswith("[]") else kind

    @property
    def _decimal(self) -> pa.DataType:
        if self.digits + self.scale <= _DIGITS:
            return pa.decimal128(_DIGITS, self.scale)
        return pa.decimal256(_MOST_DIGITS, self.scale)

    def _measure(self, number: Decimal | None) -> None:
        if number is None:
            return
        _, digits, exponent = number.as_tuple()
        if not isinstance(exponent, int):
            raise WarehouseError(f"{self.name}: Arrow has no {number}; leave such rows out")
        self.scale = max(self.scale, -exponent)
        self.digits = max(self.digits, len(digits) + exponent)
        if self.digits + self.scale > _MOST_DIGITS:
            raise WarehouseError(f"{self.name}: {number} has more digits than Arrow holds")


def _as_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
