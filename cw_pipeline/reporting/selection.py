"""Rows of a table or view that somebody asks for by name, as a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting.script import reporting_schema
from cw_pipeline.suggest import closest, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection, Cursor, ServerCursor


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows and columns: `where` is SQL with `%s` for `values`; no `columns` means all.

    A name without a schema is looked for in the tenant's reports, then among its tables.
    """

    name: str
    where: str = ""
    values: Sequence[Any] = ()
    columns: Sequence[str] = ()
    tenant: str = "connectwise"

    def ask(self, cursor: Cursor[Any] | ServerCursor[Any]) -> list[tuple[str, str]]:
        """Has the cursor read them, in binary; the name and the type of each column.

        Raises WarehouseError if there is no such table or column, with the name that may be meant.
        """
        connection = cursor.connection
        place = sql.Identifier(*self._schema_and_name(connection))
        self._check_columns(connection, place)
        names = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        wanted = names if self.columns else sql.SQL("*")
        query = sql.SQL("select {} from {}").format(wanted, place)
        if self.where:
            query += sql.SQL(" where ") + sql.SQL(self.where)
        try:
            cursor.execute(query, list(self.values) or None, binary=True)
        except (errors.UndefinedColumn, errors.SyntaxError) as error:
            raise WarehouseError(f"where={self.where!r}: {error.diag.message_primary}") from error
        return [
            (column.name, _kind(connection, column.type_code))
            for column in cursor.description or ()
        ]

    def _check_columns(self, connection: Connection[Any], place: sql.Identifier) -> None:
        if not self.columns:
            return
        nothing = connection.execute(sql.SQL("select * from {} limit 0").format(place))
        there = [column.name for column in nothing.description or ()]
        for column in self.columns:
            if column not in there:
                hint = did_you_mean(closest(column, there)) or f"it has {', '.join(there)}"
                raise WarehouseError(f"{self.name!r} has no column {column!r}: {hint}")

    def _schema_and_name(self, connection: Connection[Any]) -> tuple[str, str]:
        schema, _, view = self.name.rpartition(".")
        places = [schema] if schema else [reporting_schema(self.tenant), self.tenant]
        rows = connection.execute(
            "select relname, nspname from pg_class join pg_namespace n on n.oid = relnamespace"
            " where nspname = any(%s) and relkind = any('{r,v,m,p,f}')"
            " order by array_position(%s, nspname::text) desc",
            [places, places],
        ).fetchall()
        by_name = dict(rows)  # the first schema comes last, and counts
        if view in by_name:
            return by_name[view], view
        prefix = f"{schema}." if schema else ""
        near = [f"{prefix}{each}" for each in closest(view, by_name, limit=3)]
        made = did_you_mean(near) or "`migrate` makes the reporting schema, `sync` the tables"
        raise WarehouseError(
            f"there is no table or view {self.name!r} in {', '.join(places)}: {made}"
        )


def _kind(connection: Connection[Any], oid: int) -> str:
    """The name of a type, `text[]` for a list; empty for one that is not of PostgreSQL's own."""
    known = connection.adapters.types.get(oid)
    if known is None:
        return ""
    return f"{known.name}[]" if oid == known.array_oid else known.name
