"""Making the views: what changed, and what stands on it, in one transaction.

Others read all the while, so it is done in two parts. First everything is prepared, for minutes if
need be, with locks that no reader waits for: the new views under their names in `pg_temp`, and the
rows of the tables, which nobody sees before the end. Then the views are replaced, for which readers
wait half a second at most; somebody's open transaction makes us try again and nobody else wait.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting.access import publish_clients
from cw_pipeline.reporting.as_of import publish_as_of
from cw_pipeline.reporting.custom_fields import (
    PUBLISH_LOCK,
    outdated_custom_views,
    show_custom_fields,
)
from cw_pipeline.reporting.database import at_once, name_failing_file, options, transaction
from cw_pipeline.reporting.script import ReportingSchema, reporting_schema, roots, scripts
from cw_pipeline.reporting.standing import (
    changes,
    refuse_foreign,
    relations,
    to_take_down,
    type_sql,
)
from cw_pipeline.reporting.tables import analyze_new_tables, fill, fill_aside, glance_at_sources
from cw_pipeline.warehouse.connections import create_schemas
from cw_pipeline.warehouse.ddl import patiently
from cw_pipeline.warehouse.ddl.dependents import (
    dependents,
    privileges,
    put_back,
    restore_privileges,
    take_down,
)
from cw_pipeline.warehouse.migrations import refuse_newer, stored_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from cw_pipeline.reporting.script import ViewScript
    from cw_pipeline.reporting.standing import Relation, RelationChange
    from cw_pipeline.warehouse.ddl import Attempt, Patience
    from cw_pipeline.warehouse.ddl.dependents import Dependent

log = logging.getLogger(__name__)
_WHAT = "publishing the reporting schema"
_EMPTY = "No longer part of this version and empty; it stays because a view of others reads it"
_INDEXED = """
select array_agg(a.attname::text order by k.at)
from pg_index i
cross join unnest(i.indkey::smallint[]) with ordinality k (attnum, at)
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = to_regclass(%s) group by i.indexrelid
"""


def publish(
    dsn: str,
    tenant: str,
    time_zone: str = "UTC",
    patience: Patience | None = None,
    *,
    month_closes_on: int = 5,
    fiscal_year_start: int = 1,
) -> list[str]:
    """Brings the tenant's reporting schema up to this version: the views made anew.

    What is as it should be is left alone. New tables are filled at once; custom fields are shown;
    the clients' schema follows, if there is one. `time_zone` is an IANA name; local days follow it.
    A month is closed at the end of day `month_closes_on` of the next one; a fiscal year begins with
    month `fiscal_year_start`. Privileges that others granted, and views that they built, stay.
    Raises WarehouseError if an entity's table is missing (`migrate` makes those of `entities()`),
    or, before anything changed, if somebody else's view would have to be made again and may not be;
    WarehouseNewer; WarehouseLocked if somebody reads for minutes what has to change.
    """
    place = ReportingSchema(tenant, time_zone, month_closes_on, fiscal_year_start)
    connect = partial(transaction, dsn)
    made: list[str] = []

    def prepare(attempt: Attempt) -> list[RelationChange]:
        """Does it all, or nothing if tables lack columns: these tables."""
        with connect() as connection, attempt.brief(connection, PUBLISH_LOCK, readers=False):
            work = _Publication(connection, place)
            if lacking := work.lacking():
                return lacking
            work.prepare()
            if work.has_changes():
                patiently(work.replace, connect, _WHAT, patience)
            made[:] = work.finish()
            publish_as_of(connection, place)
            return []

    while lacking := patiently(prepare, connect, _WHAT, patience):
        # On its own: from here until the end of its transaction readers of the table wait.
        for change in lacking:
            patiently(partial(_widen, dsn, place, change), connect, _WHAT, patience)
    return [*made, *publish_clients(dsn, tenant, patience)]


def _widen(dsn: str, place: ReportingSchema, change: RelationChange, attempt: Attempt) -> None:
    """Gives a table the columns that it lacks, empty as yet."""
    relation = sql.Identifier(place.schema, change.script.name)
    with transaction(dsn) as connection, attempt.brief(connection, PUBLISH_LOCK):
        for column, kind in change.new_columns.items():
            connection.execute(
                sql.SQL("alter table {} add column if not exists {} {}").format(
                    relation, sql.Identifier(column), type_sql(kind)
                )
            )


class _Publication:
    """What is to be done in a reporting schema, and doing it, on one connection."""

    def __init__(self, connection: Connection[Any], place: ReportingSchema) -> None:
        self._connection = connection
        self._place = place
        refuse_newer(stored_version(connection))
        create_schemas(connection, place.schema)
        self._standing = relations(connection, place)
        rows = connection.execute(
            "select name, digest from cw_sync.publication where tenant = %s", [place.tenant]
        ).fetchall()
        stale = _stale(place, dict(rows), self._standing)
        known = {script.name for script in scripts()}
        self._made = [script for script in scripts() if script.name in stale]
        self._left_out = [name for name, _ in rows if name not in known]
        self._custom = outdated_custom_views(connection, place)
        self._changes: dict[str, RelationChange] = {}
        if self._made:
            due = [script.name for script in self._made if script.name in self._standing]
            refuse_foreign([self._standing[name] for name in due], place)
            self._changes = changes(connection, place, self._made, self._standing)
        self._views: list[Dependent] = []
        self._instead: dict[str, str] = {}
        self._dropped: list[str] = []

    def lacking(self) -> list[RelationChange]:
        """The tables that lack columns of this version."""
        tables = [each for each in self._changes.values() if each.is_table]
        return [table for table in tables if table.new_columns and not table.other_kind]

    def has_changes(self) -> bool:
        """Whether `replace` has anything to do."""
        return bool(self._changes or self._left_out or self._custom)

    def finish(self) -> list[str]:
        """Ends it, with the names of what was made anew."""
        tables = {script.name for script in self._made if script.changed is not None}
        for name in reversed(self._instead):
            kind = "table" if name in tables else "view"
            drop = sql.SQL("drop {} if exists {}").format(
                sql.SQL(kind), sql.Identifier("pg_temp", name)
            )
            self._connection.execute(drop)
        if self._made:
            self._connection.execute(
                "update cw_sync.publication set time_zone = %s, month_closes_on = %s"
                " where tenant = %s",
                [self._place.time_zone, self._place.month_closes_on, self._place.tenant],
            )
        for name in self._dropped:
            log.warning(
                "%s.%s is dropped: there is no sql/reporting/%s.sql any more",
                self._place.schema,
                name,
                name,
            )
        for change in self._changes.values():
            for column in change.keep:
                log.warning(
                    "%s.%s: this version has no column %s any more; it stays, empty, because a view"
                    " that others made reads it: %s",
                    self._place.schema,
                    change.script.name,
                    column,
                    ", ".join(f"{view.name} (of {view.owner})" for view in change.strangers),
                )
        return [*(script.name for script in self._made), *(view.name for view in self._custom)]

    def prepare(self) -> None:
        """Makes what is new, the next views in `pg_temp`, and the rows of the tables."""
        if any(not change.in_place for change in self._changes.values()):
            self._views = to_take_down(self._connection, self._changes.values())
        # A refresh that is running would put rows beside ours. In the order in which rows are made
        # private (`warehouse.private_columns`), or each of the two may wait for the other.
        for name in sorted(script.name for script in self._made if script.changed is not None):
            self._connection.execute(
                "select pg_advisory_xact_lock(hashtextextended(%s, 2))",
                [f"{self._place.tenant}/{name}"],
            )
        if self._made:
            glance_at_sources(self._connection, self._place, self._made)
        for script in self._made:
            self._register(script)
            with name_failing_file(script.name):
                self._prepare(script)

    def _prepare(self, script: ViewScript) -> None:
        change = self._changes.get(script.name)
        if change is None and (script.changed is not None or not script.needs & {*self._instead}):
            self._create(script, script.query_for(self._place, instead=self._instead))
            if script.changed is not None:
                fill(self._connection, self._place, script, self._instead)
                self._index(script)  # now: they are made quicker than kept
        elif change is not None and change.is_table and change.in_place:
            fill(self._connection, self._place, script, self._instead)
            self._index(script)
        elif script.changed is not None:
            fill_aside(self._connection, self._place, script, self._instead)
            self._instead[script.name] = f'pg_temp."{script.name}"'
        else:
            head = sql.SQL("create temp view {} as\n").format(sql.Identifier(script.name))
            query = script.query_for(self._place, instead=self._instead)
            self._connection.execute((head.as_string(self._connection) + query).encode())
            self._instead[script.name] = f'pg_temp."{script.name}"'

    def replace(self, attempt: Attempt) -> None:
        """Puts what was prepared in the place of what stands, in a savepoint."""
        with self._connection.transaction(), attempt.brief(self._connection):
            gone = {view.oid for view in self._views}
            again = [each for each in self._changes.values() if each.was.oid in gone or each.goes]
            rights = {
                each.script.name: privileges(self._connection, each.was.oid) for each in again
            }
            # A view has none of the options of a table.
            same = [name for name, change in self._changes.items() if not change.other_kind]
            kept = {name: options(self._connection, self._identifier(name)) for name in same}
            saved = take_down(self._connection, self._views)
            for script in self._made:
                if script.name in self._instead:
                    with name_failing_file(script.name):
                        self._replace(script, kept.get(script.name), gone)
                if script.name in rights:
                    relation = self._identifier(script.name).as_string(self._connection)
                    restore_privileges(self._connection, relation, rights[script.name])
                self._describe(script)
            self._drop_columns()
            ours = {each.was.oid for each in self._changes.values()}
            put_back(self._connection, [view for view in saved if view.oid not in ours])
            show_custom_fields(self._connection, self._place, self._custom)
            self._leave_out()

    def _replace(self, script: ViewScript, option: sql.Composable | None, gone: set[int]) -> None:
        """Makes one view, or the table that cannot be filled where it is."""
        name, change = self._identifier(script.name), self._changes.get(script.name)
        if change is not None and change.goes and change.was.oid not in gone:
            drop = sql.SQL("drop {} {}").format(sql.SQL(change.was.word), name)
            self._connection.execute(drop)
        if script.changed is None:
            query = script.query_for(self._place)
            if change is not None and not change.other_kind:
                query = change.query(query, self._connection)
            head = sql.SQL("create or replace view {}{} as\n").format(name, option or sql.SQL(""))
            self._connection.execute((head.as_string(self._connection) + query).encode())
            return
        aside = sql.Identifier("pg_temp", script.name)
        if change is None or change.other_kind:
            self._connection.execute(sql.SQL("create table {} as table {}").format(name, aside))
            self._index(script)
        else:
            self._retype(change, name, aside)
        analyze_new_tables(self._connection, self._place, script)

    def _retype(self, change: RelationChange, name: sql.Identifier, aside: sql.Identifier) -> None:
        """Gives a table's columns other types. Its rows are computed already."""
        self._connection.execute(sql.SQL("delete from {}").format(name))
        for column, kind in change.retyped_columns.items():
            self._connection.execute(
                sql.SQL("alter table {0} alter {1} type {2} using null::{2}").format(
                    name, sql.Identifier(column), type_sql(kind)
                )
            )
        columns = sql.SQL(", ").join(map(sql.Identifier, change.after))
        self._connection.execute(
            sql.SQL("insert into {0} ({1}) select {1} from {2}").format(name, columns, aside)
        )

    def _drop_columns(self) -> None:
        """Takes columns out of tables that this version has no more, and that nobody reads."""
        for change in self._changes.values():
            if change.is_table and not change.other_kind:
                for column in change.missing_columns:
                    if column not in change.keep:
                        self._connection.execute(
                            sql.SQL("alter table {} drop column {}").format(
                                self._identifier(change.script.name), sql.Identifier(column)
                            )
                        )

    def _leave_out(self) -> None:
        """Drops what this version no longer knows. What others read stays, and is told."""
        standing = relations(self._connection, self._place)
        due = {standing[name].oid: name for name in self._left_out if name in standing}
        stays: set[str] = set()
        for oid, name in due.items():
            theirs = [v for v in dependents(self._connection, [oid]) if v.oid not in due]
            if theirs or not standing[name].is_ours:
                stays.add(name)
                who = ", ".join(f"{view.name} (of {view.owner})" for view in theirs)
                log.warning(
                    "%s.%s is no part of this version and is not kept up to date. It stays because"
                    " %s: drop it when it is not needed any more",
                    self._place.schema,
                    name,
                    f"it is read by {who}" if who else f"it belongs to {standing[name].owner}",
                )
        going = [oid for oid, name in due.items() if name not in stays]
        self._dropped = [due[oid] for oid in going]
        above = [view.oid for view in dependents(self._connection, going) if view.oid in going]
        for oid in [*reversed(above), *(oid for oid in going if oid not in above)]:
            relation = standing[due[oid]]
            self._connection.execute(
                sql.SQL("drop {} {}").format(
                    sql.SQL(relation.word), self._identifier(relation.name)
                )
            )
        self._connection.execute(
            "delete from cw_sync.publication where tenant = %s and name = any(%s)",
            [self._place.tenant, [name for name in self._left_out if name not in stays]],
        )

    def _identifier(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._place.schema, name)

    def _create(self, script: ViewScript, query: str) -> None:
        """Makes what is not there yet."""
        relation, is_table = self._identifier(script.name), script.changed is not None
        kind = sql.SQL("table" if is_table else "view")
        head = sql.SQL("create {} {} as\n").format(kind, relation).as_string(self._connection)
        ending = "\nwith no data" if is_table else ""
        self._connection.execute((head + query + ending).encode())
        self._describe(script)

    def _register(self, script: ViewScript) -> None:
        entities, tables = roots(script.name)
        self._connection.execute(
            "insert into cw_sync.publication (tenant, name, digest, time_zone, is_table, entities,"
            " tables) values (%s, %s, %s, %s, %s, %s, %s) on conflict (tenant, name) do update set"
            " digest = excluded.digest, time_zone = excluded.time_zone,"
            " is_table = excluded.is_table, entities = excluded.entities,"
            " tables = excluded.tables, refreshed_at = null, changed_through = null,"
            " complete_through = null",
            [
                self._place.tenant,
                script.name,
                script.digest(self._place),
                self._place.time_zone,
                script.changed is not None,
                sorted(entities),
                sorted(tables),
            ],
        )

    def _index(self, script: ViewScript) -> None:
        """The table's indexes, and those that find what was synced lately without reading it all.

        Only what is missing: to ask for an index that is there would stop those who write.
        """
        table = self._identifier(script.name)
        there = self._connection.execute(_INDEXED, [table.as_string(self._connection)]).fetchall()
        made = [
            sql.SQL("create index on {} ({}){}").format(
                table, sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(rows)
            )
            for columns, rows in script.indexes
            if (columns,) not in there
        ]
        names = [f"{table}__synced_at" for table in script.watched_tables]
        known = self._connection.execute(
            "select relname from pg_class where relnamespace = to_regnamespace(%s)"
            " and relname = any(%s)",
            [f'"{self._place.tenant}"', names],
        ).fetchall()
        made += [
            sql.SQL("create index if not exists {} on {} (_synced_at)").format(
                sql.Identifier(f"{table}__synced_at"), sql.Identifier(self._place.tenant, table)
            )
            for table in script.watched_tables
            if (f"{table}__synced_at",) not in known
        ]
        if made:
            at_once(self._connection, made)

    def _describe(self, script: ViewScript) -> None:
        relation = self._identifier(script.name)
        kind = sql.SQL("view" if script.changed is None else "table")
        comments = [
            sql.SQL("comment on {} {} is {}").format(kind, relation, sql.Literal(script.comment))
        ]
        texts = dict(script.columns)
        change = self._changes.get(script.name)
        texts |= dict.fromkeys(change.keep if change else (), _EMPTY)
        comments += [
            sql.SQL("comment on column {}.{} is {}").format(
                relation, sql.Identifier(column), sql.Literal(text)
            )
            for column, text in texts.items()
        ]
        at_once(self._connection, comments)


