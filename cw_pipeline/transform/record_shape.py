"""The shape of an entity's records: msgspec structs made from the catalog.

Unknown fields are forbidden, so a page that decodes has lost nothing. Fields that turn out to
exist all the same are learned: the shape is made again with a place for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, date, datetime
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from cw_pipeline.catalog.facts import other_places
from cw_pipeline.model import LAST_UPDATED, Array, Column, Entity, Kind, Row
from cw_pipeline.transform import copy_format
from cw_pipeline.transform.copy_format import NUMBERS
from cw_pipeline.transform.raw_json import JSON, is_shallow, storable_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


Path: TypeAlias = tuple[str, ...]

_INT64 = msgspec.Meta(ge=-(2**63), le=2**63 - 1)
_TYPES: Mapping[Kind, Any] = {
    Kind.BIGINT: Annotated[int, _INT64] | None,
    Kind.NUMERIC: msgspec.Raw,  # its digits as sent; null too
    Kind.BOOLEAN: bool | None,
    Kind.TIMESTAMPTZ: Annotated[datetime, msgspec.Meta(tz=True)] | None,
    Kind.DATE: str | None,  # both "2025-03-01" and "2025-03-01T00:00:00Z" occur
    Kind.TEXT: str | None,
    Kind.JSONB: Any,
}


class _Links(msgspec.Struct, frozen=True):
    """Skips the `_info` of a reference: links, and copies of fields that its own record holds."""


@dataclass(slots=True)
class ShapeNode:
    """One JSON object of the record: its fields by key."""

    leaves: dict[str, Kind]
    nodes: dict[str, ShapeNode]
    arrays: dict[str, ShapeNode]
    learned: set[str]
    skips_info: bool
    other_places: dict[Path, Path] = field(default_factory=dict)
    declared: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of(
        cls, columns: Iterable[Column], arrays: Mapping[str, ShapeNode], *, info: bool
    ) -> ShapeNode:
        """The tree of `columns`' paths. `info`: whether `_info` holds fields of its own."""
        root = cls({}, {}, dict(arrays), set(), not info)
        for column in columns:
            node = root
            for key in column.path[:-1]:
                node.declared[key] = None
                node = node.nodes.setdefault(key, cls({}, {}, {}, set(), key != "_info"))
            node.declared[column.path[-1]] = None
            node.leaves[column.path[-1]] = column.kind
        if info:
            root.declared["_info"] = None
            root.nodes.setdefault("_info", cls({}, {}, {}, set(), skips_info=False))
        return root

    def struct(self, name: str) -> type[msgspec.Struct]:
        """The struct of this object. An absent one reads as one whose every field is null."""
        fields: list[tuple[str, Any, Any]] = []
        rename: dict[str, str] = {}
        for key, kind, default in self._members(name):
            rename[slot(len(fields))] = key
            fields.append((slot(len(fields)), kind, default))
        return msgspec.defstruct(
            name, fields, rename=rename, forbid_unknown_fields=True, frozen=True, gc=False
        )

    def _members(self, name: str) -> Iterable[tuple[str, Any, Any]]:
        # In the vendor's own order: msgspec looks for a key where the one before it was found.
        for key in self.declared:
            if key in self.leaves:
                yield key, _TYPES[self.leaves[key]], None
            else:
                inner = self.nodes[key].struct(f"{name}.{key}")
                yield key, inner, inner()
        for key, node in self.arrays.items():
            yield key, tuple[node.struct(f"{name}.{key}"), ...], ()  # type: ignore[misc] # made at run time
        for key in sorted(self.learned):
            yield key, Any, msgspec.UNSET
        if self.skips_info and "_info" not in self.nodes:
            yield "_info", _Links, _Links()

    def attribute(self, path: Path) -> str:
        """Where the value at `path` sits in the struct, as attrgetter takes it."""
        keys = [*self.declared, *self.arrays, *sorted(self.learned)]
        here = slot(keys.index(path[0]))
        return here if len(path) == 1 else f"{here}.{self.nodes[path[0]].attribute(path[1:])}"

    def unknown(self, above: Path = ()) -> list[Path]:
        """Every learned field that is data, as a path."""
        fields = [(key,) for key in sorted(self.learned) if not is_link((*above, key))]
        below = self.nodes.items()
        return fields + [(k, *path) for k, node in below for path in node.unknown((*above, k))]

    def learned_fields(self, above: Path = ()) -> tuple[Path, ...]:
        """Every learned field as a path, those of array elements and links too, in one order."""
        own = tuple((*above, key) for key in sorted(self.learned))
        below = (*self.nodes.items(), *self.arrays.items())
        return sum((node.learned_fields((*above, key)) for key, node in below), own)

    def learn(self, path: Path) -> None:
        """Makes a place for a field of this object, or of one in it or in an array of it."""
        node = self
        for key in path[:-1]:
            node = node.nodes.get(key) or node.arrays[key]
        node.learned.add(path[-1])


