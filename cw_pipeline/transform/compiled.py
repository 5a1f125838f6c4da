"""Pages read by compiled code, run by run: as long as records are what their plan says."""

from __future__ import annotations

import ctypes
from array import array
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_ssize_t,
    c_uint64,
    c_void_p,
    sizeof,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from cw_pipeline.model import LAST_UPDATED, Kind
from cw_pipeline.transform.compiled_build import load_library
from cw_pipeline.transform.record_shape import Path, ShapeNode, is_link, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cw_pipeline.model import Entity


_KINDS = (*map(str, Kind), "object", "array", "extra", "link")  # `enum kind`
_NONE = -1
_ROW_SIZES = tuple(array("i").itemsize * count for count in (4, 5, 4, 2))
"""Bytes of one field, object, extra and table."""


class ReaderLayout(Structure):
    """`struct plan`: the shape of an entity's records. `kept` is what its addresses lead to."""

    kept: object

    _fields_: ClassVar = [
        ("names", c_char_p),
        *((name, c_void_p) for name in ("fields", "objects", "extras", "tables")),
        *((name, c_int32) for name in ("field_count", "array_count", "most_columns")),
        *((name, c_int32) for name in ("most_extras", "id", "stamp", "keys")),
    ]


def layout_of(
    entity: Entity, learned: tuple[Path, ...] = (), *, is_closed: bool = True
) -> ReaderLayout:
    """The plan of an entity's records, with places for these learned fields.

    `is_closed`: a record with a field that has no place is refused.
    """
    root = shape_of(entity, learned)
    flat = _LayoutBuilder(is_closed=is_closed)
    nodes = [
        (root, entity.columns),
        *((root.arrays[one.field], one.columns) for one in entity.arrays),
    ]
    tables = []
    for node, columns in nodes:
        numbers = {column.path: at for at, column in enumerate(columns)}
        numbers |= {other: numbers[path] for other, path in node.other_places.items()}
        tables.append((flat.object(node, (), numbers), len(columns)))
    places = {column.path: at for at, column in enumerate(entity.columns)}
    return _pack_layout(
        bytes(flat.names),
        [flat.fields, flat.objects, flat.extras, tables],
        len(flat.fields),
        len(entity.arrays),
        max(count for _, count in tables),
        flat.slots,
        places[("id",)] if entity.has_id else _NONE,
        places.get(LAST_UPDATED, _NONE),
        len(entity.key_from_context),
    )


@lru_cache(maxsize=512)  # two for each of a tenant's 240 lists at most; 2 kB each, 9 kB a wide one
def _first_layout_of(entity: Entity, *, is_closed: bool) -> ReaderLayout:
    """The plan before any field was learned: a run of a list that changed little is as short as it.

    Those with learned fields are not kept: see `decoder_of`.
    """
    return layout_of(entity, is_closed=is_closed)


def _pack_layout(
    names: bytes, parts: Iterable[Iterable[tuple[int, ...]]], *numbers: int
) -> ReaderLayout:
    """Its addresses lead to what it keeps."""
    kept = [array("i", [number for row in part for number in row]) for part in parts]
    result = ReaderLayout(names, *(part.buffer_info()[0] for part in kept), *numbers)
    result.kept = (names, kept)
    return result