def _stale(
    place: ReportingSchema, digests: Mapping[str, str], standing: Mapping[str, Relation]
) -> set[str]:
    """Names of what is not as it should be, and of everything that stands on it."""
    stale: set[str] = set()
    for script in scripts():
        unchanged = script.name in standing and digests.get(script.name) == script.digest(place)
        if not unchanged or script.needs & stale:
            stale.add(script.name)
    return stale


READER = "reporting_reader"


def grant_reader(dsn: str, tenant: str) -> str:
    """Makes the role `reporting_reader`, if need be, and lets it read the tenant's views: its name.

    It may not log in itself: grant it to the users of the BI tools. Later views are granted too.
    Raises WarehouseError if the role is missing and may not be created.
    """
    schema = sql.Identifier(reporting_schema(tenant))
    role = sql.Identifier(READER)
    with transaction(dsn) as connection:
        found = connection.execute("select from pg_roles where rolname = %s", [READER]).fetchone()
        if found is None:
            try:
                connection.execute(sql.SQL("create role {} nologin").format(role))
            except errors.InsufficientPrivilege as error:
                raise WarehouseError(
                    f"this user may not create roles: let an administrator run `create role"
                    f" {READER} nologin`, then run `migrate --reader` again"
                ) from error
        for statement in (
            "grant usage on schema {schema} to {role}",
            "alter default privileges in schema {schema} grant select on tables to {role}",
        ):
            connection.execute(sql.SQL(statement).format(schema=schema, role=role))
        may_use = connection.execute(
            "select has_schema_privilege(%s, %s, 'usage')", [READER, reporting_schema(tenant)]
        ).fetchone()
        if may_use != (True,):  # who may not grant it is told so by a notice only
            raise WarehouseError(
                f"this user may not let others use the schema {reporting_schema(tenant)}: let its"
                f" owner run `grant usage on schema {schema.as_string(connection)} to {READER}`,"
                " then run `migrate --reader` again"
            )
        _grant_functions(connection, role)
        _grant_all(connection, tenant, role)
    return READER


