"""A page's records as they become rows: packed one after the other, and hashed on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cw_pipeline.model import Batch, Entity, PackedRows, Reject, SchemaDrift
from cw_pipeline.transform import copy_format

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from typing_extensions import Buffer

    from cw_pipeline.model import Row
    from cw_pipeline.transform.compiled import DecodedSpan
    from cw_pipeline.transform.record_shape import RecordDecoder

_HASHES = 2 * len(copy_format.NULL)  # the end of a row that is not hashed yet
_NEXT = b"|"  # between the tables of a record


class BatchBuilder:
    """The rows and rejects of one page, as they come in.

    `outside` is the parent's id, of a child; `start` the position of the first record.
    """

    def __init__(self, entity: Entity, outside: tuple[int, ...], start: int) -> None:
        self._has_id = entity.has_id
        self._outside = outside
        self._start = start
        self._keys = copy_format.row_prefix_size(len(entity.key_from_context))
        self._parent = copy_format.row_prefix_size(1)  # what an array's row begins with
        self._ids: list[int] = []
        self._stamps: list[datetime | None] = []
        self._hashes: list[int] = []
        self._records: list[Buffer] = []
        self.buffers = [bytearray() for _ in (entity, *entity.arrays)]
        self._ends: list[list[int]] = [[] for _ in self.buffers]
        self.rejects: list[Reject] = []
        self.drift: list[SchemaDrift] = []

    def add(
        self,
        shape: RecordDecoder,
        struct: Any,
        source: int | None,
        record: Buffer,
        spill: dict[str, Any] | None = None,
    ) -> bool:
        """Takes a record in, `source` being its hash as it came. False if it has no id.

        `record` is its text. Of one that cannot be packed nothing stays here.
        """
        keys = self.keys
        row = shape.row(struct, keys, spill)
        record_id = row[shape.id_at] if self._has_id else keys[-1]
        if record_id is None:
            return False
        arrays = shape.array_rows(record_id, struct)
        try:
            self._pack(shape.packers, row, arrays, source)
        except BaseException:
            for buffer, ends in zip(self.buffers, self._ends, strict=True):
                del buffer[ends[-1] if ends else 0 :]
            raise
        self._ids.append(record_id)
        self._records.append(record)
        self._stamps.append(None if shape.stamp_at is None else row[shape.stamp_at])
        return True

    @property
    def keys(self) -> tuple[int, ...]:
        """What the next record's row begins with: what it does not carry itself."""
        return self._outside if self._has_id else (*self._outside, self._start + len(self._ids))

    def extend(self, run: DecodedSpan, body: bytes) -> None:
        """Takes a run of a body's records in, whose rows are in `buffers` already."""
        whole = memoryview(body)
        self._records += [whole[begin:end] for begin, end in run.spans]
        for known, ends in zip(self._ends, run.ends, strict=True):
            before = known[-1] if known else 0
            known.extend(before + end for end in ends)
        self._ids += run.ids
        self._stamps += run.last_updated
        self._hashes += run.hashes

    def batch(self) -> Batch:
        """All of it."""
        rejected = [one.record_id for one in self.rejects if one.record_id is not None]
        tables = zip(self.buffers, self._ends, strict=True)
        return Batch(
            read=len(self._ids) + len(self.rejects),
            cursor=max((*self._ids, *rejected), default=None) if self._has_id else None,
            ids=self._ids,
            last_updated=self._stamps,
            hashes=self._hashes,
            tables=[PackedRows(buffer, ends) for buffer, ends in tables],
            rejects=tuple(self.rejects),
            drift=tuple(self.drift),
            records=self._records,
        )

    def _pack(
        self,
        packers: Sequence[copy_format.Packer],
        row: Row,
        arrays: Sequence[Sequence[Row]],
        source: int | None,
    ) -> None:
        """Appends the record's rows. Its own ends with its hash, which is of all of them."""
        rows_buffer, *others = self.buffers
        pack, *array_packs = packers
        begin = len(rows_buffer)
        pack(row, rows_buffer)
        del rows_buffer[-_HASHES:]
        # Without its keys from outside: a record is the same wherever in its list it stands.
        hashed = rows_buffer[begin + self._keys :]
        for rows, buffer, pack_array in zip(arrays, others, array_packs, strict=True):
            hashed += _NEXT
            for element in rows:
                at = len(buffer)
                pack_array(element, buffer)
                hashed += buffer[at + self._parent :]
        row_hash = copy_format.hash_bytes(hashed)
        # Bound to the row's hash: who changes that by hand, to have it read again, is obeyed.
        rows_buffer += copy_format.pack_hashes(
            None if source is None else source ^ row_hash, row_hash
        )
        self._hashes.append(row_hash)
        for buffer, ends in zip(self.buffers, self._ends, strict=True):
            ends.append(len(buffer))
