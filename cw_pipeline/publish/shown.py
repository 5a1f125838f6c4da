"""Custom fields in the reporting schema, where BI tools may read: `cf_<table>` for each entity.

Each shows the wide view of custom fields as it is; that one only ever gains columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.catalog.columns import fitted

if TYPE_CHECKING:
    from psycopg import Connection

    from cw_pipeline.publish.script import Place

_WIDE = "__custom"
# Wide views, and how many columns each and the view that shows it have.
_FOUND = """
select wide.relname, count(a.attname),
    (select count(*) from pg_attribute s where s.attrelid = shown.oid and s.attnum > 0),
    obj_description(wide.oid)
from pg_class wide
join pg_attribute a on a.attrelid = wide.oid and a.attnum > 0
left join pg_class shown on shown.relnamespace = %(schema)s::regnamespace
    and shown.relname = 'cf_' || left(wide.relname, -length(%(suffix)s))
where wide.relnamespace = %(tenant)s::regnamespace and wide.relkind = 'v'
    and right(wide.relname, length(%(suffix)s)) = %(suffix)s
group by wide.oid, wide.relname, shown.oid
"""
_COMMENTS = """
select attname, col_description(attrelid, attnum) from pg_attribute
where attrelid = %s::regclass and attnum > 0 and col_description(attrelid, attnum) is not null
"""


def show_custom_fields(connection: Connection[Any], place: Place) -> list[str]:
    """Makes the views that are missing or lack a column: their names."""
    names = {"schema": f'"{place.schema}"', "tenant": f'"{place.tenant}"', "suffix": _WIDE}
    found = connection.execute(_FOUND, names).fetchall()
    return [
        _show(connection, place, wide, comment)
        for wide, columns, shown, comment in found
        if columns != shown
    ]


def _show(connection: Connection[Any], place: Place, wide: str, comment: str | None) -> str:
    name = fitted(f"cf_{wide.removesuffix(_WIDE)}")
    own, source = sql.Identifier(place.schema, name), sql.Identifier(place.tenant, wide)
    connection.execute(sql.SQL("create or replace view {} as select * from {}").format(own, source))
    connection.execute(
        sql.SQL("comment on view {} is {}").format(own, sql.Literal(comment or wide))
    )
    described = connection.execute(_COMMENTS, [source.as_string(connection)]).fetchall()
    for column, text in described:
        connection.execute(
            sql.SQL("comment on column {}.{} is {}").format(
                own, sql.Identifier(column), sql.Literal(text)
            )
        )
    return name
