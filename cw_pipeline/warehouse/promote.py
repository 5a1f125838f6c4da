"""Fields that ConnectWise has added: what they are, and how one becomes a column.

    drift(warehouse) ─► promote(warehouse, entity, "newField") ─► service_tickets.new_field

The values are in `_extra` since the first record that had the field, so the API is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cw_pipeline.catalog.promotion import Place, place
from cw_pipeline.errors import ConfigError, WarehouseError
from cw_pipeline.model import Column, Entity, Kind
from cw_pipeline.warehouse import promotions
from cw_pipeline.warehouse.ddl import patiently

if TYPE_CHECKING:
    from cw_pipeline.warehouse import Warehouse
    from cw_pipeline.warehouse.ddl import Attempt
    from cw_pipeline.warehouse.fields import StoredFields
    from cw_pipeline.warehouse.promotions import SchemaDriftEntry

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Promotion:
    """A field that became a column: of which table, as what, and how many rows have a value."""

    table: str
    field: str
    column: str
    kind: Kind
    rows: int


def unknown_fields(warehouse: Warehouse) -> list[SchemaDriftEntry]:
    """Every field that came back and that no column holds, with the entity it came with."""
    with warehouse.connection() as connection:
        return promotions.schema_drift(connection, warehouse.tenant)


def promote(
    warehouse: Warehouse, entity: Entity, field: str, kind: Kind | None = None
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

    def attempted(attempt: Attempt) -> list[Promotion]:
        with warehouse.exclusive_fields(entity) as fields, fields.brief(attempt):
            where = place(fields.entity, path)
            if where.column is not None:
                return [_widened(fields, path, where, kind)]
            if not fields.has_table(where.table):
                raise ConfigError(
                    f"{entity.name} has no table in {fields.tenant} yet: sync it first"
                )
            return _promoted(fields, path, kind)

    return patiently(attempted, warehouse.connection, f"the promotion of {entity.name} {field}")


def _promoted(fields: StoredFields, path: Path, kind: Kind | None) -> list[Promotion]:
    where = place(fields.entity, path)
    found = fields.samples(where.table, where.path)
    if kind is None and found.values and found.objects == found.values:
        keys = fields.keys_below(where.table, where.path)
        return [made for key in keys for made in _promoted(fields, (*path, key), None)]
    if kind is None and not found.values:
        raise ConfigError(
            f"{'.'.join(path)}: no stored record has a value for it, so its type cannot be told:"
            " say which (`--type text`)"
        )
    column = Column(where.named(), where.path, kind or found.kind())
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


def _widened(fields: StoredFields, path: Path, where: Place, kind: Kind | None) -> Promotion:
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
