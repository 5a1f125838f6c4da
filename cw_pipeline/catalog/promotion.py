"""Fields that the catalog does not know and that became columns of one warehouse all the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cw_pipeline.catalog.columns import POSTGRES_COLUMNS, names_of
from cw_pipeline.catalog.facts import other_places
from cw_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.model import Array, Column, Entity

_SYSTEM = ("_synced_at", "_deleted_at", *POSTGRES_COLUMNS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field of a record is kept: the entity's own table, or one of its arrays'.

    `path` leads to the field within a row of that table; `columns` are those the table has, and
    `column` is the one that holds the field already, or the fact that it is in other versions.
    """

    table: str
    path: tuple[str, ...]
    columns: tuple[Column, ...]
    taken: frozenset[str]
    column: Column | None

    def column_name(self) -> str:
        """A column name for the field, by the catalog's rule. Raises ConfigError without one."""
        for stored in self.columns:
            shorter = min(len(stored.path), len(self.path))
            if stored.path[:shorter] == self.path[:shorter]:
                raise ConfigError(
                    f"{'.'.join(self.path)}: column {stored.name} of {self.table} already holds"
                    f" {'.'.join(stored.path)}"
                )
        for name in names_of(self.path):
            if name not in self.taken:
                return name
        raise ConfigError(f"{'.'.join(self.path)}: no column name is left for it in {self.table}")


def place(entity: Entity, path: tuple[str, ...]) -> Place:
    """Where a field of the entity's records belongs. Raises ConfigError for an array as a whole."""
    if len(path) == 1 and any(array.field == path[0] for array in entity.arrays):
        raise ConfigError(f"{path[0]}: an array, which has a table of its own already")
    array = _array(entity, path)
    if array is None:
        known = other_places(column.path for column in entity.columns).get(path, path)
        held = _column(entity.columns, known)
        return Place(entity.table, path, entity.columns, _names(entity.row_columns), held)
    held = _column(array.columns, path[1:])
    return Place(array.table, path[1:], array.columns, _names(array.row_columns), held)


def _column(columns: Iterable[Column], path: tuple[str, ...]) -> Column | None:
    return next((column for column in columns if column.path == path), None)


def with_promoted_columns(entity: Entity, columns: Iterable[Column]) -> Entity:
    """The entity with these columns too; one that the catalog has by now keeps its stored kind."""
    for column in columns:
        entity = _with(entity, column)
    return entity


def _with(entity: Entity, column: Column) -> Entity:
    array = _array(entity, column.path)
    if array is None:
        return replace(entity, columns=_with_column(entity.columns, column))
    inner = _with_column(array.columns, replace(column, path=column.path[1:]))
    changed = replace(array, columns=inner)
    return replace(entity, arrays=tuple(changed if a == array else a for a in entity.arrays))


def _with_column(columns: tuple[Column, ...], column: Column) -> tuple[Column, ...]:
    if not any(column.path == known.path or column.name == known.name for known in columns):
        return (*columns, column)
    # Name and place are the catalog's by now: the fact may have been promoted from another place
    # that versions have it at, or under another name.
    same = [known for known in columns if column.path == known.path] or [
        known for known in columns if column.name == known.name
    ]
    return tuple(
        replace(known, kind=column.kind) if known in same and known.name == column.name else known
        for known in columns
    )


def _array(entity: Entity, path: tuple[str, ...]) -> Array | None:
    found = (array for array in entity.arrays if len(path) > 1 and array.field == path[0])
    return next(found, None)


def _names(columns: Iterable[Column]) -> frozenset[str]:
    return frozenset((*(column.name for column in columns), *_SYSTEM))
