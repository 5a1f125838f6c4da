"""Custom fields as columns: for each entity a view of its values typed, and one as wide as needed.

    service_tickets__custom_fields   as it came        one row for each field of each record
    ..._custom_fields_typed          view              value_text, value_number, value_date, …
    service_tickets__custom          view              one row a record: id, cf_12_warranty_end, …

A column of the wide view is named once, from the field's id and its caption of that time, and keeps
its name and type for good: reports are built on them. A field that changes its type gets a second
column. Views, so that loading pays nothing.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.columns import fit_name
from cw_pipeline.errors import WarehouseError, WarehouseLocked
from cw_pipeline.model import Kind
from cw_pipeline.reporting.database import at_once, options, transaction
from cw_pipeline.reporting.script import ReportingSchema
from cw_pipeline.warehouse.ddl import Patience, patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.warehouse.ddl import Attempt

log = logging.getLogger(__name__)

_DEFINITIONS = CATALOG.declared["system/userDefinedFields"].table
_LOCK = 7_239_003  # any number that nothing else here uses
PUBLISH_LOCK = 7_239_002
"""The advisory lock under which the reporting schema's views are made."""

_AFTER_A_SYNC = 30.0  # seconds that a sync waits for those who read the views
_MOST_COLUMNS = 1_500  # of a wide view; Postgres takes 1,600. Fields beyond stay in the typed one
_KINDS = {
    "number": Kind.NUMERIC,
    "percent": Kind.NUMERIC,
    "checkbox": Kind.BOOLEAN,
    "date": Kind.DATE,
}
"""By the field's type in small letters; every other type is text."""

_SHOWN: Mapping[Kind, sql.SQL] = {
    Kind.NUMERIC: sql.SQL("max(cw_sync.to_numeric(f.value))"),
    Kind.BOOLEAN: sql.SQL("bool_or(cw_sync.to_flag(f.value))"),
    Kind.DATE: sql.SQL("max(cw_sync.to_day(f.value))"),
    Kind.TEXT: sql.SQL("max(f.value #>> '{}')"),
}
_FITS: Mapping[Kind, sql.SQL] = {
    Kind.NUMERIC: sql.SQL("cw_sync.to_numeric(f.value) is not null"),
    Kind.BOOLEAN: sql.SQL("cw_sync.to_flag(f.value) is not null"),
    Kind.DATE: sql.SQL("coalesce(cw_sync.is_day(f.value), false)"),
    Kind.TEXT: sql.SQL("true"),
}
_DUE = """
select {at}, s.scanned_at
from (select) one left join cw_sync.custom_field_scan s
    on s.tenant = %(tenant)s and s.entity = {entity}
where exists (select from {rows}) and (s.scanned_at is null or to_regclass({view}) is null
    or exists (select from cw_sync.run r where r.tenant = %(tenant)s and r.entity = {entity}
        and (r.finished_at >= s.scanned_at and r.rows_inserted + r.rows_updated + r.rows_healed > 0
             or r.finished_at is null and r.started_at >= s.scanned_at))
    or exists (select from {definitions} where _synced_at >= s.scanned_at))
"""
_SEEN = """
select f.id, max(f.caption), max(f.type) from {rows} f
where f._deleted_at is null and (%(since)s::timestamptz is null
    or f.parent_id in (select t.{key} from {table} t where t._synced_at >= %(since)s))
group by f.id
"""
# A record lists its fields only in part where they belong to a location: their screen tells.
_DEFINED = """
select id, caption, field_type_identifier from {definitions}
where id = any(%(ids)s) or (screen_id, pod_id) in
    (select screen_id, pod_id from {definitions} where id = any(%(ids)s) and pod_id is not null)
"""
_TYPED = """
create or replace view {view}{options} as
select f.parent_id, f.position, f.id as field_id, f.caption, f.type, f.value,
    f.value #>> '{{}}' as value_text,
    case when lower(f.type) in ('number', 'percent') then cw_sync.to_numeric(f.value) end
        as value_number,
    case when lower(f.type) = 'date' then cw_sync.to_day(f.value) end as value_date,
    case when lower(f.type) = 'checkbox' then cw_sync.to_flag(f.value) end as value_flag
from {rows} f where f._deleted_at is null
"""
# Record by record: a report asks for those of a month, which Postgres would choose only after it
# had grouped all of them. Of a list below a parent ids may be there twice.
_WIDE = """
create or replace view {view}{options} as
select t.id, {shown}
from {records} t cross join lateral (
    select count(*) as fields,
        jsonb_object_agg(case f.id {names} end, f.value)
            filter (where f.value not in ('null', '""') and not case f.id {fits} else true end)
            as unfit_values,
        {columns}
    from {rows} f where f.parent_id = t.id and f._deleted_at is null
) c where c.fields > 0
"""


