"""Rows as Postgres' binary COPY takes them (PostgreSQL manual, COPY, "Binary Format").

Made where records are decoded, so that loading a page is handing on its bytes. Compiled code makes
the same (`transform/c/wire.h`).
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from struct import Struct
from struct import pack as _pack
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import psycopg
from psycopg._copy_base import format_row_binary
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.pq import Format
from psycopg.types.numeric import NumericBinaryDumper
from psycopg.types.string import BytesBinaryDumper
from xxhash import xxh64_intdigest

from cw_pipeline.model import Column, Kind, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

TYPES = {
    Kind.BIGINT: "int8",
    Kind.NUMERIC: "numeric",
    Kind.BOOLEAN: "bool",
    Kind.TIMESTAMPTZ: "timestamptz",
    Kind.DATE: "date",
    Kind.TEXT: "text",
    Kind.JSONB: "jsonb",
}
"""Postgres' name for the type of each kind."""

_COUNT = 2  # bytes that say how many columns there are
NULL = b"\xff\xff\xff\xff"
_BIGINT = Struct("!iq")
_BIGINTS = Struct("!iqiq")
_JSONB_VERSION = b"\x01"
_NUMERIC = NumericBinaryDumper(Decimal)
_LONG = 2000  # digits; int() takes no more than 4,300
_FILL = (1, 1000, 100, 10)  # what fills up the last group, by the digits behind the point
_MINUS = 0x4000
# Sent as the bytes that they are already. psycopg would call Python for each number of a row, which
# costs as much as all the rest of it.
_READY = dict.fromkeys((Kind.NUMERIC, Kind.JSONB), "bytea")


class _Context:
    """How values are sent, for a transformer that has no connection to ask."""

    connection = None
    adapters = AdaptersMap(psycopg.adapters)


_CONTEXT = _Context()
# The compiled one; psycopg else takes what serves its `Binary` too, which is not.
_CONTEXT.adapters.register_dumper(bytes, BytesBinaryDumper)

Packer: TypeAlias = "Callable[[Row, bytearray], None]"


def row_packer(columns: Sequence[Column]) -> Packer:
    """What appends rows of one table to a buffer. Safe to share between threads.

    Values are what the columns' kinds say; numbers are as `numeric` makes them, and jsonb as
    `jsonb` does.
    """
    names = TYPES | _READY
    oids = [psycopg.adapters.types[names[column.kind]].oid for column in columns]
    transformer = Transformer(_CONTEXT)
    transformer.set_dumper_types(oids, Format.BINARY)
    return lambda row, buffer: format_row_binary(row, transformer, buffer)


def numeric(digits: bytes) -> bytes:
    """A number written out in full, such as `-12.50`; trailing zeros are kept.

    Groups of four digits, counted from the point (source: PostgreSQL's `numeric_recv`). psycopg
    takes four times as long, and a tenant's amounts are seldom the same.
    """
    if len(digits) > _LONG:
        return bytes(_NUMERIC.dump(Decimal(digits.decode())) or b"")
    whole, _, part = digits.partition(b".")
    scale = len(part)
    value = int(whole + part)
    rest = abs(value) * _FILL[scale % 4]
    weight = -1 - -(-scale // 4)
    groups: list[int] = []
    while rest:
        rest, group = divmod(rest, 10_000)
        weight += 1
        if group or groups:  # the zeros at the end are in the scale
            groups.append(group)
    if not groups:
        return _pack("!hhHH", 0, 0, 0, scale)
    sign = _MINUS if value < 0 else 0
    groups.reverse()
    return _pack(f"!hhHH{len(groups)}h", len(groups), weight, sign, scale, *groups)


def jsonb(text: bytes) -> bytes:
    """JSON text."""
    return _JSONB_VERSION + text


def row_prefix_size(bigints: int) -> int:
    """How many bytes a row has before what follows so many bigints, none of them null."""
    return _COUNT + bigints * _BIGINT.size


def hash_bytes(data: bytes | bytearray | msgspec.Raw, seed: int = 0) -> int:
    """A hash that fits a bigint, which is signed."""
    return xxh64_intdigest(data, seed) - 2**63


def pack_hashes(source: int | None, row: int) -> bytes:
    """The two bigints that a row ends with, as they stand in it."""
    if source is None:
        return NULL + _BIGINT.pack(8, row)
    return _BIGINTS.pack(8, source, 8, row)


_MOST = 100_000
FARTHEST = 16_000  # digits from the point
_MOST_BEHIND = 16_383  # digits behind the point that Postgres holds
_PLAIN = re.compile(rb"-?\d{1,1000}(\.\d{1,1000})?").fullmatch
_TEXT = msgspec.json.Decoder(str)


def is_held(number: Decimal) -> bool:
    """Whether a column of numbers holds this one, with all its digits."""
    return (
        number.is_finite()
        and abs(number.adjusted()) <= FARTHEST
        and number.as_tuple().exponent >= -_MOST_BEHIND  # type: ignore[operator] # it is finite
    )


class PackedNumbers(dict[bytes, bytes | None]):
    """The number behind each spelling, packed, with every digit, trailing zeros too; None for null.

    Looking up anything that is no finite number raises ValueError.
    """

    def __missing__(self, spelling: bytes) -> bytes | None:
        if spelling == b"null":
            return None
        digits = spelling if _PLAIN(spelling) else _written_out(spelling)
        if len(self) > _MOST:
            self.clear()
        packed = self[spelling] = numeric(digits)
        return packed


def _written_out(spelling: bytes) -> bytes:
    text = _TEXT.decode(spelling) if spelling.startswith(b'"') else spelling.decode()
    try:
        made = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"no number: {text[:80]}") from None
    if not is_held(made):
        raise ValueError(f"no number that Postgres holds: {text[:80]}")
    return f"{made:f}".encode()


NUMBERS = PackedNumbers()
