"""Fields that became columns of this warehouse: stored as data, so that every process has them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.catalog.promotion import Place, place
from cw_pipeline.errors import ConfigError, WarehouseError
from cw_pipeline.model import Column, Entity, Kind
from cw_pipeline.warehouse import columns
from cw_pipeline.warehouse.columns import TYPED, add_column, kind_of, widen_column
from cw_pipeline.warehouse.ddl import patiently
from cw_pipeline.warehouse.history import as_stored, widen_history
from cw_pipeline.warehouse.lease import PURPOSES, fence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.warehouse import Database
    from cw_pipeline.warehouse.ddl import Attempt


@dataclass(frozen=True, slots=True)
class SchemaDriftEntry:
    """A field that the catalog does not know, or values of one that had to be mended."""

    entity: str
    field: str
    change: str
    first_seen: datetime
    last_seen: datetime
    sample: str


def schema_drift(connection: Connection[Any], tenant: str) -> list[SchemaDriftEntry]:
    """What came back and is not as the catalog says."""
    rows = connection.execute(
        'select entity, "column", change, first_seen, last_seen, sample from cw_sync.column_drift'
        ' where tenant = %s order by entity, "column", change',
        [tenant],
    )
    return [SchemaDriftEntry(*row) for row in rows]


def promotions(connection: Connection[Any], tenant: str) -> dict[str, list[Column]]:
    """The promoted columns of each entity that has some, in the order they came."""
    rows = connection.execute(
        "select entity, column_name, path, kind from cw_sync.promoted_column"
        " where tenant = %s order by promoted_at, path",
        [tenant],
    )
    by_entity: dict[str, list[Column]] = {}
    for entity, name, path, kind in rows:
        by_entity.setdefault(entity, []).append(Column(name, tuple(path), Kind(kind)))
    return by_entity


def entities_with_promotions(
    connection: Connection[Any], tenant: str, entities: Iterable[Entity]
) -> list[Entity]:
    """The entities with the columns promoted in this warehouse, and those kept of versions."""
    rows = connection.execute(
        "select entity, column_name, path, kind, promoted_at from cw_sync.promoted_column"
        " where tenant = %(tenant)s union all"
        " select entity, column_name, null, null, null from cw_sync.history_column"
        " where tenant = %(tenant)s order by promoted_at, path",
        {"tenant": tenant},
    )
    promoted: dict[str, list[tuple[str, Sequence[str], str]]] = {}
    versioned: dict[str, list[str]] = {}
    for entity, name, path, kind, _ in rows:
        if path is None:
            versioned.setdefault(entity, []).append(name)
        else:
            promoted.setdefault(entity, []).append((name, path, kind))
    return [
        as_stored(each, promoted.get(each.name, ()), versioned.get(each.name, ()))
        for each in entities
    ]


def keep(connection: Connection[Any], tenant: str, entity: str, column: Column) -> None:
    """Stores a promotion; `column.path` leads to the field from the record's root."""
    connection.execute(
        "insert into cw_sync.promoted_column (tenant, entity, path, column_name, kind)"
        " values (%s, %s, %s, %s, %s) on conflict (tenant, entity, path)"
        " do update set kind = excluded.kind",
        [tenant, entity, list(column.path), column.name, column.kind],
    )
    connection.execute(
        'delete from cw_sync.column_drift where tenant = %s and entity = %s and "column" = %s'
        " and change = 'unknown field'",
        [tenant, entity, ".".join(column.path)],
    )


Path = tuple[str, ...]

_EMPTY_IS_NULL = (Kind.NUMERIC, Kind.TIMESTAMPTZ, Kind.DATE)


@dataclass(frozen=True, slots=True)
class Samples:
    """How many of a field's stored values are what. `blank` are empty texts, not counted else."""

    values: int
    blank: int
    booleans: int
    integers: int
    numbers: int
    days: int
    instants: int
    texts: int
    objects: int
    scalars: int

    def kind(self) -> Kind:
        """The narrowest kind that holds every one of them exactly."""
        filled = self.values - self.blank
        if not filled:
            return Kind.TEXT
        exact = {
            Kind.BOOLEAN: self.booleans,
            Kind.BIGINT: self.integers,
            Kind.NUMERIC: self.numbers,
            Kind.DATE: self.days,
            Kind.TIMESTAMPTZ: self.instants,
            Kind.TEXT: self.scalars,
        }
        # A blank has no place in a column of numbers or flags; beside a date it stays in `_extra`.
        blanks = {Kind.DATE, Kind.TIMESTAMPTZ, Kind.TEXT} if self.blank else set(exact)
        return next((k for k, n in exact.items() if n == filled and k in blanks), Kind.JSONB)


