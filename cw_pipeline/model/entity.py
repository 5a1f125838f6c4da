"""What an entity is: a list of ConnectWise's, and the tables that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

Row: TypeAlias = tuple[Any, ...]
"""Typed values, in the order of the table's columns."""


LAST_UPDATED = ("_info", "lastUpdated")
"""Where a record tells when it was last updated."""


class Kind(StrEnum):
    """The Postgres type a column is stored as."""

    BIGINT = "bigint"
    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    TIMESTAMPTZ = "timestamptz"
    DATE = "date"
    TEXT = "text"
    JSONB = "jsonb"


class SyncMode(StrEnum):
    """How an entity's table is kept in step with its list."""

    INCREMENTAL = "window"  # changes found by lastUpdated
    FULL = "snapshot"  # read whole each time, compared by hash
    PER_PARENT = "children"  # read parent by parent


@dataclass(frozen=True, slots=True)
class Column:
    """One warehouse column and the keys that lead to its value in the record."""

    name: str
    path: tuple[str, ...]
    kind: Kind


@dataclass(frozen=True, slots=True)
class Array:
    """An array of objects inside a record: a table of its own, keyed by parent id and position."""

    table: str
    field: str
    columns: tuple[Column, ...]

    @property
    def row_columns(self) -> tuple[Column, ...]:
        """What a row holds, in order: parent id, position from 0, the element, extra."""
        return (
            Column("parent_id", (), Kind.BIGINT),
            Column("position", (), Kind.BIGINT),
            *self.columns,
            Column("_extra", (), Kind.JSONB),
        )


@dataclass(frozen=True, slots=True)
class Entity:
    """One ConnectWise list and the table that holds it.

    `path` is the vendor's, with the parent's place written `{parentId}`. `history` are the columns
    that are kept of each version that is over, beside its key; without any none is kept. `indexed`
    are the columns that have an index beside the key. `right` is where a security role keeps the
    right to inquire it.
    """

    name: str
    path: str
    table: str
    module: str
    mode: SyncMode
    columns: tuple[Column, ...]
    arrays: tuple[Array, ...] = ()
    parent: str | None = None
    has_id: bool = True
    count: bool = True
    search: bool = False
    by_id: bool = True
    core: bool = False
    history: tuple[str, ...] = ()
    indexed: tuple[str, ...] = ()
    right: str = ""
    description: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key. A child's id is trusted only within its parent."""
        key = "id" if self.has_id else "_position"
        return ("parent_id", key) if self.parent else (key,)

    @property
    def key_from_context(self) -> tuple[str, ...]:
        """The part of the key that a record does not carry itself: its parent, its position."""
        return tuple(name for name in self.key if name != "id")

    @property
    def has_last_updated(self) -> bool:
        """Whether records tell when they were last updated, in the column `last_updated`."""
        return any(column.path == LAST_UPDATED for column in self.columns)

    @property
    def row_columns(self) -> tuple[Column, ...]:
        """What a row holds, in order: keys from outside, the record, extra and the hashes."""
        return (
            *(Column(name, (), Kind.BIGINT) for name in self.key_from_context),
            *self.columns,
            Column("_extra", (), Kind.JSONB),
            Column("_source_hash", (), Kind.BIGINT),
            Column("_row_hash", (), Kind.BIGINT),
        )
