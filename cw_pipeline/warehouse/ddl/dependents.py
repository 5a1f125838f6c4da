"""Views that stand on something that has to be made anew: taken down, and put back as they were.

Owner, definition, options, grants (grant options, grantors, columns), comments, defaults, triggers
and rules come back, and of materialized views the indexes and the rows, too.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from cw_pipeline.errors import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg import Connection

_ABOVE = """
with recursive above as (
    select r.ev_class as oid, 1 as depth
    from pg_depend d
    join pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
    where d.refclassid = 'pg_class'::regclass and d.refobjid = any(%(below)s::oid[])
        and r.ev_class <> d.refobjid
        and (%(columns)s::text[] is null or exists (select from pg_attribute a
            where a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                and a.attname = any(%(columns)s)))
    union
    select r.ev_class, above.depth + 1
    from above
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = above.oid
    join pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
    where r.ev_class <> above.oid
)
select c.oid, format('%%I.%%I', n.nspname, c.relname),
    case c.relkind when 'm' then 'materialized view' else 'view' end, c.relowner::regrole::text,
    current_user::regrole::text,
    pg_has_role(c.relowner, 'usage') and pg_has_role(c.relowner, %(act)s),
    has_schema_privilege(c.relowner, n.oid, 'create')
from (select oid, max(depth) as depth from above group by oid) a
join pg_class c on c.oid = a.oid
join pg_namespace n on n.oid = c.relnamespace
order by a.depth, c.oid
"""
_MADE = """
select format('create %%s %%I.%%I%%s as %%s%%s',
    case c.relkind when 'm' then 'materialized view' else 'view' end, n.nspname, c.relname,
    ' with (' || array_to_string(c.reloptions, ', ') || ')', rtrim(pg_get_viewdef(c.oid), ';'),
    case when c.relkind = 'm' and not c.relispopulated then ' with no data' end)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid = %(oid)s
"""
_MORE = """
select pg_get_indexdef(i.indexrelid) from pg_index i where i.indrelid = %(oid)s
union all
select format('comment on %%s %%s is %%L',
    case c.relkind when 'm' then 'materialized view' else 'view' end, c.oid::regclass,
    d.description)
from pg_description d join pg_class c on c.oid = d.objoid
where d.objoid = %(oid)s and d.classoid = 'pg_class'::regclass and d.objsubid = 0
union all
select format('comment on column %%s.%%I is %%L', d.objoid::regclass, a.attname, d.description)
from pg_description d join pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid
where d.objoid = %(oid)s and d.classoid = 'pg_class'::regclass
union all
select format('alter view %%s alter column %%I set default %%s', d.adrelid::regclass, a.attname,
    pg_get_expr(d.adbin, d.adrelid))
from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
where d.adrelid = %(oid)s
union all
select pg_get_triggerdef(t.oid) from pg_trigger t where t.tgrelid = %(oid)s and not t.tgisinternal
union all
select pg_get_ruledef(r.oid) from pg_rewrite r
where r.ev_class = %(oid)s and r.rulename <> '_RETURN'
"""
_GRANTS = """
select g.grantor::regrole::text,
    case g.grantee when 0 then 'public' else g.grantee::regrole::text end, g.privilege_type,
    g.is_grantable, a.column_name, pg_has_role(g.grantor, %(act)s)