def _grant_functions(connection: Connection[Any], role: sql.Identifier) -> None:
    """What views of custom fields call, where an administrator took it from the public."""
    found = connection.execute(
        "select oid::regprocedure::text from pg_proc where pronamespace = 'cw_sync'::regnamespace"
        " and (proname ~ '^to_' or proname = 'is_day') and pg_has_role(proowner, 'usage')"
        " and not has_function_privilege(%s, oid, 'execute')",
        [READER],
    ).fetchall()
    for (function,) in found:
        query = sql.SQL("grant execute on function {} to {}").format(sql.SQL(function), role)
        connection.execute(query)


def _grant_all(connection: Connection[Any], tenant: str, role: sql.Identifier) -> None:
    """Not `on all tables`: one that belongs to somebody else would be an error."""
    name = reporting_schema(tenant)
    found = connection.execute(
        "select relname, relowner::regrole::text,"
        " pg_has_role(relowner, 'usage') or has_table_privilege(oid, 'select with grant option'),"
        " has_table_privilege(%s, oid, 'select')"
        " from pg_class where relnamespace = to_regnamespace(%s) and relkind in ('r', 'v', 'm')"
        " order by relname",
        [READER, f'"{name}"'],
    ).fetchall()
    for relation, owner, may_grant, is_granted in found:
        if is_granted:
            continue
        qualified = sql.Identifier(name, relation)
        if may_grant:
            connection.execute(sql.SQL("grant select on {} to {}").format(qualified, role))
        else:
            log.warning(
                "%s.%s belongs to %s, who has to let %s read it: grant select on %s to %s",
                name, relation, owner, READER, qualified.as_string(connection), READER,
            )  # fmt: skip