@dataclass(frozen=True, slots=True)
class _Field:
    """A custom field and its column in the wide view."""

    id: int
    kind: Kind
    caption: str
    type: str
    column: str = ""


@dataclass(frozen=True, slots=True)
class _CustomFieldTable:
    """Where an entity's custom fields are."""

    tenant: str
    entity: str
    key: str
    table: str
    rows: str

    def identifier(self, name: str) -> sql.Identifier:
        return sql.Identifier(self.tenant, name)

    @property
    def records(self) -> sql.Composed:
        """A query of the records' ids."""
        distinct = sql.SQL("distinct " if len(CATALOG[self.entity].key) > 1 else "")
        return sql.SQL("(select {}{} as id from {})").format(
            distinct, sql.Identifier(self.key), self.identifier(self.table)
        )

    @property
    def wide(self) -> str:
        return fit_name(f"{self.table}__custom")

    @property
    def typed_view(self) -> str:
        return fit_name(f"{self.rows}_typed")


def refresh_custom_views(dsn: str, tenant: str, patience: Patience | None = None) -> list[str]:
    """Brings the views of custom fields up to date with definitions and data: names of those made.

    Those of the reporting schema follow, where it was published. Looks only at entities of which a
    run has written something since the last time. Columns are added and never taken away. Raises
    WarehouseError; WarehouseLocked if somebody reads for minutes what has to change: nothing is
    lost by it, the next call makes up for it.
    """
    connect = partial(transaction, dsn)

    def refresh(attempt: Attempt) -> list[str]:
        with connect() as connection, attempt.brief(connection, _LOCK):
            due = _due(connection, tenant)
            changed = [
                (table, fields)
                for table, since in due
                if (fields := _changed_fields(connection, table, since)) is not None
            ]
            place = ReportingSchema(tenant)
            owner = _owner(connection, place) if due else None
            # What could not be shown before is tried again.
            if owner is None or not (changed or outdated_custom_views(connection, place)):
                return _create_all(connection, changed)
            # Before any view is replaced: its readers would wait for a publication, too.
            with attempt.brief(connection, PUBLISH_LOCK):
                made = _create_all(connection, changed)
                _show(connection, place, owner)
                return made

    return patiently(refresh, connect, "bringing the views of custom fields up to date", patience)


def _owner(connection: Connection[Any], place: ReportingSchema) -> tuple[str, bool] | None:
    """Whose the reporting schema is, and whether that is us; None: nothing was published."""
    query = (
        "select nspowner::regrole::text, pg_has_role(nspowner, 'usage') from pg_namespace"
        " where nspname = %s and exists (select from cw_sync.publication where tenant = %s)"
    )
    return connection.execute(query, [place.schema, place.tenant]).fetchone()


def _show(connection: Connection[Any], place: ReportingSchema, owner: tuple[str, bool]) -> None:
    """Has the reporting schema show what was made, if it is ours. Else `publish` does.

    A view that another role makes there would be one that neither readers nor `publish` may use.
    """
    name, is_ours = owner
    refused = None if is_ours else f"it belongs to {name}"
    try:
        if is_ours:
            with connection.transaction():
                show_custom_fields(connection, place, outdated_custom_views(connection, place))
    except errors.ProgrammingError as error:
        refused = error.diag.message_primary
    if refused:
        log.warning(
            "%s does not show custom fields that are new: run `migrate` as its owner (%s)",
            place.schema,
            refused,
        )


def follow_custom_fields(
    connect: Callable[[], AbstractContextManager[Connection[Any]]], dsn: str, tenant: str
) -> None:
    """Brings the views up to date after a sync: what keeps it from that is said in the log.

    What was read is kept, whoever reads the views meanwhile: the next sync makes up for it.
    """
    with connect() as connection:
        if not _due(connection, tenant):  # two statements that lock nothing
            return
    try:
        refresh_custom_views(dsn, tenant, Patience(give_up_after=_AFTER_A_SYNC))
    except WarehouseLocked as error:
        log.warning("%s. Or wait: the next sync does it", error)
    except WarehouseError as error:
        # They are made of what was read, which is whole without them.
        log.warning("views of custom fields stay as they are until the next sync: %s", error)