from (
    select c.relacl as acl, null as column_name from pg_class c where c.oid = %(oid)s
    union all
    select t.attacl, quote_ident(t.attname) from pg_attribute t
    where t.attrelid = %(oid)s and t.attacl is not null and not t.attisdropped
) a
cross join lateral aclexplode(a.acl) g
"""
_SET_ROLE_IS_A_RIGHT = 160000  # the server version from which on a member may lack it


@dataclass(frozen=True, slots=True)
class Dependent:
    """A view, or materialized view, that stands on what was asked for. Names are quoted."""

    oid: int
    name: str
    kind: str
    owner: str
    us: str
    is_ours_to_remake: bool
    may_be_made: bool


@dataclass(frozen=True, slots=True)
class _Grant:
    grantor: str
    grantee: str
    privilege: str
    grantable: bool
    column: str | None
    may_act: bool

    def statement(self, name: str) -> str:
        what = f"{self.privilege} ({self.column})" if self.column else self.privilege
        option = " with grant option" if self.grantable else ""
        return f"grant {what} on {name} to {self.grantee}{option}"


@dataclass(frozen=True, slots=True)
class Privileges:
    """Who owns a relation, and what it lets others do."""

    owner: str
    granted: bool
    grants: tuple[_Grant, ...]


@dataclass(frozen=True, slots=True)
class Saved:
    """All it takes to make a view again. `oid` is the one it had."""

    oid: int
    name: str
    owner: str
    statements: tuple[str, ...]
    privileges: Privileges


def dependents(
    connection: Connection[Any], below: Sequence[int], columns: Sequence[str] | None = None
) -> list[Dependent]:
    """The views that stand on relations, or on some of their columns, each after what it reads."""
    asked = {"below": list(below), "columns": columns, "act": _act(connection)}
    return [Dependent(*row) for row in connection.execute(_ABOVE, asked)]


def refuse_strangers(views: Iterable[Dependent], what: str) -> None:
    """Raises WarehouseError if one of the views cannot be made again as it is, by us.

    `what` begins the message: what they stand on, and why it has to go.
    """
    strange = [view for view in views if not (view.is_ours_to_remake and view.may_be_made)]
    if not strange:
        return
    named = ", ".join(f"{view.name} (a {view.kind} of {view.owner})" for view in strange)
    first = strange[0]
    if not first.is_ours_to_remake:
        how = f"grant {first.owner} to {first.us}"
    else:
        how = f"grant create on schema {first.name.partition('.')[0]} to {first.owner}"
    raise WarehouseError(
        f"{what}, and what stands on it would have to be made again, which the role {first.us} may"
        f" not: {named}. Nothing was changed. Run as an administrator: {how}; or let {first.owner}"
        " drop it, and create it again after this"
    )


def take_down(connection: Connection[Any], views: Sequence[Dependent]) -> list[Saved]:
    """Drops the views, the last first: what `put_back` needs."""
    with _qualified_names(connection):
        saved = [save(connection, view) for view in views]
    for view in reversed(views):
        connection.execute(f"drop {view.kind} {view.name}".encode())
    return saved


def put_back(connection: Connection[Any], saved: Iterable[Saved]) -> None:
    """Makes the views again, as their owners. Raises WarehouseError if one does not work now."""
    for view in saved:
        with _qualified_names(connection):
            try:
                with _as(connection, view.owner):
                    for statement in view.statements:
                        connection.execute(statement.encode())
            except psycopg.ProgrammingError as error:
                said = " ".join((error.diag.message_primary or str(error)).split())
                raise WarehouseError(
                    f"{view.name} of {view.owner} does not work with the new version ({said})."
                    f" Nothing was changed. Let {view.owner} drop it, or change it so that it works"
                    " with both, and run the command again"
                ) from error
            restore_privileges(connection, view.name, view.privileges)


def save(connection: Connection[Any], view: Dependent) -> Saved:
    """What a view is. Names come out qualified inside of `take_down` only."""
    ((made,),) = connection.execute(_MADE, {"oid": view.oid}).fetchall()
    more = [row[0] for row in connection.execute(_MORE, {"oid": view.oid})]
    rights = privileges(connection, view.oid)
    return Saved(view.oid, view.name, view.owner, (made, *more), rights)


def privileges(connection: Connection[Any], oid: int) -> Privileges:
    """Owner and grants of a relation as they are now."""
    row = connection.execute(
        "select relowner::regrole::text, relacl is not null from pg_class where oid = %s", [oid]
    ).fetchone()
    assert row is not None
    grants = connection.execute(_GRANTS, {"oid": oid, "act": _act(connection)}).fetchall()
    return Privileges(row[0], row[1], tuple(_Grant(*each) for each in grants))


def restore_privileges(connection: Connection[Any], name: str, wanted: Privileges) -> None:
    """Gives a relation that was made again the owner and the grants that it had.

    A grant of somebody whose role we may not take is made by the owner.
    """
    row = connection.execute(
        "select oid, relowner::regrole::text from pg_class where oid = to_regclass(%s)", [name]
    ).fetchone()
    assert row is not None
    if row[1] != wanted.owner:
        connection.execute(f"alter table {name} owner to {wanted.owner}".encode())
    new = privileges(connection, row[0])
    with _as(connection, wanted.owner):
        # Default privileges may have given what it did not have.
        given = {grant.grantee for grant in new.grants} | {wanted.owner}
        for grantee in given if wanted.granted else given - {wanted.owner}:
            connection.execute(f"revoke all on {name} from {grantee}".encode())
    for grant in _in_order(wanted):
        grantor = grant.grantor if grant.may_act else wanted.owner
        with _as(connection, grantor):
            connection.execute(grant.statement(name).encode())


def _in_order(wanted: Privileges) -> Iterator[_Grant]:
    """Each grant after the one that its grantor's right to make it comes from."""
    able = {wanted.owner}
    ahead = list(wanted.grants)
    while ahead:
        ready = [grant for grant in ahead if grant.grantor in able] or ahead
        yield from ready
        able |= {grant.grantee for grant in ready if grant.grantable}
        ahead = [grant for grant in ahead if grant not in ready]


@contextmanager
def _as(connection: Connection[Any], role: str) -> Iterator[None]:
    """Inside the block the connection acts as the role (quoted)."""
    row = connection.execute(
        "select current_user::regrole::text, current_setting('role')"
    ).fetchone()
    assert row is not None
    if row[0] == role:
        yield
        return
    connection.execute(f"set local role {role}".encode())
    yield
    connection.execute("select set_config('role', %s, true)", [row[1]])


@contextmanager
def _qualified_names(connection: Connection[Any]) -> Iterator[None]:
    """Inside the block names come out with their schemas, and are understood so."""
    row = connection.execute(
        "select current_setting('search_path'), set_config('search_path', 'pg_catalog', true)"
    ).fetchone()
    assert row is not None
    yield
    connection.execute("select set_config('search_path', %s, true)", [row[0]])


def _act(connection: Connection[Any]) -> str:
    """The privilege that lets one take a role: `member`, and `set` where there is one."""
    return "set" if connection.info.server_version >= _SET_ROLE_IS_A_RIGHT else "member"
