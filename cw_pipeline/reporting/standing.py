"""What stands in the reporting schema, and how it is brought to what it should be.

In place wherever the columns allow it: privileges, and views that others built, are not touched
then. A view keeps its columns in their order and gains new ones at its end; a table is filled
again while others go on reading it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting.database import name_failing_file
from cw_pipeline.reporting.script import scripts
from cw_pipeline.warehouse.ddl.dependents import Dependent, dependents, refuse_strangers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from psycopg import Connection

    from cw_pipeline.reporting.script import ReportingSchema, ViewScript

_RELATIONS = """
select c.relname, c.oid, c.relkind::text, c.relowner::regrole::text,
    current_user::regrole::text, pg_has_role(c.relowner, 'usage')
from pg_class c
where c.relnamespace = to_regnamespace(%s) and c.relkind in ('v', 'r')
"""
_COLUMNS = """
select a.attname, format_type(a.atttypid, a.atttypmod) || coalesce(
    (select format(' collate %%I.%%I', n.nspname, l.collname) from pg_collation l
     join pg_namespace n on n.oid = l.collnamespace
     where l.oid = a.attcollation and l.collname <> 'default'), '')
from pg_attribute a where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""

Columns = dict[str, str]
"""Types by name, in order."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A view or table that is there. Roles are quoted."""

    name: str
    oid: int
    kind: str
    owner: str
    us: str
    is_ours: bool

    @property
    def word(self) -> str:
        """What SQL calls it."""
        return "view" if self.kind == "v" else "table"


@dataclass(slots=True)
class RelationChange:
    """What becomes of one relation that is there and has to change."""

    script: ViewScript
    was: Relation
    before: Columns
    after: Columns
    keep: list[str] = field(default_factory=list)
    """Columns that this version has no more, and that others' views may read."""
    strangers: list[Dependent] = field(default_factory=list)
    """These views."""

    @property
    def new_columns(self) -> Columns:
        """Columns that are new."""
        return {name: kind for name, kind in self.after.items() if name not in self.before}

    @property
    def missing_columns(self) -> list[str]:
        """Columns that this version has no more."""
        return [name for name in self.before if name not in self.after]

    @property
    def retyped_columns(self) -> Columns:
        """Columns of another type than before."""
        return {
            name: kind for name, kind in self.after.items() if self.before.get(name, kind) != kind
        }

    @property
    def is_table(self) -> bool:
        """Whether it is to be a table."""
        return self.script.changed is not None

    @property
    def other_kind(self) -> bool:
        """Whether a view becomes a table, or a table a view."""
        return self.is_table != (self.was.kind == "r")

    @property
    def goes(self) -> bool:
        """Whether the relation itself is dropped, and made again."""
        return self.other_kind or (not self.is_table and not self.in_place)

    @property
    def in_place(self) -> bool:
        """Whether nothing that stands on it has to go."""
        gone = set(self.missing_columns) - {*self.keep}
        return not (self.other_kind or self.retyped_columns or (gone and not self.is_table))

    def query(self, query: str, connection: Connection[Any]) -> str:
        """The view's query with the columns it had, in their order, and the new ones behind."""
        stay = {*self.after, *self.keep}
        names = [*(name for name in self.before if name in stay), *self.new_columns]
        if names == [*self.after]:
            return query
        shown = [
            sql.Identifier(name)
            if name in self.after
            else sql.SQL("null::{} as {}").format(type_sql(self.before[name]), sql.Identifier(name))
            for name in names
        ]
        head = sql.SQL("select {} from (\n").format(sql.SQL(", ").join(shown))
        return f"{head.as_string(connection)}{query}\n) q"


def relations(connection: Connection[Any], place: ReportingSchema) -> dict[str, Relation]:
    """What is in the schema, by name."""
    rows = connection.execute(_RELATIONS, [f'"{place.schema}"'])
    return {row[0]: Relation(*row) for row in rows.fetchall()}


def refuse_foreign(found: Iterable[Relation], place: ReportingSchema) -> None:
    """Raises WarehouseError if one of what has to change belongs to a role that we are not."""
    foreign = [relation for relation in found if not relation.is_ours]
    if foreign:
        named = ", ".join(
            f"{place.schema}.{relation.name} ({relation.owner})" for relation in foreign
        )
        first = foreign[0]
        raise WarehouseError(
            f"views of this version belong to others: {named}. Nothing was changed. Run as an"
            f" administrator: grant {first.owner} to {first.us}; or alter {first.word}"
            f" {place.schema}.{first.name} owner to {first.us}"
        )


def changes(
    connection: Connection[Any],
    place: ReportingSchema,
    made: Iterable[ViewScript],
    standing: Mapping[str, Relation],
) -> dict[str, RelationChange]:
    """How each of the scripts that is there already will change, by name."""
    due = [script for script in made if script.name in standing]
    found: dict[str, RelationChange] = {}
    if due:
        instead: dict[str, str] = {}
        with connection.transaction(force_rollback=True):
            for script in made:
                head = sql.SQL("create temp view {} as\n").format(sql.Identifier(script.name))
                query = script.query_for(place, instead=instead)
                with name_failing_file(script.name):
                    connection.execute((head.as_string(connection) + query).encode())
                instead[script.name] = f'pg_temp."{script.name}"'
            for script in due:
                was = standing[script.name]
                after = _columns(connection, f'pg_temp."{script.name}"')
                before = _columns(connection, f'"{place.schema}"."{script.name}"')
                found[script.name] = RelationChange(script, was, before, after)
    ours = {standing[script.name].oid for script in scripts() if script.name in standing}
    for change in found.values():
        if change.missing_columns:
            _keep(connection, change, ours)
    return found


def _keep(connection: Connection[Any], change: RelationChange, ours: set[int]) -> None:
    """Of the columns that go those must stay, empty, that others' views stand on.

    From a view nothing can be taken while anything stands on it.
    """
    for column in change.missing_columns:
        asked = [column] if change.is_table else None
        views = dependents(connection, [change.was.oid], asked)
        if theirs := [view for view in views if view.oid not in ours]:
            change.keep.append(column)
            change.strangers = theirs


def to_take_down(connection: Connection[Any], found: Iterable[RelationChange]) -> list[Dependent]:
    """What stands on relations that cannot change in place. Raises WarehouseError, see `ddl`."""
    due = [change for change in found if not change.in_place]
    views = dependents(connection, [change.was.oid for change in due])
    reasons = ", ".join(
        f"{change.script.name} becomes a {'table' if change.is_table else 'view'}"
        if change.other_kind
        else f"columns of {change.script.name} change their types"
        for change in due
    )
    refuse_strangers(views, f"{reasons} in this version")
    return views


def _columns(connection: Connection[Any], name: str) -> Columns:
    row = connection.execute("select to_regclass(%s)::oid", [name]).fetchone()
    return dict(connection.execute(_COLUMNS, [row[0] if row else None]).fetchall())


def type_sql(kind: str) -> sql.SQL:
    """A type as `format_type` spelled it."""
    return sql.SQL(kind)
