"""The exact way, for a record that the fast way refused: field by field, nothing guessed.

What fits after all is brought into the form the fast way takes; what it could not hold in full
(an unknown field, a time of day on a date, a NUL) is spilled to `_extra` or noted; a value that
will not convert makes the record a reject.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from cw_pipeline.model import Kind, SchemaDrift
from cw_pipeline.transform.copy_format import is_held
from cw_pipeline.transform.raw_json import (
    MOST_DIGITS,
    OddNumber,
    repairs,
    strip,
    unstorable,
    whole_number,
)
from cw_pipeline.transform.record_shape import Path, ShapeNode, is_learnable, is_link

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_LEARNED = 200
_INT64 = range(-(2**63), 2**63)
_LONGEST_FIELD = 500


@dataclass(slots=True)
class CoercedRecord:
    """What became of one record."""

    clean: dict[str, Any]
    unknown_values: dict[str, Any] = field(default_factory=dict)
    drift: list[SchemaDrift] = field(default_factory=list)
    misfits: list[tuple[Path, str]] = field(default_factory=list)
    fields_learned: bool = False


class DoesNotConvert(ValueError):
    """A value its column cannot hold."""


def coerce_record(record: dict[str, Any], node: ShapeNode) -> CoercedRecord:
    """Brings a record into the shape of `node`, learning the fields it does not know."""
    mended = CoercedRecord({})
    mended.clean = _object(record, node, (), mended)
    for other, path in node.other_places.items():
        _keep_second_value(other, path, mended)
    return mended


def _keep_second_value(other: Path, path: Path, mended: CoercedRecord) -> None:
    """What a record says at another place of a column, if that differs, goes to `_extra`."""
    first, second = _at(mended.clean, path), _at(mended.clean, other)
    if first is None or second is None or first == second:
        return
    holder: Any = mended.clean if len(other) == 1 else _at(mended.clean, other[:-1])
    del holder[other[-1]]
    text = second.isoformat() if isinstance(second, datetime) else second
    _spill(mended.unknown_values, other, text)
    mended.drift.append(SchemaDrift(".".join(other), f"differs from {'.'.join(path)}", text))


def _at(record: Any, path: Path) -> Any:
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _object(
    record: dict[str, Any], node: ShapeNode, path: Path, mended: CoercedRecord
) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for (received_key, received), (key, value) in zip(
        record.items(), strip(record).items(), strict=True
    ):
        here = (*path, key)
        if (key, value) != (received_key, received):
            sent = {received_key: received}
            mended.drift += (SchemaDrift(_field(here), what, "") for what in repairs(sent))
        if value is None:
            continue
        if key in node.leaves:
            _leaf(clean, value, node.leaves[key], here, mended)
        elif key in node.nodes:
            _coerce_nested(clean, value, node.nodes[key], here, mended)
        elif key in node.arrays:
            _array(clean, value, node.arrays[key], here, mended)
        elif key == "_info" and node.skips_info:
            continue
        else:
            _unknown(clean, value, node, here, mended)
    return clean


def _leaf(clean: dict[str, Any], value: Any, kind: Kind, path: Path, mended: CoercedRecord) -> None:
    if kind is Kind.JSONB and _refuse_number(value, path, mended):
        return
    try:
        held, whole = _CONVERT[kind](value)
    except (ValueError, ArithmeticError) as error:
        mended.misfits.append((path, str(error)))
        return
    if held is not None:
        clean[path[-1]] = held
    if not whole:
        _spill(mended.unknown_values, path, value)


def _coerce_nested(
    clean: dict[str, Any], value: Any, node: ShapeNode, path: Path, mended: CoercedRecord
) -> None:
    if isinstance(value, dict):
        clean[path[-1]] = _object(value, node, path, mended)
    else:
        mended.misfits.append((path, f"expected an object, got {_excerpt(value)}"))


def _array(
    clean: dict[str, Any], value: Any, node: ShapeNode, path: Path, mended: CoercedRecord
) -> None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        mended.misfits.append((path, f"expected an array of objects, got {_excerpt(value)}"))
        return
    before = len(mended.unknown_values)
    inner = CoercedRecord({})
    clean[path[-1]] = [_object(item, node, path, inner) for item in value]
    mended.drift += inner.drift
    mended.misfits += inner.misfits
    mended.fields_learned |= inner.fields_learned
    if inner.unknown_values and len(mended.unknown_values) == before:
        # Paths into arrays have no position; the array is kept whole beside its rows.
        _spill(mended.unknown_values, path, value)


def _unknown(
    clean: dict[str, Any], value: Any, node: ShapeNode, path: Path, mended: CoercedRecord
) -> None:
    key = path[-1]
    data = not is_link(path)
    if data and _refuse_number(value, path, mended):
        return
    has_room = len(node.learned) < _MOST_LEARNED
    if key not in node.learned and data:
        # Beyond that many a record seems to have data for keys: they are not told one by one.
        column = _field(path) if has_room else _field((*path[:-1], "…"))
        mended.drift.append(SchemaDrift(column, "unknown field", _excerpt(value)))
    if key in node.learned or (has_room and is_learnable(key)):
        mended.fields_learned |= key not in node.learned
        node.learned.add(key)
        clean[key] = value
    elif data:
        _spill(mended.unknown_values, path, value)


def _refuse_number(value: Any, path: Path, mended: CoercedRecord) -> bool:
    """Whether there is a number in a value that no jsonb should hold: then it is a misfit."""
    found = unstorable(value, path)
    if found is not None:
        where, spelling = found
        said = f"expected a number of at most {MOST_DIGITS:,} digits, got {shorten(spelling)}"
        mended.misfits.append((where, said))
    return found is not None


def _field(path: Path) -> str:
    """The field's name, cut where an index of Postgres could not hold it."""
    name = ".".join(path)
    if len(name) <= _LONGEST_FIELD:
        return name
    return f"{name[:_LONGEST_FIELD]}…{crc32(name.encode()):08x}"


