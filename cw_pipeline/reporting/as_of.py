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

from cw_pipeline.errors import WarehouseError, WarehouseLocked
from cw_pipeline.reporting.database import transaction
from cw_pipeline.reporting.script import ReportingSchema, entities, reporting_schema, scripts
from cw_pipeline.warehouse.connections import create_schemas
from cw_pipeline.warehouse.history import rows_as_of, versions_query, versions_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
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


_MAY_LOOK = """
select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relname = 'as_of'
"""
_NOT_HIDDEN = """
select a.as_of from {} a where exists
    (select from cw_sync.private_column p where p.tenant = %s and p.since > a.made_at)
"""
_BRIEF = "500ms"  # that readers of its tables may wait behind us: see `warehouse.ddl`


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

    Whether it did. `connect` opens a transaction. What keeps it from that is said in the log, and
    the next call tries again: who reads the tables waits for us no longer than `_BRIEF` for each.
    """
    schema, function = as_of_schema(tenant), sql.Identifier(reporting_schema(tenant), "as_of")
    asked = sql.SQL(_NOT_HIDDEN).format(sql.Identifier(schema, "as_of")), [tenant]
    try:
        with connect() as connection:
            found = connection.execute(_MAY_LOOK, [schema]).fetchone()
            if found is None:
                return False
            if found != (True,):
                log.info("whether %s shows what is private is not known: it is not ours", schema)
                return False
            if connection.execute(*asked).fetchone() is None:
                return False
            connection.execute("select set_config('lock_timeout', %s, true)", [_BRIEF])
            # As the function itself: of two processes that start at once one fills it.
            lock = "select pg_advisory_xact_lock(hashtextextended(%s, 2))"
            connection.execute(lock, [schema])
            moment = connection.execute(*asked).fetchone()
            if moment is None:
                return False
            log.info("%s is filled anew: columns are private that it shows", schema)
            connection.execute(sql.SQL("select {}(%s)").format(function), moment)
            return True
    except WarehouseLocked as error:
        log.warning(
            "%s may show values that are private since it was filled; the next sync fills it anew:"
            " somebody read it, or filled it, just now (%s)",
            schema,
            error,
        )
    except WarehouseError as error:
        log.warning(
            "%s may show values that are private since it was filled: drop it, or let its owner"
            " run `as-of` again (%s)",
            schema,
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
    """The function's text: statements run one after the other, and the tables swapped at last."""
    target = sql.Literal(as_of_schema(place.tenant)).as_string()
    tenant = sql.Literal(f"{place.tenant}/as of").as_string()  # see `StoredRowMasker.lock_reports`
    reports = ", ".join(sql.Literal(script.name).as_string() for script in scripts())
    return f"""
declare
    statement text;
    report text;
    there regclass;
    fresh regclass;
begin
    if moment > clock_timestamp() then
        raise exception 'as_of: % lies ahead', moment using errcode = '22023';
    end if;
    perform pg_advisory_xact_lock(hashtextextended({target}, 2));
    perform pg_advisory_xact_lock_shared(hashtextextended({tenant}, 2));
    if to_regnamespace({target}) is null then
        execute format('create schema %I', {target});
    end if;
{_loop([*_sources(place), *_tables(place)])}
{_SWAP.format(reports=reports, target=target)}
{_loop([*_finish(place), *_forget()])}
    return {len(scripts())};
end
"""


def _loop(statements: Iterable[str]) -> str:
    lines = ",\n".join(sql.Literal(one).as_string() for one in statements)
    return f"""
    foreach statement in array array[
{lines}
    ]::text[] loop
        execute replace(statement, '{_MOMENT}', quote_literal(moment) || '::timestamptz');
    end loop;"""


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


# A table that others have built views on, or that roles of theirs may read, stays, with other rows.
# These are first: once one is dropped, those who read it wait for the end.
_SWAP = """
    foreach report in array array[{reports}]::text[] loop
        there := to_regclass(format('%I.%I', {target}, report));
        fresh := to_regclass(format('%I.%I', {target}, report || '__next'));
        if (
            exists (select from pg_depend d where d.refclassid = 'pg_class'::regclass
                and d.refobjid = there and d.classid = 'pg_rewrite'::regclass)
            or exists (select from pg_class c cross join aclexplode(c.relacl) g where c.oid = there
                and g.grantee <> c.relowner
                and g.grantee is distinct from to_regrole('reporting_reader')::oid)
            or exists (select from pg_attribute where attrelid = there and attacl is not null)
        ) and (
            select array_agg((attname, atttypid, atttypmod)::text order by attnum)
                filter (where attrelid = there)
                = array_agg((attname, atttypid, atttypmod)::text order by attnum)
                filter (where attrelid = fresh)
            from pg_attribute where attrelid in (there, fresh) and attnum > 0 and not attisdropped
        ) then
            execute format('delete from %s', there);
            execute format('insert into %s select * from %s', there, fresh);
            execute format('drop table %s', fresh);
            execute format('analyze %s', there);
        end if;
    end loop;
    foreach report in array array[{reports}]::text[] loop
        fresh := to_regclass(format('%I.%I', {target}, report || '__next'));
        if fresh is not null then
            execute format('drop table if exists %I.%I cascade', {target}, report);
            execute format('alter table %s rename to %I', fresh, report);
        end if;
    end loop;
"""


def _finish(place: ReportingSchema) -> Iterator[str]:
    """Says which moment it is, and lets the readers of the reporting schema read."""
    target = as_of_schema(place.tenant)
    yield f'create table if not exists "{target}".as_of (as_of timestamptz, made_at timestamptz)'
    yield f'delete from "{target}".as_of'  # noqa: S608 - our own name
    yield f'insert into "{target}".as_of select {_MOMENT}, clock_timestamp()'
    text = "One row: the moment that the tables of this schema show, and when they were made"
    yield f"""comment on table "{target}".as_of is '{text}'"""
    readers = sql.Literal(place.schema).as_string()
    yield (
        "do $do$ begin if exists (select from pg_roles where rolname = 'reporting_reader') and"
        f" has_schema_privilege('reporting_reader', {readers}, 'usage') then"
        f' grant usage on schema "{target}" to reporting_reader;'
        f' grant select on all tables in schema "{target}" to reporting_reader; end if; end $do$'
    )