def _due(
    connection: Connection[Any], tenant: str
) -> list[tuple[_CustomFieldTable, datetime | None]]:
    """Of which entities something was written since they were looked at last, and when that was.

    One question about all of them: most syncs wrote nothing that has custom fields.
    """
    found = connection.execute(
        "select relname from pg_class where relnamespace = to_regnamespace(%s)", [f'"{tenant}"']
    )
    there = {row[0] for row in found}
    places = []  # where the catalog has custom fields and this warehouse has the tables
    for name, declared in CATALOG.declared.items():
        rows = fit_name(f"{declared.table}__custom_fields")
        if {declared.table, rows} <= there:
            key = CATALOG[name].key[-1]
            places.append(_CustomFieldTable(tenant, name, key, declared.table, rows))
    if not places or _DEFINITIONS not in there:
        return []
    asked = [
        _statement(
            _DUE,
            at=sql.Literal(at),
            entity=sql.Literal(place.entity),
            rows=place.identifier(place.rows),
            view=sql.Literal(place.identifier(place.typed_view).as_string(connection)),
            definitions=place.identifier(_DEFINITIONS),
        )
        for at, place in enumerate(places)
    ]
    found = connection.execute(sql.SQL(" union all ").join(asked), {"tenant": tenant})
    return [(places[at], since) for at, since in sorted(found)]


def _changed_fields(
    connection: Connection[Any], table: _CustomFieldTable, since: datetime | None
) -> list[_Field] | None:
    """The fields of an entity whose views have to be made anew; None: they are as they should be.

    Nobody waits for it.
    """
    connection.execute(
        "insert into cw_sync.custom_field_scan values (%s, %s, now())"
        " on conflict (tenant, entity) do update set scanned_at = excluded.scanned_at",
        [table.tenant, table.entity],
    )
    before = _stored_fields(connection, table)
    after = _fields(connection, table, before, since)
    _register(connection, table, before, after)
    return after if after != before or since is None else None


def _stored_fields(connection: Connection[Any], table: _CustomFieldTable) -> list[_Field]:
    rows = connection.execute(
        "select field_id, kind, caption, type, column_name from cw_sync.custom_field_column"
        " where tenant = %s and entity = %s order by position",
        [table.tenant, table.entity],
    )
    return [_Field(field, Kind(kind), *rest) for field, kind, *rest in rows]


def _fields(
    connection: Connection[Any],
    table: _CustomFieldTable,
    before: list[_Field],
    since: datetime | None,
) -> list[_Field]:
    """Every field there is, each at the place where its column is; new ones at the end."""
    names = {"rows": table.identifier(table.rows), "table": table.identifier(table.table)}
    seen = connection.execute(
        _statement(_SEEN, key=sql.Identifier(table.key), **names), {"since": since}
    ).fetchall()
    ids = [*(row[0] for row in seen), *(field.id for field in before)]
    defined = connection.execute(
        _statement(_DEFINED, definitions=table.identifier(_DEFINITIONS)), {"ids": ids}
    )
    rows = {row[0]: row for row in (*seen, *defined) if row[0] is not None}
    fields = {(field.id, field.kind): field for field in before}
    for field_id, caption, type_ in sorted(rows.values()):
        kind = _KINDS.get((type_ or "").lower(), Kind.TEXT)
        field = _Field(field_id, kind, caption or "", type_ or "")
        old = fields.get((field_id, kind))
        if old is not None or len(fields) < _MOST_COLUMNS:
            column = old.column if old else _name(field, list(fields.values()))
            fields[field_id, kind] = replace(field, column=column)
    return list(fields.values())


def _name(field: _Field, others: Sequence[_Field]) -> str:
    """`cf_12_warranty_end`; with the kind behind it for a field that had another type before.

    Numbered where a column has that name: a field that was Text and called Warranty Date, and now
    is a Date called Warranty, would get the same once more.
    """
    plain = unicodedata.normalize("NFKD", field.caption).encode("ascii", "ignore").decode().lower()
    words = ["cf", str(field.id), *re.findall("[a-z0-9]+", plain)]
    if any(other.id == field.id for other in others):
        words.append({Kind.NUMERIC: "number", Kind.BOOLEAN: "flag"}.get(field.kind, field.kind))
    taken = {other.column for other in others}
    numbered = ([], *([str(number)] for number in range(2, len(taken) + 3)))
    names = (fit_name("_".join([*words, *number])) for number in numbered)
    return next(name for name in names if name not in taken)


def _register(
    connection: Connection[Any], table: _CustomFieldTable, before: list[_Field], after: list[_Field]
) -> None:
    changed = [(at, field) for at, field in enumerate(after) if field not in before]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into cw_sync.custom_field_column"
            " (tenant, entity, field_id, kind, position, column_name, caption, type)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (tenant, entity, field_id, kind)"
            " do update set caption = excluded.caption, type = excluded.type",
            [(table.tenant, table.entity, f.id, f.kind, at, f.column, f.caption, f.type)
             for at, f in changed],
        )  # fmt: skip


def _create_all(
    connection: Connection[Any], changed: Iterable[tuple[_CustomFieldTable, list[_Field]]]
) -> list[str]:
    return [name for table, fields in changed for name in _create(connection, table, fields)]


