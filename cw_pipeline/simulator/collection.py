"""The records of one list, kept as JSON bytes beside their ids and stamps.

Bytes, because a page of whole records is then a join, and a million records stay affordable.
`ids` and `stamps` run in step, in id order.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import msgspec

from cw_pipeline.simulator.conditions import seconds
from cw_pipeline.simulator.packing import Packer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

NEVER = -(2**62)
"""The stamp of a record that carries no `_info.lastUpdated`."""
_KEPT_ANSWERS = 64
_PACKED_FROM = 50_000
_SAMPLE = 6

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Collection:
    """One list of records by id. Every change moves `version`, which outdates what was memoised.

    `last_id` is the highest that a record of it ever had.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.version = 0
        self.last_id = 0
        self.ids = array("q")
        self.stamps = array("q")
        self._raw: dict[int, bytes] = {}
        self._packer: Packer | None = None
        self._memo: dict[Any, Any] = {}
        self._memo_version = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, record_id: int) -> bool:
        return record_id in self._raw

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (_decode(self.raw(each)) for each in self.ids)

    def put(self, record: dict[str, Any]) -> None:
        """Adds or replaces a record by its `id`."""
        self.put_raw(record["id"], stamp_of(record), _encode(record))

    def put_raw(self, record_id: int, stamp: int, raw: bytes) -> None:
        """Adds or replaces a record that is already JSON."""
        self.last_id = max(self.last_id, record_id)
        at = len(self.ids)
        if at and record_id <= self.ids[-1]:
            at = bisect_left(self.ids, record_id)
        if record_id in self._raw:
            self.stamps[at] = stamp
        else:
            self.ids.insert(at, record_id)
            self.stamps.insert(at, stamp)
        self._raw[record_id] = self._packer.pack(raw) if self._packer else raw
        self.version += 1
        if self._packer is None and len(self.ids) >= _PACKED_FROM:
            self._pack()

    def _pack(self) -> None:
        packer = Packer(self._raw[each] for each in self.ids[:_SAMPLE])
        self._raw = {record_id: packer.pack(raw) for record_id, raw in self._raw.items()}
        self._packer = packer

    def get(self, record_id: int) -> dict[str, Any]:
        """The record. Raises KeyError."""
        record: dict[str, Any] = _decode(self.raw(record_id))
        return record

    def raw(self, record_id: int) -> bytes:
        """The record as JSON. Raises KeyError."""
        kept = self._raw[record_id]
        return self._packer.unpack(kept) if self._packer else kept

    def index_of(self, ids: Iterable[int]) -> list[tuple[int, int]]:
        """(id, stamp) of those of these ids that exist, in id order."""
        known = sorted({each for each in ids if each in self._raw})
        return [(each, self.stamps[bisect_left(self.ids, each)]) for each in known]

    def delete(self, record_id: int) -> dict[str, Any]:
        """Takes the record out and returns it. Raises KeyError."""
        record = self.get(record_id)
        del self._raw[record_id]
        at = bisect_left(self.ids, record_id)
        del self.ids[at], self.stamps[at]
        self.version += 1
        return record

    def join(self, ids: Sequence[int]) -> bytes:
        """The JSON array of these records."""
        return b"[" + b",".join([self.raw(each) for each in ids]) + b"]"

    def memo(self, key: Any, make: Callable[[], Any]) -> Any:  # noqa: ANN401
        """What `make` gave for this key, as long as the list has not changed since."""
        if self._memo_version != self.version or len(self._memo) > _KEPT_ANSWERS:
            self._memo.clear()
            self._memo_version = self.version
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]


def stamp_of(record: dict[str, Any]) -> int:
    """The record's `_info.lastUpdated` in seconds since 1970, NEVER where it has none."""
    text = (record.get("_info") or {}).get("lastUpdated")
    moment = seconds(text) if text else None
    return NEVER if moment is None else int(moment)
