"""The ways of a record: by compiled code, by Python, or value by value where both refuse it.

All of them make the same row of it, to the byte.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from threading import Lock, RLock
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from cw_pipeline.errors import PipelineError, SourceBroken
from cw_pipeline.model import LAST_UPDATED, Batch, Entity, PackedRows, Reject
from cw_pipeline.transform.batch_builder import BatchBuilder
from cw_pipeline.transform.coerce import CoercedRecord, coerce_record
from cw_pipeline.transform.compiled import compiled_reader
from cw_pipeline.transform.copy_format import hash_bytes
from cw_pipeline.transform.raw_json import (
    DEEPEST,
    decode,
    deep_fields,
    is_shallow,
    record_id,
    records_of,
    storable_text,
)
from cw_pipeline.transform.record_shape import RecordDecoder, decoder_of, is_plain, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

    from cw_pipeline.transform.compiled import CompiledReader


log = logging.getLogger(__name__)

EDITION = 2
"""Of what is made of a record: another one, and all are decoded again. A test says when it is due.

Not a digest of this room's source, because each comment would cost every tenant a full re-read.
"""


class _Info(msgspec.Struct, gc=False, rename="camel"):
    last_updated: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _IdAndStamp(msgspec.Struct, gc=False, rename={"info": "_info"}):
    id: int
    info: _Info | None = None

    @property
    def stamp(self) -> datetime | None:
        return None if self.info is None else self.info.last_updated


_KNOWN = msgspec.json.Decoder(list[_IdAndStamp])


@dataclass(frozen=True, slots=True)
class PageFingerprints:
    """What can be seen of a page's records without decoding them; all in the page's order."""

    ids: Sequence[int]
    last_updated: Sequence[datetime | None]
    sources: Sequence[int]
    records: Sequence[Buffer]


class RecordFingerprints:
    """Hashes the records of one entity as they come.

    The same record has another hash once its entity has other columns: it makes another row then.
    """

    def __init__(self, entity: Entity) -> None:
        self.seed = hash_bytes(text_of_seed(entity).encode()) % 2**64
        self._stamped = entity.has_last_updated
        self._entity = entity

    @cached_property
    def _reader(self) -> CompiledReader | None:
        """Made late: a list whose pages are small never needs it."""
        paths = ("id",), LAST_UPDATED
        shown = tuple(column for column in self._entity.columns if column.path in paths)
        shows = replace(self._entity, columns=shown, arrays=())
        return compiled_reader(shows, is_closed=False)

    def fingerprint_page(self, body: bytes) -> PageFingerprints | None:
        """What can be seen of a page; None if its records do not show their ids and stamps."""
        code = self._reader
        run = code.read(body, 0, (), self.seed, [bytearray()]) if code is not None else None
        if run is None or run.refused is not None:
            return self._by_python(body)
        whole = memoryview(body)
        records = [whole[begin:end] for begin, end in run.spans]
        return PageFingerprints(run.ids, run.last_updated, run.sources, records)

    def _by_python(self, body: bytes) -> PageFingerprints | None:
        try:
            known, records = _KNOWN.decode(body), _RAW.decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        stamps = [one.stamp if self._stamped else None for one in known]
        sources = [hash_bytes(record, self.seed) for record in records]
        return PageFingerprints([one.id for one in known], stamps, sources, records)


def text_of_seed(entity: Entity) -> str:
    """What the seed of an entity's hashes is made from: its columns and arrays, written out.

    Every stored `_source_hash` depends on each letter of it: a change here makes every record of
    every tenant be decoded again, once. So it is not left to `repr`, which follows renamed classes.
    """
    own, *inner = (
        _tuple(
            f"Column(name={column.name!r}, path={column.path!r},"
            f" kind=<Kind.{column.kind.value.upper()}: {column.kind.value!r}>)"
            for column in columns
        )
        for columns in (entity.columns, *(array.columns for array in entity.arrays))
    )
    arrays = (
        f"Array(table={array.table!r}, field={array.field!r}, columns={its_columns})"
        for array, its_columns in zip(entity.arrays, inner, strict=True)
    )
    return f"({EDITION}, {own}, {_tuple(arrays)})"


def _tuple(items: Iterable[str]) -> str:
    written = ", ".join(found := [*items])
    return f"({written},)" if len(found) == 1 else f"({written})"


_RAW = msgspec.json.Decoder(list[msgspec.Raw])


class _Id(msgspec.Struct, gc=False):
    id: int


_IDS = msgspec.json.Decoder(list[_Id])


class PageReader:
    """Turns pages of one entity into batches. Safe to share between threads."""

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._record_shape = shape_of(entity)
        self._lock = RLock()
        self._compiled = compiled_reader(entity)
        self._made_decoder: RecordDecoder | None = None

    @property
    def _decoder(self) -> RecordDecoder:
        """What Python decodes with. Looked for late: few lists need it."""
        with self._lock:
            if self._made_decoder is None:
                learned = self._record_shape.learned_fields()
                self._made_decoder = (
                    RecordDecoder(self._entity, self._record_shape)
                    if learned
                    else decoder_of(self._entity)
                )
            return self._made_decoder

    def read_page(
        self,
        body: bytes,
        *,
        parent_id: int | None = None,
        start: int = 0,
        seed: int | None = None,
    ) -> Batch:
        """Every record of a page's body, as a row or as a reject.

        `parent_id` is the parent of a child list's page; `start` the position of the page's first
        record in a list without ids; `seed` that of the records' hashes, which are taken if it is
        given. Raises SourceBroken if the body is no JSON array.
        """
        outside = () if parent_id is None else (parent_id,)
        page = BatchBuilder(self._entity, outside, start)
        if not self._read_compiled(body, page, seed):
            noted, page = page.drift, BatchBuilder(self._entity, outside, start)
            self._read_by_python(body, page, seed)
            # Fields that were learned before it broke are not noted again.
            page.drift += [drift for drift in noted if drift not in page.drift]
        return page.batch()

    def _read_compiled(self, body: bytes, page: BatchBuilder, seed: int | None) -> bool:
        """Whether compiled code has read the page; the records that it refused are read here.

        False if there is none, or if it cannot tell the body's records apart.
        """
        begin = 0
        while (code := self._compiled) is not None:
            run = code.read(body, begin, page.keys, seed, page.buffers)
            if run is None:
                return False
            page.extend(run, body)
            if run.refused is None:
                return True
            refused, begin = run.refused
            self._coerce_one_at_a_time(body[refused:begin], page, seed)
        return False

    def _read_by_python(self, body: bytes, page: BatchBuilder, seed: int | None) -> None:
        add = self._add_decoded if is_plain(body) else self._coerce_one_at_a_time
        # One by one: what a record was made of is still in the processor's cache when its row is
        # packed. A thousand decoded at once took a fifth longer, and 10 MB.
        for record in records_of(body):
            add(record, page, seed)

    def _add_decoded(self, record: bytes, page: BatchBuilder, seed: int | None) -> None:
        shape = self._decoder
        try:
            if is_shallow(record):
                _add(page, shape, shape.decode(record), record, _source(record, seed))
                return
        except (msgspec.DecodeError, ValueError, ArithmeticError):
            pass
        self._coerce_one_at_a_time(record, page, seed)

    def _coerce_one_at_a_time(self, record: bytes, page: BatchBuilder, seed: int | None) -> None:
        """A record with its values coerced, or as a reject, whatever Python has against it."""
        with self._lock:  # learning makes a new shape; one thread at a time
            try:
                self._coerce_record(record, _source(record, seed), page)
            except (PipelineError, MemoryError):
                raise
            except Exception as error:
                log.warning("%s: a record fails to convert", self._entity.name, exc_info=True)
                said = f"{type(error).__name__}: {error}"
                page.rejects.append(_reject(record, "does not convert", said))

    def _coerce_record(self, record: bytes, source: int | None, page: BatchBuilder) -> None:
        """A record with its values coerced, or as a reject; notes what had to be mended for it."""
        if not is_shallow(record):
            said = f"nested deeper than {DEEPEST} levels"
            detail = "; ".join(f"{field}: {said}" for field in deep_fields(record))
            page.rejects.append(_reject(record, "does not convert", detail or said))
            return
        if (struct := self._decoder.decode_one(record)) is not None:
            _add(page, self._decoder, struct, record, source)
            return
        raw = decode(record)
        if not isinstance(raw, dict):
            page.rejects.append(_reject(record, "not a record", "expected an object"))
            return
        mended = coerce_record(raw, self._record_shape)
        page.drift += mended.drift
        if mended.fields_learned:
            self._made_decoder = None
            self._compiled = compiled_reader(self._entity, self._record_shape.learned_fields())
        if mended.misfits:
            page.rejects.append(_reject(record, "does not convert", _misfits(mended)))
        else:
            struct = msgspec.convert(mended.clean, self._decoder.struct)
            _add(page, self._decoder, struct, record, source, mended.unknown_values or None)


def _source(record: bytes, seed: int | None) -> int | None:
    """The hash of a record as it came; None if it is not to be taken."""
    return None if seed is None else hash_bytes(record, seed)


def _add(
    page: BatchBuilder,
    shape: RecordDecoder,
    struct: Any,
    record: bytes,
    source: int | None,
    spill: dict[str, Any] | None = None,
) -> None:
    if not page.add(shape, struct, source, record, spill):
        page.rejects.append(_reject(record, "no id", "id: absent or null"))


def decode_ids(body: bytes) -> list[int]:
    """The ids of a page's records, in order. Raises SourceBroken if a record shows none.

    An answer that is no list of ids must not pass for an empty one: its records would be deleted.
    """
    try:
        return [record.id for record in _IDS.decode(body)]
    except RecursionError:  # a server that sends whole records
        return [_id_of(record) for record in records_of(body)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceBroken(f"expected ids: {error}", 200, _head(body)) from error


def _id_of(record: bytes) -> int:
    if (found := record_id(record)) is None:
        raise SourceBroken("expected ids: a record has none", 200, _head(record))
    return found


def _head(body: bytes) -> str:
    return body[:2000].decode("utf-8", "replace")


def _misfits(mended: CoercedRecord) -> str:
    return "; ".join(f"{'.'.join(path)}: {why}" for path, why in mended.misfits)


def _reject(record: bytes, reason: str, detail: str) -> Reject:
    return Reject(record_id(record), storable_text(record), reason, detail)


def refused_record(batch: Batch, at: int, detail: str) -> Reject:
    """The reject of a batch's record number `at`, whose rows the warehouse refused."""
    record = bytes(batch.records[at])
    refused_id = record_id(record)
    return Reject(
        refused_id, storable_text(record), "refused by the warehouse", detail, str(batch.request)
    )


