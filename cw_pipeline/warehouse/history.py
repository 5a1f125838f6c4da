"""Versions of records that are over: each written by the delete of the merge that replaces it.

The present version is the row in the entity's own table, so a first load and an unchanged record
cost nothing. What is over is in a table beside it, which `versions_table` names:

    service_tickets__versions            _valid_from   _valid_to     service_tickets
    New      (null: since it was entered) ────────────► 09:10
    Assigned                              09:10 ──────► 11:30
                                                        11:30 ─────► Closed

Validity is the source's time: a version begins with its record's `lastUpdated`, and ends where the
next one begins. Where that stamp did not move, or is absurd (a day ahead of the warehouse's clock,
or more), this clock counts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from psycopg import sql

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.columns import fit_name
from cw_pipeline.catalog.promotion import with_promoted_columns
from cw_pipeline.catalog.reported import columns_of_versions
from cw_pipeline.errors import ConfigError
from cw_pipeline.model import Column, Kind
from cw_pipeline.warehouse.columns import add_column, kind_of, widen_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.model import Entity

_STAMPS = "_valid_from", "_valid_to", "_next_from", "_recorded_to", "_known_to"
_CHANGES = "fct_change_all"  # others read columns that are always kept
_COMMENT = (
    "Versions of {table} that are over; the present one is there. Valid from _valid_from (null:"
    " since the record was entered) until _valid_to, by ConnectWise's clock; the next version is"
    " valid from _next_from, which is later if the record was deleted in between. _recorded_to:"
    " when this warehouse replaced it. _known_to: up to where ConnectWise had been read by then,"
    " so between _known_to and _valid_to there may have been versions that nobody saw"
)


def versions_table(table: str) -> str:
    """The table that has a table's versions which are over.

    It is in the same schema: one of their own would need a right that many roles lack.
    """
    return fit_name(f"{table}__versions")


def parse_history_columns(setting: str | None) -> dict[str, tuple[str, ...]]:
    """The columns kept of versions by entity: what reports read, and what a comma list adds.

    `service/tickets.sub_type_id` adds a column, `service/tickets.*` all of the entity's. Raises
    ConfigError for an entity or a column that the catalog does not know.
    """
    columns = {
        name: list(CATALOG[name].history)
        for name, declared in CATALOG.declared.items()
        if declared.history
    }
    for word in (setting or "").split(","):
        if not word.strip():
            continue
        name, _, column = word.strip().rpartition(".")
        entity = _entity(name, word.strip())
        plain = [each.name for each in entity.columns if each.kind is not Kind.JSONB]
        if column != "*" and column not in plain:
            raise ConfigError(f"CW_HISTORY_COLUMNS: {entity.name} has no plain column {column!r}")
        read = columns_of_versions(entity.table, entity.columns)
        chosen = [each for each in plain if each not in entity.key] if column == "*" else [column]
        columns.setdefault(entity.name, [*read]).extend(chosen)
    return {name: tuple(dict.fromkeys(kept)) for name, kept in columns.items()}


def _entity(name: str, word: str) -> Entity:
    for known in CATALOG:
        if name in {known, CATALOG.declared[known].table}:
            return CATALOG[known]
    raise ConfigError(
        f"CW_HISTORY_COLUMNS: {word!r} names no entity; write entity.column, for example"
        " service/tickets.severity"
    )


def set_history_columns(
    connection: sa.Connection,
    tenant: str,
    columns: Mapping[str, Iterable[str]],
    *,
    and_before: bool = False,
) -> None:
    """Says which columns are kept from now on, `and_before`: beside those kept before.

    What history holds stays. The next refresh fills the table of changes anew where a column is
    kept no longer: what is empty there was a change only while it was kept.
    """
    wanted = [(name, column) for name, kept in columns.items() for column in kept]
    asked = {
        "tenant": tenant,
        "entities": [name for name, _ in wanted],
        "columns": [column for _, column in wanted],
    }
    connection.execute(
        sa.text(
            "insert into cw_sync.history_column (tenant, entity, column_name)"
            " select :tenant, * from unnest(cast(:entities as text[]), cast(:columns as text[]))"
            " on conflict do nothing"
        ),
        asked,
    )
    if and_before:
        return
    dropped = connection.execute(
        sa.text(
            "delete from cw_sync.history_column where tenant = :tenant and (entity, column_name)"
            " not in (select * from unnest(cast(:entities as text[]), cast(:columns as text[])))"
        ),
        asked,
    )
    if dropped.rowcount:
        changes = {"tenant": tenant, "name": _CHANGES}
        # A refresh that is running still sees what was kept, and would set its mark after ours.
        connection.execute(
            sa.text("select pg_advisory_xact_lock(hashtextextended(:tenant || '/' || :name, 2))"),
            changes,
        )
        connection.execute(
            sa.text(
                "update cw_sync.publication set changed_through = null"
                " where tenant = :tenant and name = :name"
            ),
            changes,
        )


def as_stored(
    entity: Entity,
    promoted: Iterable[tuple[str, Sequence[str], str]],
    versioned: Iterable[str],
) -> Entity:
    """The entity with its promoted columns (name, path, kind), and those kept of versions."""
    columns = (Column(name, tuple(path), Kind(kind)) for name, path, kind in promoted)
    grown, kept = with_promoted_columns(entity, columns), {*versioned} - {*entity.key}
    return replace(grown, history=tuple(each.name for each in grown.columns if each.name in kept))


def history_columns(entity: Entity) -> tuple[Column, ...]:
    """What a table of versions has of its entity: the key, and the columns that are kept."""
    kept = {*entity.history, *entity.key}
    return tuple(each for each in entity.row_columns if each.name in kept)


def create_history_table(connection: Connection[Any], tenant: str, entity: Entity) -> None:
    """Creates the entity's table of versions, or adds the columns that it lacks. Drops nothing.

    A new table begins with what `cw_sync.history` has of earlier values, if anything. Older
    versions have null in a column that is added.
    """
    place = tenant, versions_table(entity.table)
    if kind_of(connection, place, "_valid_to") is not None:
        for column in history_columns(entity):
            if kind_of(connection, place, column.name) is None:
                add_column(connection, place, column.name, column.kind)
        return
    stamps = [sql.SQL("{} timestamptz").format(sql.Identifier(name)) for name in _STAMPS]
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.kind.value))
        for column in history_columns(entity)
    ]
    table = sql.Identifier(*place)
    connection.execute(
        sql.SQL("create table {} ({})").format(table, sql.SQL(", ").join([*columns, *stamps]))
    )
    key = sql.SQL(", ").join(map(sql.Identifier, reversed(entity.key)))
    connection.execute(sql.SQL("create index on {} ({}, _next_from)").format(table, key))
    connection.execute(sql.SQL("create index on {} (_recorded_to)").format(table))
    comment = sql.Literal(_COMMENT.format(table=f"{tenant}.{entity.table}"))
    connection.execute(sql.SQL("comment on table {} is {}").format(table, comment))
    _take_over(connection, tenant, entity)


def widen_history(
    connection: Connection[Any], place: tuple[str, str], column: str, to: Kind
) -> None:
    """Gives the column the type that the entity's table `place` (tenant, table) has by now."""
    versions = place[0], versions_table(place[1])
    if kind_of(connection, versions, column) is not None:
        widen_column(connection, versions, column, to)


