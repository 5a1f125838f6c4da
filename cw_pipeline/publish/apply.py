"""Making the views: what changed, and what stands on it, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.database import create_schemas
from cw_pipeline.publish.database import at_once, transaction
from cw_pipeline.publish.glance import glance_at_sources
from cw_pipeline.publish.script import Place, roots, scripts
from cw_pipeline.publish.shown import show_custom_fields
from cw_pipeline.publish.tables import fill

if TYPE_CHECKING:
    from psycopg import Connection

    from cw_pipeline.publish.script import Script

_LOCK = 7_239_002  # any number that nothing else here uses


def publish(dsn: str, tenant: str, time_zone: str = "UTC") -> list[str]:
    """Brings the tenant's reporting schema up to this version: the views made anew.

    What is as it should be is left alone. New tables are filled at once; custom fields are shown.
    `time_zone` is an IANA name; local days follow it. Raises WarehouseError if an entity's table is
    missing (`migrate` makes those of `entities()`), or if somebody else's view stands on one that
    has to go.
    """
    place = Place(tenant, time_zone)
    with transaction(dsn) as connection:
        # Two processes starting at once must not both create.
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        create_schemas(connection, place.schema)
        stale = _stale(connection, place)
        _drop(connection, place, stale)
        made = [script for script in scripts() if script.name in stale]
        glance_at_sources(connection, place, made)
        for script in made:
            _create(connection, place, script)
        if made:
            connection.execute(
                "update cw_sync.publication set time_zone = %s where tenant = %s",
                [time_zone, tenant],
            )
        custom = show_custom_fields(connection, place)
    return [*(script.name for script in made), *custom]


def _stale(connection: Connection[Any], place: Place) -> set[str]:
    """Names of what is not as it should be, and of everything that stands on it."""
    stands = _standing(connection, place)
    rows = connection.execute(
        "select name, digest from cw_sync.publication where tenant = %s", [place.tenant]
    ).fetchall()
    published = {name: digest for name, digest in rows if name in stands}
    known = {script.name for script in scripts()}
    stale = {name for name, _ in rows if name not in known}
    for script in scripts():
        unchanged = published.get(script.name) == script.digest(place)
        if not unchanged or script.needs & stale:
            stale.add(script.name)
    return stale


def _standing(connection: Connection[Any], place: Place) -> dict[str, str]:
    """The kinds (v: view, r: table) of what is in the schema, by name."""
    rows = connection.execute(
        "select relname, relkind::text from pg_class"
        " where relnamespace = to_regnamespace(%s) and relkind in ('v', 'r')",
        [f'"{place.schema}"'],
    )
    return dict(rows.fetchall())


def _drop(connection: Connection[Any], place: Place, names: set[str]) -> None:
    """Never with cascade: what others built on a view is theirs."""
    standing = _standing(connection, place)
    doomed = [script.name for script in reversed(scripts()) if script.name in names & {*standing}]
    doomed += sorted(names & {*standing} - {*doomed})
    for name in doomed:
        kind = sql.SQL("view" if standing[name] == "v" else "table")
        connection.execute(sql.SQL("drop {} {}").format(kind, sql.Identifier(place.schema, name)))
    connection.execute(
        "delete from cw_sync.publication where tenant = %s and name = any(%s)",
        [place.tenant, list(names)],
    )


def _create(connection: Connection[Any], place: Place, script: Script) -> None:
    own = sql.Identifier(place.schema, script.name)
    kind = sql.SQL("view" if script.changed is None else "table")
    statement = sql.SQL("create {} {} as\n").format(kind, own).as_string(connection)
    ending = "" if script.changed is None else "\nwith no data"
    connection.execute((statement + script.filled(place) + ending).encode())
    _describe(connection, script, kind, own)
    entities, tables = roots(script.name)
    connection.execute(
        "insert into cw_sync.publication (tenant, name, digest, time_zone, is_table, entities,"
        " tables) values (%s, %s, %s, %s, %s, %s, %s)",
        [
            place.tenant,
            script.name,
            script.digest(place),
            place.time_zone,
            script.changed is not None,
            sorted(entities),
            sorted(tables),
        ],
    )
    if script.changed is not None:
        fill(connection, place, script)  # before its indexes: they are made quicker than kept
        _index(connection, place, script)


def _index(connection: Connection[Any], place: Place, script: Script) -> None:
    """The table's indexes, and those that find what was synced lately without reading it all."""
    own = sql.Identifier(place.schema, script.name)
    made = [
        sql.SQL("create index on {} ({})").format(
            own, sql.SQL(", ").join(map(sql.Identifier, columns.split(", ")))
        )
        for columns in script.indexes
    ]
    made += [
        sql.SQL("create index if not exists {} on {} (_synced_at)").format(
            sql.Identifier(f"{table}__synced_at"), sql.Identifier(place.tenant, table)
        )
        for table in script.watched
    ]
    at_once(connection, made)


def _describe(
    connection: Connection[Any], script: Script, kind: sql.Composable, own: sql.Identifier
) -> None:
    told = [sql.SQL("comment on {} {} is {}").format(kind, own, sql.Literal(script.comment))]
    told += [
        sql.SQL("comment on column {}.{} is {}").format(
            own, sql.Identifier(column), sql.Literal(text)
        )
        for column, text in script.columns.items()
    ]
    at_once(connection, told)
