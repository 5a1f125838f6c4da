"""COPY, the way everything gets into a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format
from typing_extensions import override

from cw_pipeline.transform import copy_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection

    from cw_pipeline.model import Column, Data, Row


class JsonBytesDumper(Dumper):
    """Sends jsonb that is JSON text already: psycopg would parse and print it again."""

    format = Format.BINARY
    oid = 3802

    @override
    def dump(self, obj: Any) -> bytes:
        """The wire form."""
        return copy_format.jsonb(bytes(obj))


def copy(
    connection: Connection[Any],
    schema: str,
    table: str,
    columns: Sequence[Column],
    rows: Iterable[Row],
) -> None:
    """Puts rows straight into a table."""
    with connection.cursor() as cursor:
        cursor.adapters.register_dumper(bytes, JsonBytesDumper)
        with cursor.copy(_statement(schema, table, columns)) as stream:
            stream.set_types([copy_format.TYPES[column.kind] for column in columns])
            for row in rows:
                stream.write_row(row)


def copy_packed(
    connection: Connection[Any],
    schema: str,
    table: str,
    columns: Sequence[Column],
    pages: Iterable[Data],
) -> None:
    """The same of pages of rows that are packed already."""
    with connection.cursor() as cursor, cursor.copy(_statement(schema, table, columns)) as stream:
        stream.write(copy_format.HEADER)
        for rows in pages:
            stream.write(rows)
        stream.write(copy_format.TRAILER)


def _statement(schema: str, table: str, columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(schema, table), sql.SQL(", ").join(sql.Identifier(c.name) for c in columns)
    )
