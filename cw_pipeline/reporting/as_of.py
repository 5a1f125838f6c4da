"""`reporting.as_of(moment)`: the whole reporting schema as it was, as tables in a schema beside it.

The function is made of the same scripts as the views. They read rows and versions as they were at
the moment, and the moment where they say `now()`; what they give is stored in real tables, which
any tool reads as fast as today's, and without a setting in its session.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting.database import transaction
from cw_pipeline.reporting.script import ReportingSchema, entities, reporting_schema, scripts
from cw_pipeline.warehouse.connections import create_schemas
from cw_pipeline.warehouse.history import rows_as_of, versions_query, versions_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.model import Entity
    from cw_pipeline.reporting.script import ViewScript

log = logging.getLogger(__name__)

_MOMENT = "@moment@"
"""Stands for the moment in a statement of the function, until it runs."""

_READS = re.compile(r"\{\{(source|history|versions|reporting)\}\}\.(\w+)")
_NOW = re.compile(r"\bnow\(\)")
_COMMENT = (
    "Fills the schema {target} with all tables of {reporting} as they were at a moment, by the"
    " versions that are kept, and returns how many: select {reporting}.as_of('2026-11-01'). There"
    " are no views of custom fields among them; lists without versions are as they are now. Needs"
    " the rights of a refresh"
)


_NOT_HIDDEN = """
select a.as_of from {} a where exists
    (select from cw_sync.private_column p where p.tenant = %s and p.since > a.made_at)
"""


def as_of_schema(tenant: str) -> str:
    """Where the tables are: `reporting_asof`, or `<schema>_reporting_asof`."""
    return f"{reporting_schema(tenant)}_asof"


def fill_as_of(dsn: str, tenant: str, moment: datetime) -> int:
    """Fills the schema of `as_of_schema` with the reports as of a moment: how many tables.

    Whoever reads it sees what was there before until all is done. Raises WarehouseError for a
    moment that lies ahead, and where nothing is published.
    """
    with transaction(dsn) as connection:
        create_schemas(connection, as_of_schema(tenant))
        name = sql.Identifier(reporting_schema(tenant), "as_of")
        known = connection.execute(
            "select to_regprocedure(%s)", [f"{name.as_string(connection)}(timestamptz)"]
        ).fetchone()
        if known is None or known[0] is None:
            raise WarehouseError(f"nothing is published for {tenant!r}: run `migrate`")
        row = connection.execute(sql.SQL("select {}(%s)").format(name), [moment]).fetchone()
        assert row is not None
        return int(row[0])


def hide_in_as_of(
    connect: Callable[[], AbstractContextManager[Connection[Any]]], tenant: str
) -> bool:
    """Fills the schema of `as_of_schema` anew, as of its moment, if columns became private since.

    Whether it did. `connect` opens a transaction. What keeps it from that is said in the log.
    """
    table, function = (as_of_schema(tenant), "as_of"), (reporting_schema(tenant), "as_of")
    try:
        with connect() as connection:
            place = sql.Identifier(*table).as_string(connection)
            if connection.execute("select to_regclass(%s)", [place]).fetchone() == (None,):
                return False
            row = connection.execute(
                sql.SQL(_NOT_HIDDEN).format(sql.Identifier(*table)), [tenant]
            ).fetchone()
            if row is None:
                return False
            log.info("%s is filled anew: columns are private that it shows", table[0])
            connection.execute(sql.SQL("select {}(%s)").format(sql.Identifier(*function)), row)
            return True
    except WarehouseError as error:
        log.warning(
            "%s may show values that are private since it was filled: drop it, or let its owner"
            " run `as-of` again (%s)",
            table[0],
            error,
        )
        return False


def publish_as_of(connection: Connection[Any], place: ReportingSchema) -> None:
    """Makes the function, if it is not as it should be."""
    body = _body(place)
    name = sql.Identifier(place.schema, "as_of")
    found = connection.execute(
        "select prosrc from pg_proc where oid = to_regprocedure(%s)",
        [f"{name.as_string(connection)}(timestamptz)"],
    ).fetchone()
    if found and found[0] == body:
        return
    connection.execute(
        sql.SQL(
            "create or replace function {}(moment timestamptz) returns integer language plpgsql"
            " set search_path = pg_catalog as {}"
        ).format(name, sql.Literal(body))
    )
    text = _COMMENT.format(target=as_of_schema(place.tenant), reporting=place.schema)
    connection.execute(
        sql.SQL(
            "revoke execute on function {0}(timestamptz) from public;"
            " comment on function {0}(timestamptz) is {1}"
        ).format(name, sql.Literal(text))
    )


def _body(place: ReportingSchema) -> str:
    """The function's text: a list of statements, run one after the other."""
    statements = [*_sources(place), *_tables(place), *_swap(place), *_forget()]
    lines = ",\n".join(sql.Literal(one).as_string() for one in statements)
    target = sql.Literal(as_of_schema(place.tenant)).as_string()
    tenant = sql.Literal(f"{place.tenant}/as of").as_string()  # see `StoredRowMasker.lock_reports`
    return f"""
declare
    statement text;
begin
    if moment > clock_timestamp() then
        raise exception 'as_of: % lies ahead', moment using errcode = '22023';
    end if;
    perform pg_advisory_xact_lock(hashtextextended({target}, 2));
    perform pg_advisory_xact_lock_shared(hashtextextended({tenant}, 2));
    if to_regnamespace({target}) is null then
        execute format('create schema %I', {target});
    end if;
    foreach statement in array array[
{lines}
    ]::text[] loop
        execute replace(statement, '{_MOMENT}', quote_literal(moment) || '::timestamptz');
    end loop;
    return {len(scripts())};
end
"""