def _spill(spill: dict[str, Any], path: Path, value: Any) -> None:
    for key in path[:-1]:
        spill = spill.setdefault(key, {})
    spill[path[-1]] = value


def _excerpt(value: Any) -> str:
    return f"{type(value).__name__} {shorten(str(value))}"


def shorten(text: str) -> str:
    """A text as messages quote it."""
    return text[:77] + "..." if len(text) > 80 else text  # noqa: PLR2004


def _bigint(value: Any) -> tuple[Any, bool]:
    value = whole_number(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DoesNotConvert(f"expected an integer, got {_excerpt(value)}")
    if value not in _INT64:
        raise DoesNotConvert(f"{value} does not fit into 64 bits")
    return value, True


def _numeric(value: Any) -> tuple[Any, bool]:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise DoesNotConvert(f"expected a number, got {_excerpt(value)}")
    if value == "":
        return None, False
    try:
        made = Decimal(value)
    except InvalidOperation:
        raise DoesNotConvert(f"expected a number, got {_excerpt(value)}") from None
    if not is_held(made):
        raise DoesNotConvert(f"expected a number that Postgres holds, got {_excerpt(value)}")
    return msgspec.Raw(str(value).encode()), True


def _boolean(value: Any) -> tuple[Any, bool]:
    if not isinstance(value, bool):
        raise DoesNotConvert(f"expected true or false, got {_excerpt(value)}")
    return value, True


def _instant(value: Any) -> tuple[Any, bool]:
    moment, whole = _written_instant(value)
    try:
        return moment and moment.astimezone(UTC), whole
    except OverflowError:  # Postgres would hold it, and nobody who reads it by Python
        said = f"expected a date-time of the years 1 to 9999 in UTC, got {_excerpt(value)}"
        raise DoesNotConvert(said) from None


def _written_instant(value: Any) -> tuple[datetime | None, bool]:
    if value == "":
        return None, False
    if not isinstance(value, str):
        raise DoesNotConvert(f"expected a date-time, got {_excerpt(value)}")
    try:
        moment = _moment(value)
    except ValueError:
        raise DoesNotConvert(f"expected a date-time, got {_excerpt(value)}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC), True


def _moment(text: str) -> datetime:
    """As the fast way reads it where that can; Python alone would cut a 7th digit, not round it."""
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return datetime.fromisoformat(text)


def _date(value: Any) -> tuple[Any, bool]:
    moment, whole = _written_instant(value)
    if moment is None:
        return None, whole
    midnight = (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0)
    if midnight and value[10:] in ("", "T00:00:00Z"):
        return value, True  # as the fast way sees it, or the same record would hash differently
    # The day as written: moving it to UTC first would shift a date with an offset.
    return date(moment.year, moment.month, moment.day).isoformat(), midnight


def _text(value: Any) -> tuple[Any, bool]:
    if isinstance(value, bool):
        return ("true" if value else "false"), True
    if isinstance(value, int | Decimal | OddNumber):
        return str(value), True
    if not isinstance(value, str):
        raise DoesNotConvert(f"expected text, got {_excerpt(value)}")
    return value, True


_CONVERT: dict[Kind, Callable[[Any], tuple[Any, bool]]] = {
    Kind.BIGINT: _bigint,
    Kind.NUMERIC: _numeric,
    Kind.BOOLEAN: _boolean,
    Kind.TIMESTAMPTZ: _instant,
    Kind.DATE: _date,
    Kind.TEXT: _text,
    Kind.JSONB: lambda value: (value, True),
}