def slot(position: int) -> str:
    """The name of a struct's field: vendors' keys are no identifiers."""
    return f"f{position}"


def is_link(path: Path) -> bool:
    """Whether a field is a link of `_info`. Those change with every upgrade and are no data."""
    return path[:-1] == ("_info",) and path[-1].lower().endswith("href")


def is_learnable(key: str) -> bool:
    """Whether a struct can have a field of this name."""
    return key.isprintable() and not {'"', "\\"} & {*key}


def shape_of(entity: Entity, learned: Iterable[Path] = ()) -> ShapeNode:
    """The record's tree, arrays included, with every place where a column's value may be.

    Fields that are `learned` have a place, too.
    """
    arrays = {a.field: ShapeNode.of(a.columns, {}, info=False) for a in entity.arrays}
    root = ShapeNode.of(entity.columns, arrays, info=True)
    columns = {column.path: column for column in entity.columns}
    for other, path in other_places(columns).items():
        node = root
        for key in other[:-1]:
            node = node.nodes[key]
        if columns[path].kind in _MOVABLE and other[-1] not in node.declared:
            root.other_places[other] = path
            node.declared[other[-1]] = None
            node.leaves[other[-1]] = columns[path].kind
    for path in learned:
        root.learn(path)
    return root


_MOVABLE = (Kind.TEXT, Kind.TIMESTAMPTZ)


def either(value: Any, other: Any) -> Any:
    """What a record says at two places. Raises ValueError if it says two things."""
    if value is None or other is None or value == other:
        return other if value is None else value
    raise ValueError("two values of one fact")