def forget_column(
    connection: Connection[Any], place: tuple[str, str], entity: str, column: str
) -> None:
    """Empties a column in all versions of the table `place` (tenant, table): it is private now."""
    connection.execute(
        "update cw_sync.history set value = null"
        " where tenant = %s and entity = %s and column_name = %s",
        [place[0], entity, column],
    )
    versions = place[0], versions_table(place[1])
    if kind_of(connection, versions, column) is not None:
        connection.execute(
            sql.SQL("update {0} set {1} = null where {1} is not null").format(
                sql.Identifier(*versions), sql.Identifier(column)
            )
        )


def delete_keeping_versions(
    connection: Connection[Any],
    tenant: str,
    entity: Entity,
    replaced: Mapping[int, datetime | None],
    parent_id: int | None,
) -> None:
    """Deletes rows that are about to be inserted anew, and keeps them as versions.

    `replaced`: by id, when the new version's record was last updated. A row that was soft-deleted
    was valid until then. Nothing is kept of an entity without `history`.
    """
    if not replaced:
        return
    connection.execute(
        _closing_delete(tenant, entity, of_parent=parent_id is not None),
        {
            "ids": [*replaced],
            "stamps": [*replaced.values()],
            "parent": parent_id,
            "tenant": tenant,
            "entity": entity.name,
        },
    )


