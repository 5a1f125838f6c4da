"""What an entity is: a list of ConnectWise's, and the tables that hold it.

Also in which version of the API's models a list is asked (guide, "Versioning", "Per Endpoint").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Self, TypeAlias

if TYPE_CHECKING:
    from datetime import date

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


_WANTED = "a version such as 2025.1, and others for lists or globs of them: 2025.1,finance/*=2024.1"
_VERSION = re.compile(r"[\w.]+", re.ASCII)
_RELEASE = re.compile(r"(20\d\d)\.(\d{1,2})")
_PART = re.compile(r"/(?:count|search)$|/\d+(?=/|$)")
_QUARTERS = 4


@dataclass(frozen=True, slots=True)
class ApiVersions:
    """The version that all lists are asked in, and others of some: `patterns`, first match wins."""

    usual: str
    patterns: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, text: str) -> Self:
        """The versions that a setting names. Raises ValueError, saying what is wanted."""
        usual: list[str] = []
        patterns: list[tuple[str, str]] = []
        for word in text.split(","):
            pattern, equals, version = (part.strip() for part in word.strip().rpartition("="))
            if not _VERSION.fullmatch(version) or bool(pattern) != bool(equals):
                raise ValueError(_WANTED)
            if pattern:
                patterns.append((pattern.strip("/").lower(), version))
            else:
                usual.append(version)
        if len(usual) != 1:
            raise ValueError(_WANTED)
        return cls(usual[0], tuple(patterns))

    def version_of(self, path: str) -> str:
        """The version for a path below the API's base, or for an entity's name."""
        name = _PART.sub("", path.partition("?")[0]).strip("/").lower()
        fitting = (version for pattern, version in self.patterns if fnmatchcase(name, pattern))
        return next(fitting, self.usual)

    @property
    def all(self) -> list[str]:
        """Every version that is asked for, once."""
        return list(dict.fromkeys((self.usual, *(version for _, version in self.patterns))))

    def unused_patterns(self, names: list[str]) -> list[str]:
        """The patterns that fit none of these entities."""
        lower = [name.lower() for name in names]
        return [
            pattern
            for pattern, _ in self.patterns
            if not any(fnmatchcase(name, pattern) for name in lower)
        ]

    def older_than_a_year(self, today: date) -> list[str]:
        """The versions that are, each once, with what is asked in it: `2024.1 (finance/*)`.

        The guide: a version is supported for 12 months after the next one has come.
        """
        asked: dict[str, list[str]] = {self.usual: ["all lists"]}
        if self.patterns:
            asked[self.usual] = ["all other lists"]
        for pattern, version in self.patterns:
            asked.setdefault(version, []).append(pattern)
        return [
            f"{version} ({', '.join(lists)})"
            for version, lists in asked.items()
            if _is_older_than_a_year(version, today)
        ]


def _is_older_than_a_year(version: str, today: date) -> bool:
    """By the end of its quarter or month: releases of a year are numbered by either."""
    found = _RELEASE.fullmatch(version)
    if found is None:
        return False
    year, number = int(found[1]), int(found[2])
    month = 3 * number if number <= _QUARTERS else min(number, 12)
    return (today.year - year) * 12 + today.month - month > 12  # noqa: PLR2004 - months of a year
