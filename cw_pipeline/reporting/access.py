"""Who sees what: the schema of the clients, whose views show a role the rows that it may see.

`reporting.access` says which client a role is for. The views of `client_reporting` filter by it,
with the caller's own name, behind a security barrier; which views and columns there are is a
positive list, `sql/client_reporting.toml`. Whoever may read `reporting` itself is not filtered.
"""

from __future__ import annotations

import logging
import tomllib
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from psycopg import errors, sql
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from typing_extensions import override

from cw_pipeline.errors import ConfigError, WarehouseError
from cw_pipeline.paths import SQL
from cw_pipeline.reporting.as_of import as_of_schema
from cw_pipeline.reporting.database import at_once, transaction
from cw_pipeline.reporting.script import ReportingSchema, ViewScript, reporting_schema, scripts
from cw_pipeline.reporting.standing import changes, refuse_foreign, relations, to_take_down
from cw_pipeline.warehouse.connections import create_schemas
from cw_pipeline.warehouse.ddl import patiently
from cw_pipeline.warehouse.ddl.dependents import (
    privileges,
    put_back,
    restore_privileges,
    take_down,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from psycopg import Connection

    from cw_pipeline.reporting.standing import RelationChange
    from cw_pipeline.warehouse.ddl import Attempt, Patience

log = logging.getLogger(__name__)

_LIST = SQL / "client_reporting.toml"
_LOCK = 7_239_004  # any number that nothing else uses: of two that start at once one creates
_WHAT = "publishing the clients' schema"

_ACCESS = """
create table if not exists {access} (
    role_name text not null,
    company_id bigint check (company_id > 0),
    location_id bigint,
    department_id bigint,
    by_setting boolean not null default false
        check (by_setting = (coalesce(company_id, location_id, department_id) is null)),
    unique nulls not distinct (role_name, company_id, location_id, department_id)
);
comment on table {access} is 'One row per client, location or department that a role of the schema {clients} may see. What a row leaves empty it does not restrict; several rows of a role add up. Rows may be written by hand, and count at once';
comment on column {access}.role_name is 'The role that asks, as current_user has it: membership of it is not enough';
comment on column {access}.company_id is 'Client whose rows it sees; empty: of any client, at the location or department';
comment on column {access}.location_id is 'Our location whose facts it sees; where no client is named, with the names of all clients';
comment on column {access}.department_id is 'Our department whose facts it sees; where no client is named, with the names of all clients';
comment on column {access}.by_setting is 'The settings cw.company, cw.location and cw.department of the session name them, several with commas; what is not set does not restrict, but without company and place there are no rows. For the login of a server that lets nobody send SQL of their own'
"""  # noqa: E501 - one comment, one line
_ALLOWED_COMPANY = """-- One row per client whose rows the role that asks may see. Source: access.
select
    a.company_id as company_id -- client
from {access} a
where a.role_name = current_user::text and a.company_id is not null
    and a.location_id is null and a.department_id is null
union
select s.id::bigint
from {access} a
cross join lateral {company} s (id)
where a.role_name = current_user::text and a.by_setting and s.id::bigint > 0
    and nullif(current_setting('cw.location', true), '') is null
    and nullif(current_setting('cw.department', true), '') is null
"""
_ALLOWED_PLACE = """-- One row per location or department whose facts the role that asks may see.
-- Source: access.
select
    a.company_id as company_id, -- client; empty: any
    a.location_id as location_id, -- our location; empty: any
    a.department_id as department_id -- our department; empty: any
from {access} a
where a.role_name = current_user::text and coalesce(a.location_id, a.department_id) is not null
union
select c.id::bigint, l.id::bigint, d.id::bigint
from {access} a
cross join lateral {company} c (id)
cross join lateral {location} l (id)
cross join lateral {department} d (id)
where a.role_name = current_user::text and a.by_setting and coalesce(l.id, d.id) is not null
    and (c.id is null or c.id::bigint > 0)
"""
# The ids of a setting, a row each; one row without an id where it is not set.
_NAMED = (
    "unnest(coalesce(string_to_array(nullif(current_setting('cw.{0}', true), ''), ','),"
    " array[null::text]))"
)
_SHARED = """-- {comment}
select
{shown}
from {reporting}.{view} v
"""
_DIMENSION = """-- {comment}
select
{shown}
from {reporting}.{view} v
where v.company_id = {allowed} or v.{own} = -1
    or v.company_id = any(array(select p.company_id from {clients}.allowed_place p))
    or exists (select from {clients}.allowed_place p where p.company_id is null)
"""
# Whoever sees a place has no business with the tickets of others: only with those of that place.
_DIMENSION_OF_FACT = """-- {comment}
select
{shown}
from {reporting}.{view} v
where v.company_id = {allowed} or v.{own} = -1
    or exists (select from {clients}.allowed_place) and v.{own} in (
        select f.{own} from {reporting}.{fact} f
        where exists (select from {clients}.allowed_place p where {fact_at_place})
    )
"""
# The second part runs only for roles that have a place: a condition with `or` would read the whole
# view for a client, whom an index serves. The outer select is what the barrier stands around: of a
# view that is a union all itself PostgreSQL evaluates a caller's function on rows of everybody.
_FACT = """-- {comment}
select {names} from (
select
{shown}
from {reporting}.{view} v
where v.company_id = {allowed}{narrowed}
union all
select
{shown}
from {reporting}.{view} v
where exists (select from {clients}.allowed_place)
    and exists (select from {clients}.allowed_place p where {at_place})
    and (v.company_id = {allowed}) is not true
) seen
"""
_ALLOWED = "any(array(select a.company_id from {clients}.allowed_company a))"
_BY_INDEX = (
    " and v.{key} in (select k.{key} from {reporting}.{table} k where k.company_id = {allowed})"
)
_GIVE = """
insert into {access} (role_name, company_id, location_id, department_id, by_setting)
values (%s, %s, %s, %s, %s) on conflict do nothing
"""
_STATE = """
select to_regclass(%(access)s) is not null, obj_description(to_regnamespace(%(clients)s)::oid,
    'pg_namespace'), to_regnamespace(%(clients)s) is not null
"""
_ROLES = """
select distinct r.rolname, has_schema_privilege(r.oid, to_regnamespace(%s)::oid, 'usage')
from {access} a join pg_roles r on r.rolname = a.role_name order by 1
"""
_SEES_ALL = """
select g.rolname, n.nspname || '.' || c.relname
from pg_roles r
join pg_roles g on pg_has_role(r.oid, g.oid, 'member')
join pg_class c on c.relkind in ('r', 'v', 'm', 'p')
join pg_namespace n on n.oid = c.relnamespace
where r.rolname = %(role)s and n.nspname = any(%(schemas)s)
    and has_schema_privilege(g.oid, n.oid, 'usage')
    and (has_table_privilege(g.oid, c.oid, 'select')
        or has_any_column_privilege(g.oid, c.oid, 'select'))
order by g.rolname <> r.rolname, 1, 2 limit 1
"""
_SEEN = """
select a.by_setting, a.company_id, c.company_name, a.location_id, l.location_name,
    a.department_id, d.department_name
from {access} a
left join {reporting}.dim_company c using (company_id)
left join {reporting}.dim_location l using (location_id)
left join {reporting}.dim_department d using (department_id)
where a.role_name = %s order by a.company_id, a.location_id, a.department_id
"""


class _Listed(BaseModel):
    """A view as the list has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Literal["client", "all"]
    columns: list[str]
    own: str | None = None
    fact: str | None = None
    by: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """What a role may see: clients, or our locations and departments, or what a setting says."""

    companies: tuple[int, ...] = ()
    locations: tuple[int, ...] = ()
    departments: tuple[int, ...] = ()
    by_setting: bool = False

    @property
    def rows(self) -> list[tuple[int | None, int | None, int | None, bool]]:
        """Its rows of `access`: each client at each place."""
        if self.by_setting:
            return [(None, None, None, True)]
        return [
            (company, location, department, False)
            for company in self.companies or (None,)
            for location in self.locations or (None,)
            for department in self.departments or (None,)
        ]


@dataclass(frozen=True, slots=True)
class ClientSchema(ReportingSchema):
    """Where the clients' views of a tenant go."""

    @property
    @override
    def schema(self) -> str:
        """`client_reporting` for the default tenant, `<schema>_client_reporting` for another."""
        name = reporting_schema(self.tenant)
        return f"{name.removesuffix('reporting')}client_reporting"

    @property
    def access(self) -> str:
        """The table that says who sees what, quoted."""
        return f'"{reporting_schema(self.tenant)}"."access"'


@cache
def listed_views() -> Mapping[str, _Listed]:
    """The views that clients see, by name. Raises ConfigError for a list that makes no sense."""
    try:
        listed = tomllib.loads(_LIST.read_text("utf-8"))
        return TypeAdapter(dict[str, _Listed]).validate_python(listed)
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(f"sql/{_LIST.name}: {error}") from error


def publish_clients(
    dsn: str, tenant: str, patience: Patience | None = None, *, create: bool = False
) -> list[str]:
    """Brings the clients' schema up to this version, if there is one: the views made anew.

    With `create` it is made. `reporting.access` is made in any case. Privileges that others
    granted, and views that they built, stay. Raises WarehouseError or WarehouseLocked.
    """
    place = ClientSchema(tenant)
    connect = partial(transaction, dsn)

    def make(attempt: Attempt) -> list[str]:
        with connect() as connection:
            state = {"access": place.access, "clients": f'"{place.schema}"'}
            row = connection.execute(_STATE, state).fetchone()
            assert row is not None
            has_access, edition, exists = row
            if has_access and not (exists or create):
                return []
            with attempt.brief(connection, _LOCK):
                if not has_access:
                    text = _ACCESS.format(access=place.access, clients=place.schema)
                    connection.execute(text.encode())
                return _publish(connection, place, edition) if exists or create else []

    return patiently(make, connect, _WHAT, patience)


def _publish(connection: Connection[Any], place: ClientSchema, edition: str | None) -> list[str]:
    """Makes what is missing or has changed, and lets the roles read it."""
    create_schemas(connection, place.schema)
    wanted = client_scripts(place)
    standing = relations(connection, place)
    digest = sha256("\n".join(script.query for script in wanted).encode()).hexdigest()[:16]
    comment = f"What clients may see, by {place.access}. Edition {digest}"
    due = [script for script in wanted if edition != comment or script.name not in standing]
    if due:
        refuse_foreign([standing[s.name] for s in due if s.name in standing], place)
        found = changes(connection, place, due, standing)
        views = to_take_down(connection, found.values())
        saved = take_down(connection, views)
        gone = {view.oid for view in views}
        for script in due:
            _make(connection, place, script, found.get(script.name), gone)
        ours = {change.was.oid for change in found.values()}
        put_back(connection, [view for view in saved if view.oid not in ours])
        at_once(
            connection,
            [
                sql.SQL("comment on schema {} is {}").format(
                    sql.Identifier(place.schema), sql.Literal(comment)
                )
            ],
        )
    _let_read(connection, place, [s.name for s in due if s.name not in standing])
    return [script.name for script in due]


def _make(
    connection: Connection[Any],
    place: ClientSchema,
    script: ViewScript,
    change: RelationChange | None,
    gone: Collection[int],
) -> None:
    """Creates or replaces one view, with the privileges that it has."""
    view = sql.Identifier(place.schema, script.name)
    rights = None
    query = script.query
    if change is not None and (change.was.oid in gone or change.goes):
        rights = privileges(connection, change.was.oid) if change.was.oid not in gone else None
        connection.execute(sql.SQL("drop view if exists {}").format(view))
    elif change is not None:
        query = change.query(query, connection)
    head = sql.SQL("create or replace view {} with (security_barrier) as\n").format(view)
    connection.execute((head.as_string(connection) + query).encode())
    if rights is not None:
        restore_privileges(connection, view.as_string(connection), rights)
    comments = [sql.SQL("comment on view {} is {}").format(view, sql.Literal(script.comment))]
    comments += [
        sql.SQL("comment on column {}.{} is {}").format(
            view, sql.Identifier(column), sql.Literal(text)
        )
        for column, text in script.columns.items()
    ]
    at_once(connection, comments)


def _let_read(connection: Connection[Any], place: ClientSchema, new: Iterable[str]) -> None:
    """Roles that are new in `access` may read all views, the others the new ones.

    What an administrator has taken from a role again is not given back.
    """
    query = _ROLES.format(access=place.access).encode()
    roles = connection.execute(query, [f'"{place.schema}"']).fetchall()
    schema = sql.Identifier(place.schema)
    for name, knows_schema in roles:
        role = sql.Identifier(name)
        if not knows_schema:
            connection.execute(sql.SQL("grant usage on schema {} to {}").format(schema, role))
        for view in new if knows_schema else [*relations(connection, place)]:
            relation = sql.Identifier(place.schema, view)
            connection.execute(sql.SQL("grant select on {} to {}").format(relation, role))


def client_scripts(place: ClientSchema) -> list[ViewScript]:
    """The views of the clients' schema, those first that the others read.

    A view or column that is listed and not there, in a site's own version of a view, is left out
    with a warning.
    """
    texts = {"allowed_company": _ALLOWED_COMPANY, "allowed_place": _ALLOWED_PLACE}
    settings = {name: _NAMED.format(name) for name in ("company", "location", "department")}
    made = [
        ViewScript(name, text.format(access=place.access, **settings))
        for name, text in texts.items()
    ]
    known = {script.name: script for script in scripts()}
    for name, listed in listed_views().items():
        base = known.get(name)
        lacking = [c for c in listed.columns if base is None or c not in base.columns]
        if lacking:
            log.warning(
                "sql/%s lists %s of %s, which sql/reporting does not have: clients do not see it",
                _LIST.name, ", ".join(lacking), name,
            )  # fmt: skip
        columns = [column for column in listed.columns if column not in lacking]
        fact = known.get(listed.fact or name)
        if base is not None and fact is not None and columns:
            made.append(ViewScript(name, _client_query(place, base, fact, listed, columns)))
    return made


def _client_query(
    place: ClientSchema, base: ViewScript, fact: ViewScript, listed: _Listed, columns: list[str]
) -> str:
    """The SQL of one view, comments included. `fact`: what decides who at a place sees a row."""
    shown = [f"    v.{column} as {column}, -- {base.columns[column]}" for column in columns]
    shown[-1] = shown[-1].replace(", --", " --", 1)
    dimension = _DIMENSION if listed.fact is None else _DIMENSION_OF_FACT
    template = {"all": _SHARED, "client": _FACT if listed.own is None else dimension}[listed.rows]
    table, key = listed.by or ("", "")
    names = {
        "comment": base.comment,
        "shown": "\n".join(shown),
        "names": ", ".join(columns),
        "reporting": f'"{reporting_schema(place.tenant)}"',
        "clients": f'"{place.schema}"',
        "view": base.name,
        "own": listed.own,
        "key": key,
        "table": table,
        "fact": listed.fact,
        "at_place": _at_place("v", base),
        "fact_at_place": _at_place("f", fact),
    }
    allowed = _ALLOWED.format(**names)
    narrowed = _BY_INDEX.format(allowed=allowed, **names) if listed.by else ""
    return template.format(allowed=allowed, narrowed=narrowed, **names)


def _at_place(rows: str, view: ViewScript) -> str:
    """The condition that a row of a view is at the place `p`."""
    return " and ".join(
        f"(p.{column} is null or p.{column} = {rows}.{column})"
        if column in view.columns
        else f"p.{column} is null"
        for column in ("company_id", "location_id", "department_id")
    )


def grant_client(dsn: str, tenant: str, role: str, sight: Sight) -> list[str]:
    """Lets a role see what `sight` says, and what it saw before: the names of its clients.

    The role is made if need be, without a right to log in. Raises WarehouseError if it may not be
    made, or if it can read our own schemas, where nothing is filtered.
    """
    place = ClientSchema(tenant)
    publish_clients(dsn, tenant)
    with transaction(dsn) as connection:
        _make_role(connection, role)
        _refuse_all_seeing(connection, place, role)
        for row in sight.rows:
            connection.execute(_GIVE.format(access=place.access).encode(), [role, *row])
    publish_clients(dsn, tenant, create=True)
    with transaction(dsn) as connection:
        return _clients(connection, place, role)


def _make_role(connection: Connection[Any], role: str) -> None:
    found = connection.execute("select from pg_roles where rolname = %s", [role]).fetchone()
    if found is not None:
        return
    name = sql.Identifier(role)
    try:
        connection.execute(sql.SQL("create role {} nologin").format(name))
    except errors.InsufficientPrivilege as error:
        raise WarehouseError(
            f"this user may not create roles: let an administrator run `create role"
            f" {name.as_string(connection)} nologin`, then run this command again"
        ) from error


def _refuse_all_seeing(connection: Connection[Any], place: ClientSchema, role: str) -> None:
    """Raises WarehouseError for a role to which a filter of ours means nothing."""
    tenant = place.tenant
    ours = (reporting_schema(tenant), as_of_schema(tenant), tenant)
    asked = {"role": role, "schemas": [*ours, "cw_sync"]}
    found = connection.execute(_SEES_ALL, asked).fetchone()
    if found is None:
        return
    by, relation = found
    how = "it" if by == role else f"the role {by}, of which it is a member,"
    raise WarehouseError(
        f"the role {role} is no role for a client: {how} may read {relation}, where the rows of all"
        " clients are. Take that away, or choose another role. Nothing was changed"
    )


def _clients(connection: Connection[Any], place: ClientSchema, role: str) -> list[str]:
    """What a role sees, in words."""
    query = _SEEN.format(access=place.access, reporting=f'"{reporting_schema(place.tenant)}"')
    said = []
    for by_setting, *found in connection.execute(query.encode(), [role]).fetchall():
        parts = [
            f"{kind} {number} ({name or 'which the warehouse does not know'})"
            for kind, (number, name) in zip(
                ("client", "location", "department"),
                zip(found[::2], found[1::2], strict=True),
                strict=True,
            )
            if number is not None
        ]
        said.append(
            "what cw.company, cw.location and cw.department name"
            if by_setting
            else " at ".join(parts)
        )
    return said
