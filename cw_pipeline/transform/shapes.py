"""Decoders, getters and finishers made from a tree: everything the fast way runs on."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from cw_pipeline.model import LAST_UPDATED, Array, Entity, Kind, Row
from cw_pipeline.transform import copy_format
from cw_pipeline.transform.record_shape import ShapeNode, getter, reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

JSON = msgspec.json.Encoder(order="sorted", decimal_format="number")
_DATE_LENGTH = 10
_NUL = b"\\u0000"
_NEARLY_NUL = b"u0000"  # found twice as fast, because its first letter is rarer


class RecordDecoder:
    """Everything made from one tree, as it stood when this was made."""

    def __init__(self, entity: Entity, node: ShapeNode) -> None:
        outside = entity.key_from_context
        paths = [*((name,) for name in outside), *(column.path for column in entity.columns)]
        self.struct = node.struct(entity.table)
        self.decode = msgspec.json.Decoder(self.struct, float_hook=Decimal).decode
        self._extra = _Extra(node)
        self._made = [_ArrayShape(node, array) for array in entity.arrays]
        self._arrays = getter(node, [(array.field,) for array in entity.arrays])
        self._row = reader(node, entity.columns, _FINISH, outside, ("extra", "source", "row"))
        self._nowhere = (0,) * len(outside)
        self.packers = [
            copy_format.row_packer(columns)
            for columns in (entity.row_columns, *(array.row_columns for array in entity.arrays))
        ]
        self.id_at = paths.index(("id",)) if ("id",) in paths else -1
        self.stamp_at = paths.index(LAST_UPDATED) if entity.has_last_updated else None

    def decode_one(self, raw: bytes) -> Any:
        """The record, or None if it does not conform."""
        try:
            if not is_plain(raw):
                return None
            struct = self.decode(raw)
            self.row(struct, self._nowhere, None)
            self.array_rows(0, struct)
        except (msgspec.DecodeError, ValueError):
            return None
        return struct

    def row(
        self, struct: Any, outside: tuple[int, ...], spill: dict[str, Any] | None
    ) -> tuple[Any, ...]:
        """The record's row, its hashes null. `outside` are the keys that it does not carry itself.

        Raises ValueError for a day with a time of day.
        """
        return self._row(struct, *outside, self._extra.of(struct, spill), None, None)

    def array_rows(self, parent_id: int, struct: Any) -> list[list[Row]]:
        """The rows of each array of this record.

        Raises ValueError as `row` does.
        """
        return [
            made.rows(parent_id, elements)
            for made, elements in zip(self._made, self._arrays(struct), strict=True)
        ]


def is_plain(text: bytes) -> bool:
    """Whether there is no NUL in JSON, which Postgres does not take."""
    return _NEARLY_NUL not in text or _NUL not in text


class _ArrayShape:
    """What makes rows of an array's elements."""

    def __init__(self, root: ShapeNode, array: Array) -> None:
        node = root.arrays[array.field]
        self._row = reader(node, array.columns, _FINISH, ("parent_id", "position"), ("extra",))
        self._extra = _Extra(node)

    def rows(self, parent_id: int, elements: Sequence[Any]) -> list[Row]:
        """The elements' rows, in their order."""
        row = self._row
        if not self._extra.paths:
            return [row(one, parent_id, at, None) for at, one in enumerate(elements)]
        extra = self._extra.of
        return [row(one, parent_id, at, extra(one, None)) for at, one in enumerate(elements)]


class _Extra:
    """Collects the values of fields that the catalog does not know."""

    def __init__(self, node: ShapeNode) -> None:
        self.paths = node.unknown()
        self._get = getter(node, self.paths)

    def of(self, struct: Any, spill: dict[str, Any] | None) -> bytes | None:
        if not self.paths and not spill:
            return None
        extra: dict[str, Any] = {}
        for path, value in zip(self.paths, self._get(struct), strict=True):
            if value is not msgspec.UNSET and value is not None:
                _put(extra, path, value)
        _merge(extra, spill or {})
        return _jsonb(extra) if extra else None


def _day(text: str) -> date:
    """A business date. Raises ValueError for one with a time of day: the exact way keeps that."""
    if len(text) > _DATE_LENGTH and text[_DATE_LENGTH:] != "T00:00:00Z":
        raise ValueError(text)
    return date.fromisoformat(text[:_DATE_LENGTH])


def _jsonb(value: Any) -> bytes:
    return copy_format.jsonb(JSON.encode(value))


def _put(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        target = target.setdefault(key, {})
    target[path[-1]] = value


def _merge(target: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


_FINISH: Mapping[Kind, Callable[[Any], Any]] = {Kind.DATE: _day, Kind.JSONB: _jsonb}