# Composing dozens of identifiers anew costs the client more than the insert costs the server.
@lru_cache(maxsize=1024)
def _closing_delete(tenant: str, entity: Entity, *, of_parent: bool) -> bytes:
    key = sql.Identifier(entity.key[-1])
    where = sql.SQL("{} = any(%(ids)s::bigint[])").format(key)
    if of_parent:
        where += sql.SQL(" and parent_id = %(parent)s")
    delete = sql.SQL("delete from {} where {}").format(sql.Identifier(tenant, entity.table), where)
    if not entity.history:
        return delete.as_string().encode()
    columns = [sql.Identifier(column.name) for column in history_columns(entity)]
    updated = sql.SQL("gone.last_updated" if entity.has_last_updated else "null::timestamptz")
    same = sql.SQL(" and ").join(
        sql.SQL("h.{0} = gone.{0}").format(sql.Identifier(name)) for name in entity.key
    )
    query = sql.SQL(
        "with gone as ({delete} returning *)"
        " insert into {history} ({columns}, {stamps})"
        " select {values}, past.next, greatest(coalesce(gone._deleted_at, new.at), past.next),"
        " greatest(new.at, past.next), now(), (select watermark from cw_sync.checkpoint"
        " where tenant = %(tenant)s and entity = %(entity)s)"
        " from unnest(%(ids)s::bigint[], %(stamps)s::timestamptz[]) s (own, stamp)"
        " join gone on gone.{own} = s.own"
        " cross join lateral (select case when s.stamp < now() + interval '1 day'"
        " and s.stamp > coalesce(gone._deleted_at, {updated}, '-infinity')"
        " then s.stamp else now() end) new (at)"
        " left join lateral (select h._next_from from {history} h where {same}"
        " order by h._next_from desc limit 1) past (next) on true"
    ).format(
        delete=delete,
        history=sql.Identifier(tenant, versions_table(entity.table)),
        columns=sql.SQL(", ").join(columns),
        stamps=sql.SQL(", ").join(map(sql.Identifier, _STAMPS)),
        values=sql.SQL(", ").join(sql.SQL("gone.{}").format(name) for name in columns),
        own=key,
        updated=updated,
        same=same,
    )
    return query.as_string().encode()


def _take_over(connection: Connection[Any], tenant: str, entity: Entity) -> None:
    """Makes versions of what was kept column by column before there were versions.

    Of columns that were not kept the present value is all that is known.
    """
    # The table is widened after this: what it lacks as yet is null in versions that are over.
    place = tenant, entity.table
    known = {
        column.name: column
        for column in history_columns(entity)
        if kind_of(connection, place, column.name) is not None
    }
    rows = connection.execute(
        "select distinct column_name from cw_sync.history where tenant = %s and entity = %s",
        [tenant, entity.name],
    ).fetchall()
    past = [name for (name,) in rows if name in known]
    if not past or kind_of(connection, place, entity.key[-1]) is None:
        return
    parent = sql.SQL("t.parent_id" if entity.parent else "0")
    joins = [
        sql.SQL(
            " left join lateral (select h.record_id, h.value from cw_sync.history h"
            " where h.tenant = %(tenant)s and h.entity = %(entity)s and h.record_id = e.record_id"
            " and h.parent_id = e.parent_id and h.column_name = {} and h.valid_to >= e.valid_to"
            " order by h.valid_to limit 1) {} on true"
        ).format(sql.Literal(name), sql.Identifier(f"past_{name}"))
        for name in past
    ]
    values = [
        sql.SQL("case when {0}.record_id is null then t.{1} else {0}.value::{2} end").format(
            sql.Identifier(f"past_{name}"), sql.Identifier(name), sql.SQL(column.kind.value)
        )
        if name in past
        else sql.SQL("t.{}").format(sql.Identifier(name))
        for name, column in known.items()
    ]
    query = sql.SQL(
        "insert into {history} ({columns}, {stamps})"
        " select {values}, e.valid_from, e.valid_to, e.valid_to, e.recorded_at, null"
        " from (select record_id, parent_id, valid_to, max(recorded_at) as recorded_at,"
        " lag(valid_to) over (partition by record_id, parent_id order by valid_to) as valid_from"
        " from cw_sync.history where tenant = %(tenant)s and entity = %(entity)s"
        " group by record_id, parent_id, valid_to) e"
        " join {table} t on t.{own} = e.record_id and {parent} = e.parent_id{joins}"
    ).format(
        history=sql.Identifier(tenant, versions_table(entity.table)),
        columns=sql.SQL(", ").join(map(sql.Identifier, known)),
        stamps=sql.SQL(", ").join(map(sql.Identifier, _STAMPS)),
        values=sql.SQL(", ").join(values),
        table=sql.Identifier(tenant, entity.table),
        own=sql.Identifier(entity.key[-1]),
        parent=parent,
        joins=sql.SQL("").join(joins),
    )
    connection.execute(query, {"tenant": tenant, "entity": entity.name})