_LAST = 100  # bytes: a longer body is not the empty page that ends a list
_WORTH = 100  # records: fewer are decoded in less time than asking what is stored takes

StoredHashes: TypeAlias = Callable[[Sequence[int]], Mapping[int, tuple[int, datetime | None]]]
"""Hash as read and stamp of the stored records among some ids."""


class SkippingPageReader:
    """Makes batches of one entity's pages. `stored` tells what is; None: nothing is yet.

    Records of children and of lists without ids are always decoded: their pages are small.
    """

    def __init__(self, entity: Entity, stored: StoredHashes | None) -> None:
        self._entity = entity
        self._fingerprints = (
            RecordFingerprints(entity) if entity.has_id and entity.parent is None else None
        )
        no_rows = [PackedRows(b"", ())] * (1 + len(entity.arrays))
        self._nothing = Batch(0, None, (), (), (), no_rows)
        self.stored_hashes = stored
        self._lock = Lock()
        self._made_reader: PageReader | None = None

    @property
    def _reader(self) -> PageReader:
        """Made late, because a list in which nothing changed shows no record that is decoded.

        Once for all lanes: each would else learn, and note, the same new fields.
        """
        with self._lock:
            if self._made_reader is None:
                self._made_reader = PageReader(self._entity)
            return self._made_reader

    def batch(self, body: bytes, parent_id: int | None, start: int) -> Batch:
        """Every record of a page's body. Raises SourceBroken if it is no JSON array."""
        if len(body) < _LAST and body.strip() == b"[]":  # how every list ends
            return self._nothing
        if self._fingerprints is None:
            return self._reader.read_page(body, parent_id=parent_id, start=start)
        shown = None
        if self.stored_hashes is not None and body.count(b"{") >= _WORTH:
            shown = self._fingerprints.fingerprint_page(body)
        if self.stored_hashes is None or shown is None or len(shown.ids) < _WORTH:
            return self._reader.read_page(body, seed=self._fingerprints.seed)
        stored = self.stored_hashes(shown.ids)
        return self._without_stored(body, shown, stored, self._fingerprints.seed)

    def plain(self, body: bytes, parent_id: int | None) -> Batch:
        """The same of records that did not come in a page just now."""
        return self._reader.read_page(body, parent_id=parent_id)

    def _without_stored(
        self,
        body: bytes,
        shown: PageFingerprints,
        stored: Mapping[int, tuple[int, datetime | None]],
        seed: int,
    ) -> Batch:
        """The batch, in which records that are stored as they came stand behind, without rows."""
        seen = zip(shown.ids, shown.sources, shown.last_updated, strict=True)
        is_same = [stored.get(row_id) == (source, stamp) for row_id, source, stamp in seen]
        others = [at for at, same in enumerate(is_same) if not same]
        if len(others) == len(is_same):
            return self._reader.read_page(body, seed=seed)
        same = [at for at, is_known in enumerate(is_same) if is_known]
        if others:
            page = b"[" + b",".join(shown.records[at] for at in others) + b"]"
            decoded = self._reader.read_page(page, seed=seed)
        else:  # most pages of a list that is read whole again: there is nothing to decode
            decoded = self._nothing
        return replace(
            decoded,
            read=len(shown.ids),
            cursor=max(shown.ids),
            ids=[*decoded.ids, *(shown.ids[at] for at in same)],
            last_updated=[*decoded.last_updated, *(shown.last_updated[at] for at in same)],
            hashes=[*decoded.hashes, *[None] * len(same)],
            tables=[
                PackedRows(table.data, [*table.ends, *[len(table.data)] * len(same)])
                for table in decoded.tables
            ],
            listed=shown.ids,
        )