@dataclass(slots=True)
class _LayoutBuilder:
    """Nested objects, one after the other."""

    is_closed: bool
    names: bytearray = field(default_factory=bytearray)
    fields: list[tuple[int, ...]] = field(default_factory=list)
    objects: list[tuple[int, ...]] = field(default_factory=list)
    extras: list[tuple[int, ...]] = field(default_factory=list)
    slots: int = 0

    def object(self, node: ShapeNode, path: Path, columns: Mapping[Path, int]) -> int:
        """The number of the object that this node, at `path`, and all below it become."""
        fields: list[tuple[str, str, int]] = []
        extras: list[tuple[str, int, int]] = []
        for key in node.declared:
            if key in node.leaves:
                fields.append((key, str(node.leaves[key]), columns[*path, key]))
                continue
            inner = self.object(node.nodes[key], (*path, key), columns)
            fields.append((key, "object", inner))
            if node.nodes[key].unknown((*path, key)):
                extras.append((key, inner, _NONE))
        fields += [(key, "array", at) for at, key in enumerate(node.arrays)]
        for key in node.learned:
            if is_link((*path, key)):
                fields.append((key, "link", _NONE))
            else:
                fields.append((key, "extra", self.slots))
                extras.append((key, _NONE, self.slots))
                self.slots += 1
        if node.skips_info and "_info" not in node.nodes:
            fields.append(("_info", "link", _NONE))
        of_fields, of_extras = len(self.fields), len(self.extras)
        numbered = [(key, _KINDS.index(kind), target) for key, kind, target in fields]
        # The extras as `_extra` has its keys.
        for rows, members in ((self.fields, numbered), (self.extras, sorted(extras))):
            for key, *numbers in members:
                name = key.encode()
                rows.append((len(self.names), len(name), *numbers))
                self.names += name
        ends = (of_fields, len(fields), int(self.is_closed), of_extras, len(extras))
        self.objects.append(ends)
        return len(self.objects) - 1


_NULL_STAMP = -(2**63)
_FROM = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KNOWN = "0004000000080000000000000007ffffffff000000087a5f385ac43f81ff000000089bee602f7e4fb35c"
"""The row of `{"id": 7, "x": [null]}`, hashed with the seed 5."""
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
            facts, *rows = (
                _view(column.data or 0, column.size, _READABLE) if column.size else memoryview(b"")
                for column in made
            )
            for table, some in zip(tables, rows, strict=True):
                table.extend(some)
            numbers, width = facts.cast("q"), _FACTS + len(rows)
            begins, ends, ids, stamps, sources, hashes, *row_ends = (
                numbers[at::width].tolist() for at in range(width)
            )
        finally:
            self._give_back(made, len(made))
        return DecodedSpan(
            spans=list(zip(begins, ends, strict=True)),
            ids=ids,
            last_updated=[
                None if at == _NULL_STAMP else _FROM + at * _MICROSECOND for at in stamps
            ],
            sources=sources,
            hashes=hashes,
            ends=row_ends,
            refused=(span[0], span[1]) if outcome == ReadStatus.REFUSED else None,
        )


def compiled_reader(
    entity: Entity, learned: tuple[Path, ...] = (), *, is_closed: bool = True
) -> CompiledReader | None:
    """What reads records as `layout_of` has them; None where nothing can be compiled."""
    code = load_library(_answers)
    if code is None:
        return None
    if learned:
        return CompiledReader(code, layout_of(entity, learned, is_closed=is_closed))
    return CompiledReader(code, _first_layout_of(entity, is_closed=is_closed))


def reader_library() -> ctypes.CDLL | None:
    """The compiled code; None, which a warning has explained, where Python reads everything."""
    return load_library(_answers)


def _answers(code: ctypes.CDLL) -> bool:
    """Whether a library was compiled for these structures, and reads a page that is known."""
    here = [sizeof(ReaderLayout), sizeof(_Buffer), _FACTS * sizeof(c_int64), *_ROW_SIZES]
    try:
        there = list((c_int64 * len(here)).in_dll(code, "struct_sizes"))
    except ValueError:
        return False
    if here != there:
        return False
    rows = bytearray()
    # Records whose `id` is their one column, and who may have other fields.
    parts: list[list[tuple[int, ...]]] = [[(0, 2, 0, 0)], [(0, 1, 0, 0, 0)], [], [(0, 1)]]
    reader = CompiledReader(code, _pack_layout(b"id", parts, 1, 0, 1, 0, 0, _NONE, 0))
    run = reader.read(b'[{"id": 7, "x": [null]}]', 0, (), 5, [rows])
    return run is not None and (rows.hex(), run.spans, run.refused) == (_KNOWN, [(1, 23)], None)