class StoredFields:
    """What may be done to an entity's columns, in one transaction: `exclusive_fields`."""

    def __init__(self, connection: Connection[Any], tenant: str, entity: Entity) -> None:
        self._connection = connection
        self._catalogued = entity
        self.tenant = tenant

    @property
    def entity(self) -> Entity:
        """The entity with the columns that were promoted until now."""
        (promoted,) = entities_with_promotions(self._connection, self.tenant, [self._catalogued])
        return promoted

    @contextmanager
    def brief(self, attempt: Attempt) -> Iterator[None]:
        """Inside the block nobody who reads the table waits behind us; see `ddl`."""
        with attempt.brief(self._connection):
            yield

    def is_promoted(self, path: Path) -> bool:
        """Whether the field at `path` became a column here, rather than in the catalog."""
        known = promotions(self._connection, self.tenant)
        return any(column.path == path for column in known.get(self._catalogued.name, []))

    def has_table(self, table: str) -> bool:
        """Whether the table is there."""
        return kind_of(self._connection, (self.tenant, table), "_extra") is not None

    def samples(self, table: str, path: Path) -> Samples:
        """What all stored values of a field are."""
        query = sql.SQL(
            "select count(*), count(*) filter (where blank), count(cw_sync.to_boolean(v)),"
            " count(cw_sync.to_bigint(v)) filter (where v::text !~ '[.eE]'),"
            " count(*) filter (where of = 'number'),"
            " count(*) filter (where cw_sync.is_day(v)), count(cw_sync.to_instant(v)),"
            " count(*) filter (where of = 'string' and not blank),"
            " count(*) filter (where of = 'object'),"
            " count(cw_sync.to_scalar_text(v)) filter (where not blank) from {values}"
        ).format(values=_values(self.tenant, table))
        row = self._connection.execute(query, {"path": list(path)}).fetchone()
        assert row is not None
        return Samples(*row)

    def keys_below(self, table: str, path: Path) -> list[str]:
        """The keys that the objects at `path` have; their links are no data."""
        query = sql.SQL(
            "select distinct jsonb_object_keys(v) as key from {values} where of = 'object'"
            " order by key"
        ).format(values=_values(self.tenant, table))
        rows = self._connection.execute(query, {"path": list(path)})
        return [row[0] for row in rows if row[0] != "_info"]

    def misfits(self, table: str, column: Column) -> tuple[int, str | None]:
        """How many stored values of a field `column` cannot hold, and one of them as JSON."""
        blank = sql.SQL(" and not blank" if column.kind in _EMPTY_IS_NULL else "")
        query = sql.SQL(
            "select count(*), (min(v::text)) from {values} where {typed} is null{blank}"
        ).format(values=_values(self.tenant, table), typed=TYPED[column.kind], blank=blank)
        row = self._connection.execute(query, {"path": list(column.path)}).fetchone()
        assert row is not None
        return row[0], row[1]

    def add(self, table: str, column: Column, path: Path) -> int:
        """Adds a column and fills it: how many rows got a value. `path` is from the record's root.

        The promotion is stored, and every process has the column from then on.
        """
        add_column(self._connection, (self.tenant, table), column.name, column.kind)
        return self._keep_promotion(table, column, path)

    def widen(self, table: str, column: Column, path: Path) -> int:
        """Gives a promoted column a wider kind, and what fits by it. Raises WarehouseError."""
        widen_column(self._connection, (self.tenant, table), column.name, column.kind)
        widen_history(self._connection, (self.tenant, table), column.name, column.kind)
        return self._keep_promotion(table, column, path)

    def _keep_promotion(self, table: str, column: Column, path: Path) -> int:
        promoted = Column(column.name, path, column.kind)
        keep(self._connection, self.tenant, self._catalogued.name, promoted)
        return columns.move_from_extra(self._connection, self.tenant, table, column)


