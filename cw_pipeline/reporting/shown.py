"""Custom fields in the reporting schema, where BI tools may read: `cf_<table>` for each entity.

Each shows the wide view of custom fields as it is; that one only ever gains columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.catalog.columns import fitted
from cw_pipeline.reporting.database import at_once, options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection

    from cw_pipeline.reporting.script import ReportingSchema

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


@dataclass(frozen=True, slots=True)
class CustomView:
    """A view that lacks something: its name, and the wide view that it shows."""

    name: str
    wide: str
    comment: str | None


def outdated_custom_views(connection: Connection[Any], place: ReportingSchema) -> list[CustomView]:
    """The views that are missing or lack a column."""
    names = {"schema": f'"{place.schema}"', "tenant": f'"{place.tenant}"', "suffix": _WIDE}
    found = connection.execute(_FOUND, names).fetchall()
    return [
        CustomView(fitted(f"cf_{wide.removesuffix(_WIDE)}"), wide, comment)
        for wide, columns, shown, comment in found
        if columns != shown
    ]


def show_custom_fields(
    connection: Connection[Any], place: ReportingSchema, views: Iterable[CustomView]
) -> None:
    """Makes the views, or gives them the columns that they lack."""
    for view in views:
        own, wide = sql.Identifier(place.schema, view.name), sql.Identifier(place.tenant, view.wide)
        connection.execute(
            sql.SQL("create or replace view {}{} as select * from {}").format(
                own, options(connection, own), wide
            )
        )
        told = [
            sql.SQL("comment on view {} is {}").format(own, sql.Literal(view.comment or view.wide))
        ]
        described = connection.execute(_COMMENTS, [wide.as_string(connection)]).fetchall()
        told += [
            sql.SQL("comment on column {}.{} is {}").format(
                own, sql.Identifier(column), sql.Literal(text)
            )
            for column, text in described
        ]
        at_once(connection, told)
