"""Columns that must not be read in the warehouse: hashed or dropped before anything is stored.

It is done to the record itself, before it is decoded. So it reaches the row, the arrays, `_extra`,
dead letters, samples of drift and the change hash alike, and pages of other entities pay nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.facts import other_places
from cw_pipeline.catalog.naming import snake
from cw_pipeline.errors import ConfigError, SourceBroken
from cw_pipeline.model import LAST_UPDATED, Column, Entity, Kind
from cw_pipeline.transform.raw_json import (
    JSON,
    decode,
    decode_hollow,
    is_shallow,
    records_of,
    repairs,
    strip,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

How: TypeAlias = Literal["hashed", "dropped"]
Path: TypeAlias = tuple[str, ...]

_HASHABLE = (Kind.TEXT, Kind.JSONB)
_NEVER = (("id",), LAST_UPDATED)
"""Without these no record is found again, nor what changed."""


@dataclass(frozen=True, slots=True)
class MaskPattern:
    """`company_contacts.email`: a table or entity and a column, each perhaps a glob."""

    table: str
    column: str
    how: How

    def names(self, tables: Iterable[str], column: str) -> bool:
        """Whether it means this column of a table with one of these names."""
        return self.covers(tables) and fnmatchcase(column, self.column)

    def covers(self, tables: Iterable[str]) -> bool:
        """Whether it means columns of a table with one of these names."""
        return any(fnmatchcase(table, self.table) for table in tables)


@dataclass(frozen=True, slots=True)
class MaskingRules:
    """What CW_DROP_COLUMNS, CW_HASH_COLUMNS and CW_HASH_KEY say. Dropping wins."""

    patterns: tuple[MaskPattern, ...]
    key: bytes

    @classmethod
    def of(cls, hashed: str | None, dropped: str | None, key: str | None) -> MaskingRules | None:
        """The privacy that the settings ask for, if any. Raises ConfigError naming the setting."""
        patterns = (*_patterns("dropped", dropped), *_patterns("hashed", hashed))
        if any(pattern.how == "hashed" for pattern in patterns) and not key:
            raise ConfigError(
                "CW_HASH_COLUMNS needs CW_HASH_KEY: any long secret. Without one, hashes of known"
                " addresses could be compared"
            )
        return cls(patterns, (key or "").encode()) if patterns else None

    def columns(self, entity: Entity) -> dict[tuple[str, str], How]:
        """The private columns of the entity's tables, by table and column."""
        tables = {entity.table: entity.columns} | {a.table: a.columns for a in entity.arrays}
        return {
            (table, column.name): how
            for table, columns in tables.items()
            for column in columns
            if (how := self._how((table, *_name(entity, table)), column.name, column))
        }

    def mask_of(self, entity: Entity) -> EntityMask | None:
        """What hides the entity's private values; None if it has none."""
        return EntityMask(self, entity) if any(True for _ in self.about(entity)) else None

    def about(self, entity: Entity) -> Iterator[MaskPattern]:
        """The patterns that may mean something in the entity's tables."""
        names = (entity.table, entity.name, *(array.table for array in entity.arrays))
        return (pattern for pattern in self.patterns if pattern.covers(names))

    def how(self, tables: tuple[str, ...], path: Path, column: Column | None) -> How | None:
        """How to hide the field at `path`, which `column` holds; None: it may be read."""
        name = column.name if column else "_".join(map(snake, path))
        return None if path in _NEVER else self._how(tables, name, column)

    def keyed_hash(self, value: Any) -> str:
        """HMAC-SHA256 of a text's UTF-8 bytes, or of another value's JSON, in hexadecimal."""
        text = value.encode() if isinstance(value, str) else JSON.encode(value)
        return hmac.new(self.key, text, hashlib.sha256).hexdigest()

    def mask_value(self, how: How | None, value: Any) -> Any:
        """What may be stored in place of a value."""
        if how is None or value in (None, ""):
            return value
        return None if how == "dropped" else self.keyed_hash(value)

    def _how(self, tables: tuple[str, ...], name: str, column: Column | None) -> How | None:
        if column and column.path in _NEVER:
            return None
        for pattern in self.patterns:
            if not pattern.names(tables, name):
                continue
            if pattern.how == "dropped" or column is None or column.kind in _HASHABLE:
                return pattern.how
            if name == pattern.column:
                raise ConfigError(
                    f"CW_HASH_COLUMNS: {tables[0]}.{name} is {column.kind}, which holds no hash:"
                    " put it into CW_DROP_COLUMNS"
                )
        return None