def _values(tenant: str, table: str) -> sql.Composed:
    return sql.SQL(
        "(select v, jsonb_typeof(v) as of, v = '\"\"' as blank"
        " from (select _extra #> %(path)s as v from {table}) a where v <> 'null') s"
    ).format(table=sql.Identifier(tenant, table))


@dataclass(frozen=True, slots=True)
class Promotion:
    """A field that became a column: of which table, as what, and how many rows have a value."""

    table: str
    field: str
    column: str
    kind: Kind
    rows: int


@contextmanager
def exclusive_fields(database: Database, entity: Entity) -> Iterator[StoredFields]:
    """The entity's fields, in a transaction during which nobody reads it in, in any way.

    Raises EntityBusy, naming who does.
    """
    with ExitStack() as stack:
        leases = [database.leases.hold(entity.name, purpose) for purpose in PURPOSES]
        run_ids = [stack.enter_context(lease) for lease in leases]
        with database.transaction() as connection:
            for run_id in run_ids:
                fence(connection, run_id)
            yield StoredFields(connection, database.schema, entity)


def unknown_fields(database: Database) -> list[SchemaDriftEntry]:
    """Every field that came back and that no column holds, with the entity it came with."""
    with database.connection() as connection:
        return schema_drift(connection, database.schema)


def promote(
    database: Database, entity: Entity, field: str, kind: Kind | None = None
) -> list[Promotion]:
    """Makes a field a column, filled with every value that is stored, from now on in every process.

    `field` is the record's, with dots: `newField`, `status.sort`. Without `kind` the narrowest one
    that holds every stored value exactly; an object becomes a column for each scalar it holds. A
    promoted column is given a wider kind by promoting it again. A record that is read again after
    this is rewritten once, unchanged as it may be. Raises ConfigError for what cannot be,
    EntityBusy while the entity is being read, and WarehouseLocked if somebody keeps its table
    locked for minutes.
    """
    path = tuple(field.split("."))

    def attempt_widening(attempt: Attempt) -> list[Promotion]:
        with exclusive_fields(database, entity) as fields, fields.brief(attempt):
            where = place(fields.entity, path)
            if where.column is not None:
                return [_widen_promoted(fields, path, where, kind)]
            if not fields.has_table(where.table):
                raise ConfigError(
                    f"{entity.name} has no table in {fields.tenant} yet: sync it first"
                )
            return _promote(fields, path, kind)

    return patiently(
        attempt_widening, database.connection, f"the promotion of {entity.name} {field}"
    )


def _promote(fields: StoredFields, path: Path, kind: Kind | None) -> list[Promotion]:
    where = place(fields.entity, path)
    samples = fields.samples(where.table, where.path)
    if kind is None and samples.values and samples.objects == samples.values:
        keys = fields.keys_below(where.table, where.path)
        return [made for key in keys for made in _promote(fields, (*path, key), None)]
    if kind is None and not samples.values:
        raise ConfigError(
            f"{'.'.join(path)}: no stored record has a value for it, so its type is not known:"
            " say which (`--type text`)"
        )
    column = Column(where.column_name(), where.path, kind or samples.kind())
    _check(fields, where, column)
    rows = fields.add(where.table, column, path)
    return [Promotion(where.table, ".".join(path), column.name, column.kind, rows)]


def _check(fields: StoredFields, where: Place, column: Column) -> None:
    """A kind that does not hold what is stored would make dead letters of those records."""
    misfits, sample = fields.misfits(where.table, column)
    if misfits:
        raise ConfigError(
            f"{'.'.join(column.path)}: {misfits} stored values are no {column.kind}, for example"
            f" {sample}. Without --type the one that holds them all is taken"
        )


def _widen_promoted(fields: StoredFields, path: Path, where: Place, kind: Kind | None) -> Promotion:
    """A promoted column as a wider kind."""
    field, column = ".".join(path), where.column
    assert column is not None
    if kind is None or not fields.is_promoted(path):
        raise ConfigError(f"{field} has a column already: {where.table}.{column.name}")
    try:
        rows = fields.widen(where.table, replace(column, kind=kind), path)
    except WarehouseError as error:
        raise ConfigError(str(error)) from error
    return Promotion(where.table, field, column.name, kind, rows)
