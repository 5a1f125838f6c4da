"""The two ways of a page: all at once by typed decoding, or record by record where that refuses."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import repeat
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest

from cw_pipeline.errors import SourceBroken
from cw_pipeline.model import Batch, Drift, Entity, Reject, Row
from cw_pipeline.normalize.mend import Mended, mend, strip
from cw_pipeline.normalize.shapes import JSON, Shape
from cw_pipeline.normalize.tree import tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder(Any, float_hook=Decimal)
_INT64 = range(-(2**63), 2**63)
_HALF = 2**63  # bigint is signed
_PACK = msgspec.msgpack.Encoder(order="deterministic").encode


class _Id(msgspec.Struct, gc=False):
    id: int


_IDS = msgspec.json.Decoder(list[_Id])


class _Typed(NamedTuple):
    """One record on its way to a row, and the shape it was decoded with: learning makes others."""

    struct: Any
    shape: Shape
    spill: dict[str, Any] | None = None


class Normalizer:
    """Turns pages of one entity into batches. Safe to share between threads."""

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._tree = tree(entity)
        self._lock = Lock()
        self._shape = Shape(entity, self._tree)

    def batch(self, body: bytes, *, parent_id: int | None = None, start: int = 0) -> Batch:
        """Every record of a page's body, as a row or as a reject.

        `parent_id` is the parent of a child list's page; `start` the position of the page's first
        record in a list without ids. Raises SourceBroken if the body is no JSON array.
        """
        outside = () if parent_id is None else (parent_id,)
        try:
            shape = self._shape
            structs = shape.decode(body)
            typed = zip(structs, repeat(shape), repeat(None))
            return self._finish(typed, len(structs), outside, start)
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
            raw = _decoded(raw)
        if not isinstance(raw, dict):
            return Reject(None, _text(raw), "not a record", "expected an object"), None
        mended = mend(raw, self._tree)
        if mended.learned:
            self._shape = Shape(self._entity, self._tree)
        if mended.faults:
            return _reject(raw, mended), mended
        struct = msgspec.convert(mended.clean, self._shape.struct)
        return _Typed(struct, self._shape, mended.spill or None), mended

    def _finish(
        self,
        typed: Iterable[tuple[Any, Shape, dict[str, Any] | None]],
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
        arrays: list[list[list[Row]]] = []
        homeless: list[Reject] = []
        for position, (struct, shape, spill) in enumerate(typed, start):
            values = shape.values(struct)
            own = position if not has_id else values[shape.id_at]
            if own is None:
                homeless.append(_homeless(struct))
                continue
            extra = shape.unknown(struct, spill)
            own_arrays = shape.array_rows(own, struct)
            row_hash = _hash((values, own_arrays, extra))
            ids.append(own)
            stamps.append(None if shape.stamp_at is None else values[shape.stamp_at])
            hashes.append(row_hash)
            keys = outside if has_id else (*outside, position)
            rows.append(keys + values + (row_hash, extra))  # unpacking would copy twice
            arrays.append(own_arrays)
        cursor = max((*ids, *_ids(rejects)), default=None) if has_id else None
        return Batch(
            read=read,
            cursor=cursor,
            ids=ids,
            stamps=stamps,
            hashes=hashes,
            rows=rows,
            array_rows=arrays.__getitem__,
            rejects=(*rejects, *homeless),
            drift=drift,
        )


def id_of(body: bytes) -> list[int]:
    """The ids of a page's records, in order. Raises SourceBroken if a record shows none.

    An answer that is no list of ids must not pass for an empty one: its records would be deleted.
    """
    try:
        return [record.id for record in _IDS.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceBroken(f"expected ids: {error}", 200, _head(body)) from error


def _decoded(raw: msgspec.Raw) -> Any:
    try:
        return _ANY.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceBroken(f"the body is not JSON: {error}", 200, _head(bytes(raw))) from error


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
    return xxh3_64_intdigest(_PACK(values)) - _HALF


def _reject(record: dict[str, Any], mended: Mended) -> Reject:
    detail = "; ".join(f"{'.'.join(path)}: {why}" for path, why in mended.faults)
    own = record.get("id")
    known = own if type(own) is int and own in _INT64 else None
    return Reject(known, _text(record), "does not convert", detail)


def _homeless(struct: Any) -> Reject:
    return Reject(None, JSON.encode(struct).decode(), "no id", "id: absent or null")


def _ids(rejects: tuple[Reject, ...]) -> list[int]:
    return [reject.record_id for reject in rejects if reject.record_id is not None]


def _text(record: Any) -> str:
    return JSON.encode(strip(record)).decode()
