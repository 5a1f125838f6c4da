"""The two ways of a page: all at once by typed decoding, or record by record where that refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

from cw_pipeline.errors import SourceBroken
from cw_pipeline.model import Batch, Drift, Entity, Kind, Reject, Row
from cw_pipeline.normalize.mend import Mended, mend, strip
from cw_pipeline.normalize.shape import Node, getter, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DATE_LENGTH = 10
_NUL = b"\\u0000"
_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder(Any, float_hook=Decimal)
_JSON = msgspec.json.Encoder(order="sorted", decimal_format="number")
_PACK = msgspec.msgpack.Encoder(order="deterministic").encode


@dataclass(slots=True)
class _Typed:
    """One record on its way to a row, and the shape it was decoded with: learning makes others."""

    struct: Any
    shape: _Shape
    spill: dict[str, Any] | None = None


class Normalizer:
    """Turns pages of one entity into batches. Safe to share between threads."""

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._tree = tree(entity)
        self._lock = Lock()
        self._shape = _Shape(entity, self._tree)

    def batch(self, body: bytes, *, parent_id: int | None = None, start: int = 0) -> Batch:
        """Every record of a page's body, as a row or as a reject.

        `parent_id` is the parent of a child list's page; `start` the position of the page's first
        record in a list without ids. Raises SourceBroken if the body is no JSON array.
        """
        outside = () if parent_id is None else (parent_id,)
        try:
            shape = self._shape
            typed = [_Typed(struct, shape) for struct in shape.decode(body)]
            return self._finish(typed, len(typed), outside, start)
        except (msgspec.ValidationError, ValueError):
            with self._lock:  # learning makes a new shape; one thread at a time
                return self._exact(body, outside, start)

    def _exact(self, body: bytes, outside: tuple[int, ...], start: int) -> Batch:
        records = _records(body)
        typed: list[_Typed] = []
        rejects: list[Reject] = []
        drift: list[Drift] = []
        for raw in records:
            record, mended = self._one(raw)
            if isinstance(record, _Typed):
                typed.append(record)
            else:
                rejects.append(record)
            drift += mended.drift if mended else []
        return self._finish(typed, len(records), outside, start, tuple(rejects), tuple(drift))

    def _one(self, raw: Any) -> tuple[_Typed | Reject, Mended | None]:
        """A record as typed as it gets, and what had to be mended for it."""
        if isinstance(raw, msgspec.Raw):
            if (struct := self._shape.decode_one(bytes(raw))) is not None:
                return _Typed(struct, self._shape), None
            raw = _ANY.decode(raw)
        if not isinstance(raw, dict):
            return Reject(None, _text(raw), "not a record", "expected an object"), None
        mended = mend(raw, self._tree)
        if mended.learned:
            self._shape = _Shape(self._entity, self._tree)
        if mended.faults:
            return _reject(raw, mended), mended
        struct = msgspec.convert(mended.clean, self._shape.struct)
        return _Typed(struct, self._shape, mended.spill or None), mended

    def _finish(
        self,
        typed: list[_Typed],
        read: int,
        outside: tuple[int, ...],
        start: int,
        rejects: tuple[Reject, ...] = (),
        drift: tuple[Drift, ...] = (),
    ) -> Batch:
        has_id = self._entity.has_id
        ids: list[int] = []
        stamps: list[datetime | None] = []
        hashes: list[int] = []
        rows: list[Row] = []
        kept: list[_Typed] = []
        homeless: list[Reject] = []
        for position, record in enumerate(typed, start):
            shape = record.shape
            values, full = shape.values(record.struct)
            own = position if not has_id else values[shape.id_at]
            if own is None:
                homeless.append(_homeless(record.struct))
                continue
            extra = shape.unknown(record.struct, record.spill)
            row_hash = _hash((*full, extra))
            ids.append(own)
            stamps.append(None if shape.stamp_at is None else values[shape.stamp_at])
            hashes.append(row_hash)
            keys = outside if has_id else (*outside, position)
            rows.append((*keys, *values, row_hash, extra))
            kept.append(record)
        cursor = max((*ids, *_ids(rejects)), default=None) if has_id else None
        return Batch(
            read=read,
            cursor=cursor,
            ids=ids,
            stamps=stamps,
            hashes=hashes,
            rows=rows,
            array_rows=lambda at: kept[at].shape.array_rows(ids[at], kept[at].struct),
            rejects=(*rejects, *homeless),
            drift=drift,
        )


class _Shape:
    """Decoder, getters and finishers of one tree, as it stood when this was made."""

    def __init__(self, entity: Entity, node: Node) -> None:
        columns = entity.columns
        paths = [column.path for column in columns]
        self.struct = node.struct(entity.table)
        self._page = msgspec.json.Decoder(list[self.struct], float_hook=Decimal)  # type: ignore[name-defined]
        self._record = msgspec.json.Decoder(self.struct, float_hook=Decimal)
        self._full = getter(node, [*paths, *((array.field,) for array in entity.arrays)])
        self._width = len(columns)
        self._finishers = _finishers([column.kind for column in columns])
        self.id_at = paths.index(("id",)) if ("id",) in paths else -1
        stamp = ("_info", "lastUpdated")
        self.stamp_at = paths.index(stamp) if stamp in paths else None
        self._extra = _Extra(node)
        self._arrays = [_ArrayShape(node, array.field, array.columns) for array in entity.arrays]

    def decode(self, body: bytes) -> Sequence[Any]:
        """A page's records. Raises msgspec.ValidationError if one does not conform."""
        if _NUL in body:
            raise msgspec.ValidationError("a NUL, which Postgres does not take")
        try:
            return self._page.decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError as error:
            raise msgspec.ValidationError(str(error)) from error

    def decode_one(self, raw: bytes) -> Any:
        """The record, or None if it does not conform."""
        try:
            if _NUL in raw:
                return None
            struct = self._record.decode(raw)
            self.values(struct)
        except (msgspec.DecodeError, ValueError):
            return None
        return struct

    def values(self, struct: Any) -> tuple[Sequence[Any], tuple[Any, ...]]:
        """The columns' values as they are stored, and all that counts for the hash."""
        full = self._full(struct)
        return finished(full[: self._width], self._finishers), full

    def unknown(self, struct: Any, spill: dict[str, Any] | None) -> bytes | None:
        """What `_extra` holds for this record, as JSON; None when nothing."""
        return self._extra.of(struct, spill)

    def array_rows(self, parent_id: int, struct: Any) -> list[list[Row]]:
        """The rows of each array of this record."""
        elements = self._full(struct)[self._width :]
        return [
            [array.row(parent_id, position, element) for position, element in enumerate(items)]
            for array, items in zip(self._arrays, elements, strict=True)
        ]


