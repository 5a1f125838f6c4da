"""The fields of one entity's stored records, while nobody else touches them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.model import Column, Entity, Kind
from cw_pipeline.warehouse import extra, promotions
from cw_pipeline.warehouse.columns import add_column, kind_of, widen_column
from cw_pipeline.warehouse.extra import TYPED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from cw_pipeline.warehouse.ddl import Attempt

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
        told = self.values - self.blank
        if not told:
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
        return next((k for k, n in exact.items() if n == told and k in blanks), Kind.JSONB)


class StoredFields:
    """What may be done to an entity's columns, in one transaction: `Warehouse.exclusive_fields`."""

    def __init__(self, connection: Connection[Any], tenant: str, entity: Entity) -> None:
        self._connection = connection
        self._catalogued = entity
        self.tenant = tenant

    @property
    def entity(self) -> Entity:
        """The entity with the columns that were promoted until now."""
        (own,) = promotions.entities_with_promotions(
            self._connection, self.tenant, [self._catalogued]
        )
        return own

    @contextmanager
    def brief(self, attempt: Attempt) -> Iterator[None]:
        """Inside the block nobody who reads the table waits behind us; see `ddl`."""
        with attempt.brief(self._connection):
            yield

    def is_promoted(self, path: Path) -> bool:
        """Whether the field at `path` became a column here, rather than in the catalog."""
        known = promotions.promotions(self._connection, self.tenant)
        return any(own.path == path for own in known.get(self._catalogued.name, []))

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
        return self._kept(table, column, path)

    def widen(self, table: str, column: Column, path: Path) -> int:
        """Gives a promoted column a wider kind, and what fits by it. Raises WarehouseError."""
        widen_column(self._connection, (self.tenant, table), column.name, column.kind)
        return self._kept(table, column, path)

    def _kept(self, table: str, column: Column, path: Path) -> int:
        told = Column(column.name, path, column.kind)
        promotions.keep(self._connection, self.tenant, self._catalogued.name, told)
        return extra.move_from_extra(self._connection, self.tenant, table, column)


def _values(tenant: str, table: str) -> sql.Composed:
    return sql.SQL(
        "(select v, jsonb_typeof(v) as of, v = '\"\"' as blank"
        " from (select _extra #> %(path)s as v from {table}) a where v <> 'null') s"
    ).format(table=sql.Identifier(tenant, table))