def versions_query(entity: Entity, table: str, history: str) -> str:
    """A query of all versions of the entity's records, the present ones included.

    Its columns are the key, `Entity.history`, and: `_valid_from` and `_valid_to` (`infinity`: still
    is), between which a version was valid, the first one since its record was entered; `_is_first`;
    `_recorded_to`, when this warehouse replaced it (null: not yet). Of an entity without history
    there is one version of each record, with all that its table has. `table` and `history` are SQL:
    where the present versions are, and those that are over.
    """
    columns = sql.SQL(", ").join(sql.Identifier(each.name) for each in history_columns(entity))
    present = sql.SQL(
        "select {columns}, coalesce(past.next, {born}) as _valid_from,"
        " coalesce(t._deleted_at, 'infinity') as _valid_to, past.next is null as _is_first,"
        " null::timestamptz as _recorded_to from {table} t {past}"
    ).format(
        columns=columns if entity.history else sql.SQL("t.*"),
        born=_born(entity),
        table=sql.SQL(table),
        past=_past(entity, history),
    )
    if not entity.history:
        return f"({present.as_string()})"
    over = sql.SQL(
        "select {columns}, coalesce(_valid_from, {born}) as _valid_from, _valid_to,"
        " _valid_from is null as _is_first, _recorded_to from {history}"
    ).format(columns=columns, born=_born(entity), history=sql.SQL(history))
    return f"({over.as_string()} union all {present.as_string()})"


def rows_as_of(tenant: str, entity: Entity, moment: str) -> str:
    """A query of the entity's rows as they were at a moment, which is SQL.

    A record that had been deleted by then has `_deleted_at`; one that was entered later is not
    there. Columns are those of `versions_query`, `_deleted_at` and `_synced_at`. Of an entity
    without history rows are as they are now, with all that its table has.
    """
    table = sql.Identifier(tenant, entity.table)
    history = sql.Identifier(tenant, versions_table(entity.table)).as_string()
    at = sql.SQL(moment)
    kept = history_columns(entity) if entity.history else entity.row_columns
    columns = sql.SQL(", ").join(sql.Identifier(each.name) for each in kept)
    query = sql.SQL(
        "select {columns}, case when t._deleted_at <= {at} then t._deleted_at end as _deleted_at,"
        " t._synced_at from {table} t {past} where coalesce(past.next, {born}) <= {at}"
    ).format(columns=columns, at=at, table=table, past=_past(entity, history), born=_born(entity))
    if entity.history:
        query += sql.SQL(
            " union all select {columns}, case when _valid_to <= {at} then _valid_to end,"
            " coalesce(_valid_from, {at}) from {history}"
            " where coalesce(_valid_from, {born}) <= {at} and _next_from > {at}"
        ).format(columns=columns, at=at, born=_born(entity), history=sql.SQL(history))
    return query.as_string()


def _born(entity: Entity) -> sql.SQL:
    """Since when the first version of a record is valid."""
    known = any(each.name == "date_entered" for each in entity.columns)
    return sql.SQL("coalesce(date_entered, '-infinity')" if known else "'-infinity'::timestamptz")


def _past(entity: Entity, history: str) -> sql.Composable:
    """Since when the present version of a row of `t` is valid; null: it is the first one."""
    if not entity.history:
        return sql.SQL("cross join (select null::timestamptz) past (next)")
    same = sql.SQL(" and ").join(
        sql.SQL("h.{0} = t.{0}").format(sql.Identifier(name)) for name in entity.key
    )
    return sql.SQL(
        "left join lateral (select h._next_from from {} h where {}"
        " order by h._next_from desc limit 1) past (next) on true"
    ).format(sql.SQL(history), same)