class _ArrayShape:
    """Getters and finishers of an array's elements."""

    def __init__(self, root: Node, field: str, columns: Sequence[Any]) -> None:
        node = root.arrays[field]
        self._get = getter(node, [column.path for column in columns])
        self._finishers = _finishers([column.kind for column in columns])
        self._extra = _Extra(node)

    def row(self, parent_id: int, position: int, element: Any) -> Row:
        values = finished(self._get(element), self._finishers)
        return (parent_id, position, *values, self._extra.of(element, None))


class _Extra:
    """Collects the values of fields that the catalog does not know."""

    def __init__(self, node: Node) -> None:
        self._paths = node.unknown()
        self._get = getter(node, self._paths)

    def of(self, struct: Any, spill: dict[str, Any] | None) -> bytes | None:
        if not self._paths and not spill:
            return None
        extra: dict[str, Any] = {}
        for path, value in zip(self._paths, self._get(struct), strict=True):
            if value is not msgspec.UNSET and value is not None:
                _put(extra, path, value)
        _merge(extra, spill or {})
        return _JSON.encode(extra) if extra else None


def finished(values: tuple[Any, ...], finishers: list[tuple[int, Any]]) -> Sequence[Any]:
    """The values with those made into what they are stored as that decoding left half done."""
    if not finishers:
        return values
    row = list(values)
    for position, finish in finishers:
        if row[position] is not None:
            row[position] = finish(row[position])
    return row


def id_of(body: bytes) -> list[int]:
    """The ids of a page's records, in order; what is no id is left out."""
    found = _ANY.decode(body)
    records = found if isinstance(found, list) else []
    return [record["id"] for record in records if isinstance(record.get("id"), int)]


def _finishers(kinds: Sequence[Kind]) -> list[tuple[int, Callable[[Any], Any]]]:
    made: dict[Kind, Callable[[Any], Any]] = {Kind.DATE: _day, Kind.JSONB: _JSON.encode}
    return [(at, made[kind]) for at, kind in enumerate(kinds) if kind in made]


def _day(text: str) -> date:
    """A business date. Raises ValueError for one with a time of day: the exact way keeps that."""
    if len(text) > _DATE_LENGTH and text[_DATE_LENGTH:] != "T00:00:00Z":
        raise ValueError(text)
    return date.fromisoformat(text[:_DATE_LENGTH])


def _records(body: bytes) -> list[Any]:
    try:
        return _RAW.decode(body)
    except msgspec.DecodeError as refused:
        return _leniently(body, refused)


def _leniently(body: bytes, refused: Exception) -> list[Any]:
    """Half surrogates are valid JSON to a lenient parser only; anything else is a broken body."""
    try:
        records = json.loads(body, parse_float=Decimal)
    except (ValueError, UnicodeDecodeError):
        raise SourceBroken(f"the body is not JSON: {refused}", 200, _head(body)) from None
    if not isinstance(records, list):
        raise SourceBroken("expected a list of records", 200, _head(body))
    return records


def _head(body: bytes) -> str:
    return body[:2000].decode("utf-8", "replace")


def _hash(values: tuple[Any, ...]) -> int:
    return int.from_bytes(blake2b(_PACK(values), digest_size=8).digest(), "big", signed=True)


def _reject(record: dict[str, Any], mended: Mended) -> Reject:
    detail = "; ".join(f"{'.'.join(path)}: {why}" for path, why in mended.faults)
    own = record.get("id")
    known = own if isinstance(own, int) and not isinstance(own, bool) else None
    return Reject(known, _text(record), "does not convert", detail)


def _homeless(struct: Any) -> Reject:
    return Reject(None, _JSON.encode(struct).decode(), "no id", "id: absent or null")


def _ids(rejects: tuple[Reject, ...]) -> list[int]:
    return [reject.record_id for reject in rejects if reject.record_id is not None]


def _text(record: Any) -> str:
    return _JSON.encode(strip(record)).decode()


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
