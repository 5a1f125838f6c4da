"""Telling records that are what was read before, byte for byte, without typing them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from cw_pipeline.model import LAST_UPDATED
from cw_pipeline.transform.batch_builder import hash_bytes
from cw_pipeline.transform.compiled import compiled_reader
from cw_pipeline.transform.record_shape import shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Buffer

    from cw_pipeline.model import Column, Entity

_EDITION = 2  # of normalize: a change in what it makes of a record must not leave old rows alone
_RAW = msgspec.json.Decoder(list[msgspec.Raw])


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
    """What can be seen of a page's records without typing them; all in the page's order."""

    ids: Sequence[int]
    last_updated: Sequence[datetime | None]
    sources: Sequence[int]
    records: Sequence[Buffer]

    def body(self, some: Sequence[int]) -> bytes:
        """A page of just these records."""
        return b"[" + b",".join(self.records[at] for at in some) + b"]"


class RecordFingerprints:
    """Hashes the records of one entity as they come.

    The same record has another hash once its entity has other columns: it makes another row then.
    """

    def __init__(self, entity: Entity) -> None:
        self.seed = hash_bytes(text_of_seed(entity).encode()) % 2**64
        self._stamped = entity.has_last_updated
        shown = tuple(column for column in entity.columns if column.path in (("id",), LAST_UPDATED))
        shows = replace(entity, columns=shown, arrays=())
        self._compiled = compiled_reader(shows, shape_of(shows), is_closed=False)

    def fingerprint_page(self, body: bytes) -> PageFingerprints | None:
        """What can be seen of a page; None if its records do not show their ids and stamps."""
        return self._by_compiled_code(body) or self._by_python(body)

    def _by_compiled_code(self, body: bytes) -> PageFingerprints | None:
        if self._compiled is None:
            return None
        run = self._compiled.read(body, 0, (), self.seed, [bytearray()])
        if run is None or run.refused is not None:
            return None
        whole = memoryview(body)
        records = [whole[begin:end] for begin, end in run.spans]
        return PageFingerprints(run.ids, run.last_updated, run.sources, records)

    def _by_python(self, body: bytes) -> PageFingerprints | None:
        try:
            known, records = _KNOWN.decode(body), _RAW.decode(body)
        except msgspec.DecodeError:
            return None
        stamps = [one.stamp if self._stamped else None for one in known]
        sources = [hash_bytes(record, self.seed) for record in records]
        return PageFingerprints([one.id for one in known], stamps, sources, records)


def text_of_seed(entity: Entity) -> str:
    """What the seed of an entity's hashes is made from: its columns and arrays, written out.

    Every stored `_source_hash` depends on each letter of it: a change here makes every record of
    every tenant be typed again, once. So it is not left to `repr`, which follows renamed classes.
    """
    arrays = (
        f"Array(table={array.table!r}, field={array.field!r}, columns={_columns(array.columns)})"
        for array in entity.arrays
    )
    return f"({_EDITION}, {_columns(entity.columns)}, {_tuple(arrays)})"


def _columns(columns: Iterable[Column]) -> str:
    return _tuple(
        f"Column(name={column.name!r}, path={column.path!r},"
        f" kind=<Kind.{column.kind.value.upper()}: {column.kind.value!r}>)"
        for column in columns
    )


def _tuple(items: Iterable[str]) -> str:
    written = ", ".join(found := [*items])
    return f"({written},)" if len(found) == 1 else f"({written})"