def reader(
    node: ShapeNode,
    columns: Sequence[Column],
    finish: Mapping[Kind, Callable[[Any], Any]],
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> Callable[..., tuple[Any, ...]]:
    """A function from a struct to its columns' values, those of `finish`'s kinds finished.

    `before` and `after` name further arguments, whose values come before and after them.
    Written out and compiled: a hundred attribute look-ups in one expression cost a fifth of what
    the same hundred cost through `attrgetter`. Only slot names and numbers go into the text.
    """
    places = [node.attribute(column.path) for column in columns]
    others = {path: node.attribute(other) for other, path in node.other_places.items()}
    nested = sorted({outer for place in (*places, *others.values()) for outer in _outers(place)})
    held = {place: f"n{number}" for number, place in enumerate(nested)}
    lines = [f"    {name} = {_within(place, held)}" for place, name in held.items()]
    made = {kind: f"finish_{number}" for number, kind in enumerate(finish)}
    values = [*before]
    for place, column in zip(places, columns, strict=True):
        got = _within(place, held)
        if column.path in others:
            got = f"either({got}, {_within(others[column.path], held)})"
        maker = made.get(column.kind)
        if column.kind is Kind.NUMERIC:
            # A look-up, not a call: there are two dozen numbers in a ticket.
            got = f"(None if {got} is None else numbers[bytes({got})])"
        values.append(f"(None if {got} is None else {maker}({got}))" if maker else got)
    names: dict[str, Any] = {made[kind]: function for kind, function in finish.items()}
    names |= {"numbers": NUMBERS, "either": either}
    values += after
    head = f"def read({', '.join(['record', *before, *after])}):"
    body = "\n".join([head, *lines, f"    return ({', '.join(values)}{',' if values else ''})"])
    exec(compile(body, "<record>", "exec"), names)  # noqa: S102
    made_function: Callable[..., tuple[Any, ...]] = names["read"]
    return made_function


def _outers(place: str) -> Iterable[str]:
    """`f1.f2.f3` lies in `f1` and in `f1.f2`."""
    steps = place.split(".")
    return (".".join(steps[:depth]) for depth in range(1, len(steps)))


def _within(place: str, held: Mapping[str, str]) -> str:
    outer, _, name = place.rpartition(".")
    return f"{held[outer] if outer else 'record'}.{name}"


def getter(node: ShapeNode, paths: Iterable[Path]) -> Callable[[Any], tuple[Any, ...]]:
    """All values of a struct in one call, as a tuple."""
    names = [node.attribute(path) for path in paths]
    if not names:
        return lambda _: ()
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda struct: (get(struct),)


_DATE_LENGTH = 10
_NUL = b"\\u0000"
_NEARLY_NUL = b"u0000"  # found twice as fast, because its first letter is rarer


class RecordDecoder:
    """Everything made from one tree, as it stood when this was made."""

    def __init__(self, entity: Entity, node: ShapeNode) -> None:
        outside = entity.key_from_context
        paths = [*((name,) for name in outside), *(column.path for column in entity.columns)]
        self.struct = node.struct(entity.table)
        self.decode = msgspec.json.Decoder(self.struct, float_hook=storable_number).decode
        self._extra = _Extra(node)
        self._made = [_ArrayShape(node, array) for array in entity.arrays]
        self._arrays = getter(node, [(array.field,) for array in entity.arrays])
        self._row = reader(node, entity.columns, _FINISH, outside, ("extra", "source", "row"))
        self._nowhere = (0,) * len(outside)
        self.packers = [
            copy_format.row_packer(columns)
            for columns in (entity.row_columns, *(array.row_columns for array in entity.arrays))
        ]
        self.id_at = paths.index(("id",)) if ("id",) in paths else -1
        self.stamp_at = paths.index(LAST_UPDATED) if entity.has_last_updated else None

    def decode_one(self, raw: bytes) -> Any:
        """The record, or None if it does not conform."""
        try:
            if not (is_plain(raw) and is_shallow(raw)):
                return None
            struct = self.decode(raw)
            self.row(struct, self._nowhere, None)
            self.array_rows(0, struct)
        except (msgspec.DecodeError, ValueError, ArithmeticError):
            return None
        return struct

    def row(
        self, struct: Any, outside: tuple[int, ...], spill: dict[str, Any] | None
    ) -> tuple[Any, ...]:
        """The record's row, its hashes null. `outside` are the keys that it does not carry itself.

        Raises ValueError for a day with a time of day.
        """
        return self._row(struct, *outside, self._extra.of(struct, spill), None, None)

    def array_rows(self, parent_id: int, struct: Any) -> list[list[Row]]:
        """The rows of each array of this record.

        Raises ValueError as `row` does.
        """
        return [
            made.rows(parent_id, elements)
            for made, elements in zip(self._made, self._arrays(struct), strict=True)
        ]


@lru_cache(maxsize=256)  # a tenant has 240 lists at most; 28 kB each on average, 190 kB a wide one
def decoder_of(entity: Entity) -> RecordDecoder:
    """What decodes the entity's records before any field was learned.

    Kept for later runs: to write and compile one takes as long as to decode dozens of records, or
    hundreds where it is a wide one. Those with learned fields are not kept: where keys are data,
    each record makes another, and they would drive out those of all other lists.
    """
    return RecordDecoder(entity, shape_of(entity))


def is_plain(text: bytes) -> bool:
    """Whether there is no NUL in JSON, which Postgres does not take."""
    return _NEARLY_NUL not in text or _NUL not in text


class _ArrayShape:
    """What makes rows of an array's elements."""

    def __init__(self, root: ShapeNode, array: Array) -> None:
        node = root.arrays[array.field]
        self._row = reader(node, array.columns, _FINISH, ("parent_id", "position"), ("extra",))
        self._extra = _Extra(node)

    def rows(self, parent_id: int, elements: Sequence[Any]) -> list[Row]:
        """The elements' rows, in their order."""
        row = self._row
        if not self._extra.paths:
            return [row(one, parent_id, at, None) for at, one in enumerate(elements)]
        extra = self._extra.of
        return [row(one, parent_id, at, extra(one, None)) for at, one in enumerate(elements)]


class _Extra:
    """Collects the values of fields that the catalog does not know."""

    def __init__(self, node: ShapeNode) -> None:
        self.paths = node.unknown()
        self._get = getter(node, self.paths)

    def of(self, struct: Any, spill: dict[str, Any] | None) -> bytes | None:
        if not self.paths and not spill:
            return None
        extra: dict[str, Any] = {}
        for path, value in zip(self.paths, self._get(struct), strict=True):
            if value is not msgspec.UNSET and value is not None:
                _set_at_path(extra, path, value)
        _merge(extra, spill or {})
        return _jsonb(extra) if extra else None


def _day(text: str) -> date:
    """A business date. Raises ValueError for one with a time of day: the exact way keeps that."""
    if len(text) > _DATE_LENGTH and text[_DATE_LENGTH:] != "T00:00:00Z":
        raise ValueError(text)
    return date.fromisoformat(text[:_DATE_LENGTH])


def _jsonb(value: Any) -> bytes:
    return copy_format.jsonb(JSON.encode(value))


def _set_at_path(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        target = target.setdefault(key, {})
    target[path[-1]] = value


def _merge(target: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def _instant(moment: datetime) -> datetime:
    """The moment. Raises OverflowError if it is in no year from 1 to 9999 in UTC."""
    return moment if 1 < moment.year < MAXYEAR else moment.astimezone(UTC)


_FINISH: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.DATE: _day,
    Kind.JSONB: _jsonb,
    Kind.TIMESTAMPTZ: _instant,
}
