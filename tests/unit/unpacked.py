"""What a batch's packed rows say, read as Postgres would read them."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import Format

from cw_pipeline.model import Kind
from cw_pipeline.transform.copy_format import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cw_pipeline.model import Batch, Column

_COUNT, _LENGTH = Struct("!h"), Struct("!i")


def rows(batch: Batch, columns: Sequence[Column], at: int, table: int = 0) -> list[dict[str, Any]]:
    """The rows of a table that the batch's record number `at` makes. jsonb stays text."""
    packed = batch.tables[table]
    begin = packed.ends[at - 1] if at else 0
    kinds = [column.kind for column in columns]
    names = ["bytea" if kind is Kind.JSONB else TYPES[kind] for kind in kinds]
    transformer = Transformer()
    types = [psycopg.adapters.types[name].oid for name in names]
    transformer.set_loader_types(types, Format.BINARY)
    found = []
    for fields in _fields(packed.data[begin : packed.ends[at]]):
        values = transformer.load_sequence(fields)
        values = tuple(
            value[1:] if kind is Kind.JSONB and value else value
            for kind, value in zip(kinds, values, strict=True)
        )
        found.append(dict(zip([column.name for column in columns], values, strict=True)))
    return found


def _fields(data: bytes) -> Iterator[list[bytes | None]]:
    at = 0
    while at < len(data):
        (count,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        row: list[bytes | None] = []
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            row.append(None if length < 0 else data[at : at + length])
            at += max(0, length)
        yield row
