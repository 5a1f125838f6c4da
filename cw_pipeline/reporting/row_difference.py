"""Writing only the rows of a reporting table that differ from what was computed anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

# Sets are grouped, not joined: nothing is known of how many rows there are, and a nested loop would
# take minutes for some thousand. No tables of their own either: with what they leave in the catalog
# they were four fifths of what a refresh wrote. Grouped by their columns: by whole rows it takes
# three times as long, and the hash of a row leaves the signs of numbers out, so that one whose 2
# became -2 stayed beside the new one. What is inserted waits for what is deleted, because of unique
# keys.
_DIFFERENCE = sql.SQL("""
with fresh as materialized (
{query}
), gone as (
    delete from {table} where ctid = any (array(
        select unnest(array_agg(_own_at)) from (
            select own.ctid as _own_at, {own} from {table} own where {concerned}
            union all select null, {columns} from fresh
        ) each group by {columns} having count(_own_at) = count(*)
    )) returning 1
), new as (
    insert into {table} ({columns}{changed_at}) select *{now} from (
        select {columns} from fresh except all select {own} from {table} own where {concerned}
    ) q where (select count(*) from gone) >= 0 returning 1
)
select (select count(*) from gone), (select count(*) from new)
""")

CHANGED_AT = "changed_at"
"""The column that says when any other one of its row last changed."""


def columns_of(connection: Connection[Any], query: str) -> list[str]:
    """The names of the columns that a query gives, in their order."""
    # `false`, not `limit 0`: then Postgres does not even plan the query.
    asked = sql.SQL("select * from (\n{}\n) q where false").format(sql.SQL(query))
    # Not prepared: after some queries it would be, and each one's columns are others.
    described = connection.execute(asked, prepare=False).description
    return [column.name for column in described or ()]


def write_difference(
    connection: Connection[Any], table: tuple[str, str], keys: Sequence[str], fresh: str
) -> int:
    """Makes the rows of the changed keys (none: all rows) those that a query computes: how many.

    `table`: its schema and name. The keys are columns of `pg_temp.changed`. A column `changed_at`
    tells no rows apart: a row that is otherwise as it was keeps its own. Columns that only the
    table has stay empty.
    """
    columns = columns_of(connection, fresh)
    names = [sql.Identifier(name) for name in columns if name != CHANGED_AT]
    stamp = sql.SQL("") if CHANGED_AT not in columns else sql.SQL(", {}")
    same = [sql.SQL("own.{0} = changed.{0}").format(sql.Identifier(name)) for name in keys]
    concerned = (
        sql.SQL("exists (select from pg_temp.changed where {})").format(sql.SQL(" and ").join(same))
        if keys
        else sql.SQL("true")
    )
    parts = {
        "table": sql.Identifier(*table),
        "query": sql.SQL(fresh),
        "columns": sql.SQL(", ").join(names),
        "own": sql.SQL(", ").join(sql.SQL("own.{}").format(name) for name in names),
        "concerned": concerned,
        "changed_at": stamp.format(sql.Identifier(CHANGED_AT)),
        "now": stamp.format(sql.SQL("now()")),
    }
    row = connection.execute(_DIFFERENCE.format(**parts)).fetchone()
    gone, new = row or (0, 0)
    return max(int(gone), int(new))