def _create(
    connection: Connection[Any], table: _CustomFieldTable, fields: list[_Field]
) -> list[str]:
    rows, typed = table.identifier(table.rows), table.identifier(table.typed_view)
    connection.execute(
        _statement(_TYPED, view=typed, options=options(connection, typed), rows=rows)
    )
    _comment(connection, "view", typed, f"Custom fields of {table.entity}, a row each, typed")
    if not fields:
        return [table.typed_view]
    wide = table.identifier(table.wide)
    whole = {field.id for field in fields if field.kind is Kind.TEXT}
    connection.execute(
        _statement(
            _WIDE,
            view=wide,
            options=options(connection, wide),
            rows=rows,
            records=table.records,
            shown=sql.SQL(", ").join(
                sql.SQL("c.{}").format(sql.Identifier(name))
                for name in ("unfit_values", *(field.column for field in fields))
            ),
            names=_cases((f.id, sql.Literal(f.column)) for f in fields),
            fits=_cases((f.id, _FITS[f.kind]) for f in fields if f.id not in whole),
            columns=sql.SQL(", ").join(_column(field) for field in fields),
        )
    )
    _comment(
        connection,
        "view",
        wide,
        f"Custom fields of {table.entity}: one row for each record that has any (id), one column"
        " for each field. unfit_values: what is not of its column's type, by column, as it came",
    )
    for field in fields:
        at = sql.Identifier(table.tenant, table.wide, field.column)
        _comment(connection, "column", at, f"{field.caption} ({field.type})")
    return [table.typed_view, table.wide]


def _column(field: _Field) -> sql.Composed:
    return sql.SQL("{} filter (where f.id = {}) as {}").format(
        _SHOWN[field.kind], sql.Literal(field.id), sql.Identifier(field.column)
    )


def _cases(pairs: Iterable[tuple[int, sql.Composable]]) -> sql.Composed:
    """`when 12 then …`, once for each field: of several columns the latest says."""
    cases = {
        value: sql.SQL("when {} then {}").format(sql.Literal(value), then) for value, then in pairs
    }
    return sql.SQL(" ").join(cases.values() or [sql.SQL("when null then true")])


def _comment(connection: Connection[Any], what: str, on: sql.Identifier, text: str) -> None:
    statement = sql.SQL("comment on {} {} is {}").format(
        sql.SQL("view" if what == "view" else "column"), on, sql.Literal(text)
    )
    connection.execute(statement)


def _statement(query: str, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(query).format(**parts)


_WIDE_SUFFIX = "__custom"
# A tenant's wide views and what shows them, each with its columns and what is said of them.
_FOUND = """
select c.relnamespace = %(tenant)s::regnamespace, c.relname, obj_description(c.oid),
    array_agg(a.attname || ' ' || coalesce(col_description(a.attrelid, a.attnum), '')
              order by a.attnum)
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
where c.relkind = 'v' and (
    c.relnamespace = %(schema)s::regnamespace and starts_with(c.relname, 'cf_')
    or c.relnamespace = %(tenant)s::regnamespace
        and right(c.relname, length(%(suffix)s)) = %(suffix)s)
group by c.oid, c.relnamespace, c.relname
order by c.relname
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
    """The views that are missing, lack a column, or describe one as it was called before."""
    names = {"schema": f'"{place.schema}"', "tenant": f'"{place.tenant}"', "suffix": _WIDE_SUFFIX}
    found = connection.execute(_FOUND, names).fetchall()
    shown = {name: columns for is_wide, name, _, columns in found if not is_wide}
    return [
        CustomView(view, wide, comment)
        for is_wide, wide, comment, columns in found
        if is_wide
        and shown.get(view := fit_name(f"cf_{wide.removesuffix(_WIDE_SUFFIX)}")) != columns
    ]


def show_custom_fields(
    connection: Connection[Any], place: ReportingSchema, views: Iterable[CustomView]
) -> None:
    """Makes the views, or gives them the columns that they lack."""
    for view in views:
        name, wide = (
            sql.Identifier(place.schema, view.name),
            sql.Identifier(place.tenant, view.wide),
        )
        connection.execute(
            sql.SQL("create or replace view {}{} as select * from {}").format(
                name, options(connection, name), wide
            )
        )
        comments = [
            sql.SQL("comment on view {} is {}").format(name, sql.Literal(view.comment or view.wide))
        ]
        described = connection.execute(_COMMENTS, [wide.as_string(connection)]).fetchall()
        comments += [
            sql.SQL("comment on column {}.{} is {}").format(
                name, sql.Identifier(column), sql.Literal(text)
            )
            for column, text in described
        ]
        at_once(connection, comments)
