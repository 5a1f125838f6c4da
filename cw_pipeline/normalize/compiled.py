"""Pages read by compiled code, run by run: as long as records are what their plan says."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_int, c_int64, c_void_p
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

from cw_pipeline import wire
from cw_pipeline.normalize.library import library
from cw_pipeline.normalize.plan import Plan, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Entity
    from cw_pipeline.normalize.tree import Node

_NULL_STAMP = -(2**63)
_FROM = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FACTS = 5  # begin, end, id, stamp, end of what is hashed; then the end in each table


class Outcome(IntEnum):
    """Why a run ended."""

    DONE = 0
    REFUSED = 1
    BROKEN = 2
    NO_MEMORY = 3


@dataclass(frozen=True, slots=True)
class Run:
    """Records one after the other, and where it went on from there.

    Record i stands in the body at `spans[i]`; what is to be hashed of it ends at `hashed_ends[i]`,
    and its rows at `ends[t][i]` in `tables[t]`. `refused` is where the next record stands; None
    if there is no more.
    """

    spans: Sequence[tuple[int, int]]
    ids: Sequence[int]
    stamps: Sequence[datetime | None]
    hashed: bytes
    hashed_ends: Sequence[int]
    tables: Sequence[bytes]
    ends: Sequence[Sequence[int]]
    refused: tuple[int, int] | None


class _Buffer(Structure):
    _fields_: ClassVar = [
        ("data", c_void_p),
        *((name, c_int64) for name in ("size", "room", "failed")),
    ]

    def bytes(self) -> bytes:
        return ctypes.string_at(self.data, self.size) if self.size else b""


class Compiled:
    """Reads the records of one shape. Safe to share between threads, which do not wait here."""

    def __init__(self, code: ctypes.CDLL, shape: Plan) -> None:
        self._plan = shape
        self._tables = shape.array_count + 1
        self._read = code.read_records
        self._read.argtypes = [
            *(POINTER(Plan), c_int, c_void_p, c_int64),
            *(POINTER(c_int64), POINTER(c_int64), POINTER(_Buffer)),
        ]
        self._give_back = code.give_back

    def read(self, body: bytes, begin: int, keys: Sequence[int], *, sourced: bool) -> Run | None:
        """The records from `begin` on, up to the first that is refused; None of a broken body.

        `keys` are the bigints that a row begins with. Room is left at its end for its hashes;
        `sourced`: that of the record as it came is one of them.
        """
        made = (_Buffer * (self._tables + 2))()
        span = (c_int64 * 2)(begin, 0)
        key_values = (c_int64 * (len(keys) + 1))(*keys)
        try:
            tail = len(wire.hashes(0 if sourced else None, 0))
            outcome = self._read(self._plan, tail, body, len(body), span, key_values, made)
            if outcome == Outcome.NO_MEMORY:
                raise MemoryError
            if outcome == Outcome.BROKEN:
                return None
            return _run(made, (span[0], span[1]) if outcome == Outcome.REFUSED else None)
        finally:
            self._give_back(made, len(made))


def _run(made: ctypes.Array[_Buffer], refused: tuple[int, int] | None) -> Run:
    facts, hashed, *tables = (buffer.bytes() for buffer in made)
    numbers = memoryview(facts).cast("q")
    begins, ends, ids, stamps, hashed_ends, *row_ends = (
        numbers[at :: _FACTS + len(tables)].tolist() for at in range(_FACTS + len(tables))
    )
    return Run(
        spans=list(zip(begins, ends, strict=True)),
        ids=ids,
        stamps=[None if at == _NULL_STAMP else _FROM + at * _MICROSECOND for at in stamps],
        hashed=hashed,
        hashed_ends=hashed_ends,
        tables=tables,
        ends=row_ends,
        refused=refused,
    )


def compiled(entity: Entity, root: Node, *, is_closed: bool = True) -> Compiled | None:
    """What reads the records that `root` is the tree of; None where nothing can be compiled.

    `is_closed`: a record with a field that is not in the tree is refused.
    """
    code = library()
    return None if code is None else Compiled(code, plan(entity, root, is_closed=is_closed))
