"""Pages read by compiled code, run by run: as long as records are what their plan says."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_int, c_int64, c_ssize_t, c_uint64, c_void_p
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

from cw_pipeline.transform.compiled_build import load_library
from cw_pipeline.transform.plan import ReaderLayout, layout_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Entity
    from cw_pipeline.transform.record_shape import ShapeNode

_NULL_STAMP = -(2**63)
_FROM = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FACTS = 6  # numbers of `struct facts`; the end in each table follows


class ReadStatus(IntEnum):
    """Why a run ended."""

    DONE = 0
    REFUSED = 1
    BROKEN = 2
    NO_MEMORY = 3


@dataclass(frozen=True, slots=True)
class DecodedSpan:
    """Records one after the other, and where it went on from there.

    Record i stands in the body at `spans[i]`, has the hash `sources[i]` as it came (0 if that was
    not wanted), and its rows in table t end at `ends[t][i]`, counted from where the run's begin.
    `refused` is where the next record stands; None if there is no more.
    """

    spans: Sequence[tuple[int, int]]
    ids: Sequence[int]
    last_updated: Sequence[datetime | None]
    sources: Sequence[int]
    hashes: Sequence[int]
    ends: Sequence[Sequence[int]]
    refused: tuple[int, int] | None


_READABLE = 0x100
_view = ctypes.pythonapi.PyMemoryView_FromMemory  # copies nothing
_view.argtypes, _view.restype = [c_void_p, c_ssize_t, c_int], ctypes.py_object


class _Buffer(Structure):
    _fields_: ClassVar = [
        ("data", c_void_p),
        *((name, c_int64) for name in ("size", "room", "failed")),
    ]

    def view(self) -> memoryview:
        """What it holds, until it is given back."""
        return _view(self.data or 0, self.size, _READABLE) if self.size else memoryview(b"")


class CompiledReader:
    """Reads the records of one shape. Safe to share between threads, which do not wait here."""

    def __init__(self, code: ctypes.CDLL, shape: ReaderLayout) -> None:
        self._plan = shape
        self._tables = shape.array_count + 1
        self._read = code.read_records
        self._read.argtypes = [
            *(POINTER(ReaderLayout), POINTER(c_uint64), c_void_p, c_int64),
            *(POINTER(c_int64), POINTER(c_int64), POINTER(_Buffer)),
        ]
        self._give_back = code.give_back

    def read(
        self,
        body: bytes,
        begin: int,
        keys: Sequence[int],
        seed: int | None,
        tables: Sequence[bytearray],
    ) -> DecodedSpan | None:
        """The records from `begin` on, up to the first that is refused; None of a broken body.

        Their rows are appended to `tables`. `keys` are the bigints that a row begins with, `seed`
        that of the records' hashes as they came, which are taken if it is given.
        """
        made = (_Buffer * (self._tables + 1))()
        span = (c_int64 * 2)(begin, 0)
        key_values = (c_int64 * (len(keys) + 1))(*keys)
        try:
            seeded = None if seed is None else c_uint64(seed)
            outcome = self._read(self._plan, seeded, body, len(body), span, key_values, made)
            if outcome == ReadStatus.NO_MEMORY:
                raise MemoryError
            if outcome == ReadStatus.BROKEN:
                return None
            facts, *rows = (buffer.view() for buffer in made)
            for table, some in zip(tables, rows, strict=True):
                table.extend(some)
            refused = (span[0], span[1]) if outcome == ReadStatus.REFUSED else None
            return _run(facts, len(rows), refused)
        finally:
            self._give_back(made, len(made))


def _run(facts: memoryview, tables: int, refused: tuple[int, int] | None) -> DecodedSpan:
    numbers = facts.cast("q")
    begins, ends, ids, stamps, sources, hashes, *row_ends = (
        numbers[at :: _FACTS + tables].tolist() for at in range(_FACTS + tables)
    )
    return DecodedSpan(
        spans=list(zip(begins, ends, strict=True)),
        ids=ids,
        last_updated=[None if at == _NULL_STAMP else _FROM + at * _MICROSECOND for at in stamps],
        sources=sources,
        hashes=hashes,
        ends=row_ends,
        refused=refused,
    )


def compiled_reader(
    entity: Entity, root: ShapeNode, *, is_closed: bool = True
) -> CompiledReader | None:
    """What reads the records that `root` is the tree of; None where nothing can be compiled.

    `is_closed`: a record with a field that is not in the tree is refused.
    """
    code = load_library()
    return (
        None if code is None else CompiledReader(code, layout_of(entity, root, is_closed=is_closed))
    )
