"""Giving a column of a table that holds data a wider type, and the views on it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.model import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

_UTC = "(to_jsonb({c} at time zone 'UTC') #>> '{{}}') || 'Z'"
_WIDER: Mapping[tuple[Kind, Kind], str] = {
    (Kind.BIGINT, Kind.NUMERIC): "{c}::numeric",
    (Kind.BIGINT, Kind.TEXT): "{c}::text",
    (Kind.NUMERIC, Kind.TEXT): "{c}::text",
    (Kind.BOOLEAN, Kind.TEXT): "{c}::text",
    (Kind.DATE, Kind.TEXT): "to_char({c}, 'YYYY-MM-DD')",
    (Kind.DATE, Kind.TIMESTAMPTZ): "{c}::timestamp at time zone 'UTC'",
    (Kind.TIMESTAMPTZ, Kind.TEXT): _UTC,
    **{(kind, Kind.JSONB): "to_jsonb({c})" for kind in Kind if kind is not Kind.JSONB},
}
"""How a value becomes one of a wider kind. What is not here would lose something."""

_VIEWS = """
with recursive above as (
    select r.ev_class as view, 1 as depth
    from pg_depend d
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    join pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
    where d.refclassid = 'pg_class'::regclass and d.refobjid = to_regclass(%(table)s)
      and a.attname = %(column)s and r.ev_class <> d.refobjid
    union all
    select r.ev_class, above.depth + 1
    from above
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = above.view
    join pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
    where r.ev_class <> above.view
)
select c.oid, c.oid::regclass::text, c.relkind = 'v', pg_get_viewdef(c.oid), c.reloptions
from (select view, max(depth) as depth from above group by view) v
join pg_class c on c.oid = v.view
order by v.depth, c.oid
"""
_COMMENTS = """
select format('comment on view %%s is %%L', objoid::regclass, description)
from pg_description where objoid = %(view)s and classoid = 'pg_class'::regclass and objsubid = 0
union all
select format('comment on column %%s.%%I is %%L', d.objoid::regclass, a.attname, d.description)
from pg_description d join pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid
where d.objoid = %(view)s and d.classoid = 'pg_class'::regclass
union all
select format('grant %%s on %%s to %%s', g.privilege_type, c.oid::regclass,
              case g.grantee when 0 then 'public' else g.grantee::regrole::text end)
from pg_class c, aclexplode(c.relacl) g
where c.oid = %(view)s and g.grantee <> c.relowner
"""


def retype(connection: Connection[Any], table: tuple[str, str], column: str, to: Kind) -> None:
    """Gives the column of `table` (schema, name) the kind `to`, in place; views on it stay.

    Raises WarehouseError if a value could be lost by it.
    """
    was = kind_of(connection, table, column)
    if was is to:
        return
    if was is None or (was, to) not in _WIDER:
        raise WarehouseError(
            f"{'.'.join(table)}.{column} is {was or 'of another type'}, and {to} is wanted, which"
            " cannot hold all of that: nothing was changed. Alter the column by hand once its"
            f" values allow it (alter table {'.'.join(table)} alter {column} type {to} using …),"
            " or point CW_SCHEMA at a new schema"
        )
    views = _taken_down(connection, table, column)
    name = sql.Identifier(column)
    connection.execute(
        sql.SQL("alter table {} alter {} type {} using {}").format(
            sql.Identifier(*table),
            name,
            sql.SQL(to.value),
            sql.SQL(_WIDER[was, to]).format(c=name),
        )
    )
    for statement in views:
        connection.execute(statement.encode())


def kind_of(connection: Connection[Any], table: tuple[str, str], column: str) -> Kind | None:
    """The kind a column is stored as; None if it has another type, or is not there."""
    row = connection.execute(
        "select format_type(atttypid, null) from pg_attribute where attrelid = to_regclass(%s)"
        " and attname = %s and not attisdropped",
        [sql.Identifier(*table).as_string(connection), column],
    ).fetchone()
    spelled = {"timestamp with time zone": "timestamptz"}.get(row[0], row[0]) if row else ""
    return next((kind for kind in Kind if kind == spelled), None)


def _taken_down(connection: Connection[Any], table: tuple[str, str], column: str) -> list[str]:
    """Drops the views that show the column: the statements that bring them back."""
    asked = {"table": sql.Identifier(*table).as_string(connection), "column": column}
    views = connection.execute(_VIEWS, asked).fetchall()
    again: list[str] = []
    for oid, name, plain, definition, options in views:
        if not plain:
            raise WarehouseError(
                f"{name} is a materialized view of {'.'.join(table)}.{column}, whose type is to"
                " change: drop it, and make it again afterwards"
            )
        how = f" with ({', '.join(options)})" if options else ""
        again.append(f"create view {name}{how} as {definition}")
        again += [row[0] for row in connection.execute(_COMMENTS, {"view": oid})]
    for _, name, *_ in reversed(views):
        connection.execute(f"drop view {name}".encode())
    return again


def add_column(
    connection: Connection[Any], table: tuple[str, str], column: str, kind: Kind
) -> None:
    """Adds a column that is not there yet."""
    connection.execute(
        sql.SQL("alter table {} add {} {}").format(
            sql.Identifier(*table),
            sql.Identifier(column),
            sql.SQL(kind.value),
        )
    )