def _sources(place: ReportingSchema) -> Iterator[str]:
    """Rows and versions as of the moment, in `pg_temp`, under the names of the entities' tables."""
    yield from _forget()
    for entity in entities():
        rows = rows_as_of(place.tenant, entity, _MOMENT)
        if not entity.history:
            yield f'create temp view "{entity.table}" as {rows}'
            continue
        yield f'create temp table "{entity.table}" on commit drop as {rows}'
        key = ", ".join(f'"{name}"' for name in entity.key)
        yield f'create index on pg_temp."{entity.table}" ({key})'
        yield f'analyze pg_temp."{entity.table}"'
        history = sql.Identifier(place.tenant, versions_table(entity.table)).as_string()
        yield (
            f'create temp view "{_past(entity)}" as select * from {history}'  # noqa: S608
            f" where _next_from <= {_MOMENT}"
        )


def _forget() -> Iterator[str]:
    """Takes out of `pg_temp` what a call has put there, or another one in the same transaction."""
    for entity in entities():
        kind = "table" if entity.history else "view"
        yield f'drop {kind} if exists pg_temp."{entity.table}" cascade'
        if entity.history:
            yield f'drop view if exists pg_temp."{_past(entity)}" cascade'


def _past(entity: Entity) -> str:
    return f"{entity.table}__past"


def _tables(place: ReportingSchema) -> Iterator[str]:
    """Each script's rows in a table, under a name of its own until all are there."""
    target = as_of_schema(place.tenant)
    for script in scripts():
        table = f'"{target}"."{script.name}__next"'
        yield f"drop table if exists {table}"
        yield f"create table {table} as\n{_query(place, script)}"
        yield f"comment on table {table} is {sql.Literal(script.comment).as_string()}"
        for columns, rows in script.indexes:
            yield f"create index on {table} ({', '.join(columns)}){rows}"
        yield f"analyze {table}"


def _query(place: ReportingSchema, script: ViewScript) -> str:
    """The script's query on what `_sources` made, and on the tables made before it."""
    tables = {entity.table: entity for entity in entities()}

    def place_of(found: re.Match[str]) -> str:
        kind, name = found.groups()
        if kind == "reporting":
            return f'"{as_of_schema(place.tenant)}"."{name}__next"'
        if name not in tables:
            return found[0]  # an array's, of which no versions are kept
        entity = tables[name]
        present, past = f'pg_temp."{name}"', f'pg_temp."{_past(entity)}"'
        if kind == "versions":
            return versions_query(entity, present, past)
        return present if kind == "source" else past

    text = _READS.sub(place_of, script.whole)
    return _NOW.sub(_MOMENT, place.fill(text))


def _swap(place: ReportingSchema) -> Iterator[str]:
    """Puts the tables in the place of those of an earlier call; readers wait for this alone."""
    target = as_of_schema(place.tenant)
    for script in scripts():
        yield f'drop table if exists "{target}"."{script.name}" cascade'
        yield f'alter table "{target}"."{script.name}__next" rename to "{script.name}"'
    yield f'drop table if exists "{target}".as_of cascade'
    yield (
        f'create table "{target}".as_of as select {_MOMENT} as as_of, clock_timestamp() as made_at'
    )
    text = "One row: the moment that the tables of this schema show, and when they were made"
    yield f"""comment on table "{target}".as_of is '{text}'"""
    readers = sql.Literal(place.schema).as_string()
    yield (
        "do $do$ begin if exists (select from pg_roles where rolname = 'reporting_reader') and"
        f" has_schema_privilege('reporting_reader', {readers}, 'usage') then"
        f' grant usage on schema "{target}" to reporting_reader;'
        f' grant select on all tables in schema "{target}" to reporting_reader; end if; end $do$'
    )
