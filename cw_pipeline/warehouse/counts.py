"""How many live rows a table has, kept beside it: counting a million of them takes seconds.

What a transaction adds or takes out is noted in that transaction, so the sum is right whatever is
killed, and whoever else writes. Rows changed by hand are found by the next reconcile, which counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from psycopg import Connection

    from cw_pipeline.model import Entity

# Notes stay until there is a count to add them to.
_SUM = """
with counted as (
    select from cw_sync.checkpoint
    where tenant = %(tenant)s and entity = %(entity)s and row_count is not null
), noted as (
    delete from cw_sync.row_change
    where tenant = %(tenant)s and entity = %(entity)s and exists (select from counted)
    returning change
), summed as (
    update cw_sync.checkpoint set row_count = row_count + (select sum(change) from noted)
    where tenant = %(tenant)s and entity = %(entity)s and exists (select from noted)
    returning row_count
)
select row_count from summed
union all
select row_count from cw_sync.checkpoint
where tenant = %(tenant)s and entity = %(entity)s and not exists (select from noted)
"""

# One statement: what it counts is what it forgets the notes of.
_COUNT = """
with noted as (
    delete from cw_sync.row_change where tenant = %(tenant)s and entity = %(entity)s
), counted as (
    select count(*) as rows from {table} where _deleted_at is null
), kept as (
    update cw_sync.checkpoint set row_count = counted.rows from counted
    where tenant = %(tenant)s and entity = %(entity)s
)
select rows from counted
"""


def add_row_change(connection: Connection[Any], tenant: str, entity: Entity, change: int) -> None:
    """Notes that the table has grown by so many live rows, in the transaction that did it."""
    if change:
        connection.execute(
            "insert into cw_sync.row_change (tenant, entity, change) values (%s, %s, %s)",
            [tenant, entity.name, change],
        )


def row_count(connection: Connection[Any], tenant: str, entity: Entity) -> int:
    """How many there are by what was noted since they were counted; counted if they never were."""
    row = connection.execute(_SUM, _key(tenant, entity)).fetchone()
    return count(connection, tenant, entity) if row is None or row[0] is None else int(row[0])


def count(connection: Connection[Any], tenant: str, entity: Entity) -> int:
    """Counts them, and remembers that."""
    query = sql.SQL(_COUNT).format(table=sql.Identifier(tenant, entity.table))
    row = connection.execute(query, _key(tenant, entity)).fetchone()
    assert row is not None
    return int(row[0])


def _key(tenant: str, entity: Entity) -> dict[str, str]:
    return {"tenant": tenant, "entity": entity.name}