class EntityMask:
    """Hides the private values of one entity's records. Safe to share between threads."""

    def __init__(self, privacy: MaskingRules, entity: Entity) -> None:
        self._privacy = privacy
        self._arrays = {array.field: array for array in entity.arrays}
        self._entity = entity
        self._verdicts: dict[tuple[str, Path], How | None] = {}
        self._columns = {(entity.table, c.path): c for c in entity.columns} | {
            (array.table, c.path): c for array in entity.arrays for c in array.columns
        }
        self._columns |= {
            (entity.table, other): self._columns[entity.table, path]
            for other, path in other_places(column.path for column in entity.columns).items()
        }
        self._held = {
            (table, path[:length])
            for table, path in self._columns
            for length in range(1, len(path))
        }

    def value(self, text: str) -> str:
        """What is stored in place of a value, given as JSON."""
        return self._privacy.keyed_hash(decode(text.encode()))

    def part(self, table: str, text: str) -> str:
        """What may be shown of a record, or of a part of it that `table` holds, as JSON."""
        record = decode(text.encode())
        if isinstance(record, dict) and table != self._entity.table:
            return JSON.encode(self._object(table, record, ())).decode()
        return JSON.encode(self.record(record)).decode()

    def mask_page(self, body: bytes) -> bytes:
        """A page's body without what is private. Raises SourceBroken if it is no JSON."""
        try:
            records = [_decode(record) for record in records_of(body)]
        except SourceBroken as error:
            # Not a word of the body: it may say what is private.
            raise SourceBroken(str(error), 200) from None
        return JSON.encode([self.record(record) for record in records])

    def record(self, record: Any) -> Any:
        """A record, or any part of one from its root on."""
        if not isinstance(record, dict):
            return record
        return {
            key: self._array(name, value) if (name := _stored_name(key)) in self._arrays else value
            for key, value in self._object(self._entity.table, record, ()).items()
        }

    def _array(self, field: str, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        table = self._arrays[field].table
        return [self._object(table, e, ()) if isinstance(e, dict) else e for e in value]

    def _object(self, table: str, value: dict[str, Any], above: Path) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, inner in value.items():
            name = _stored_name(key)
            path = (*above, name)
            how = self._verdict(table, path)
            if how == "dropped":
                continue
            if isinstance(inner, msgspec.Raw):
                shown[key] = inner  # too deep, and so the record will be refused
            elif how == "hashed" and name not in self._arrays:
                shown[key] = self._privacy.mask_value(how, inner)
            elif isinstance(inner, dict) and (table, path) not in self._columns:
                shown[key] = self._object(table, inner, path)
            else:
                shown[key] = inner
        return shown

    def _verdict(self, table: str, path: Path) -> How | None:
        if (table, path) in self._held:
            return None  # an object whose fields have columns, each with a verdict of its own
        if (table, path) not in self._verdicts:
            tables = (table, *_name(self._entity, table))
            column = self._columns.get((table, path))
            self._verdicts[table, path] = self._privacy.how(tables, path, column)
        return self._verdicts[table, path]


def _stored_name(key: str) -> str:
    """A field's name as the record will be stored: see `strip`."""
    return key.replace("\x00", "")


def _patterns(how: How, setting: str | None) -> Iterable[MaskPattern]:
    for word in (setting or "").replace(" ", "").split(","):
        if not word:
            continue
        table, dot, column = word.rpartition(".")
        if not dot or not _is_known(table):
            raise ConfigError(
                f"CW_{'HASH' if how == 'hashed' else 'DROP'}_COLUMNS: {word!r} names no table and"
                " column; write table.column, for example company_contacts.email"
            )
        yield MaskPattern(table, column, how)


def _is_known(table: str) -> bool:
    """Whether there can be a table of this name: an entity's, an array's or a report's."""
    base = table.partition("__")[0]
    known = CATALOG.declared.values()
    return base.startswith("report_") or any(
        fnmatchcase(one.table, base) or one.name == table for one in known
    )


def _name(entity: Entity, table: str) -> tuple[str, ...]:
    """The entity's name, for its own table."""
    return (entity.name,) if table == entity.table else ()


def _decode(text: bytes) -> Any:
    """A record, whose half surrogates are U+FFFD already: JSON is written in UTF-8."""
    value = decode(text) if is_shallow(text) else decode_hollow(text)
    return strip(value) if "half surrogate replaced" in repairs(value) else value
