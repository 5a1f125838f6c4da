"""What the warehouse should hold of a record, worked out without the pipeline's own typing."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cw_pipeline.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cw_pipeline.model import Column, Entity

UNKNOWN = "sparkle"
"""The one field of the tests' records that the catalog does not know."""


def spoilt(record: Mapping[str, Any]) -> bool:
    """Whether the tests have given the record a value that cannot be typed."""
    return "spoilt" in json.dumps(record)


def expected_row(entity: Entity, record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the record's row."""
    extra = record.get(UNKNOWN)
    row = _values(entity.columns, record)
    return {**row, "_extra": None if extra is None else {UNKNOWN: _clean(extra)}}


def expected_arrays(entity: Entity, record: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the record's arrays, by table, in order."""
    return {
        array.table: [_values(array.columns, item) for item in record.get(array.field) or ()]
        for array in entity.arrays
    }


def _values(columns: Iterable[Column], record: Mapping[str, Any]) -> dict[str, Any]:
    return {column.name: _value(column, record) for column in columns}


def _value(column: Column, record: Any) -> Any:
    for key in column.path:
        record = record.get(key) if isinstance(record, dict) else None
        if record is None:
            return None
    return _typed(column.kind, record)


def _typed(kind: Kind, value: Any) -> Any:
    match kind:
        case Kind.NUMERIC:
            return Decimal(str(value))
        case Kind.TIMESTAMPTZ:
            return _instant(value)
        case Kind.DATE:
            return date.fromisoformat(value[:10])
        case _:
            return _clean(value)


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _clean(value: Any) -> Any:
    """Postgres takes no NULs: they are the one thing a text loses."""
    return json.loads(json.dumps(value).replace("\\u0000", ""))
