"""From a model's fields to a table's columns.

A scalar is a column, a reference one column for each scalar it holds, an array of objects a table
of its own. What is deeper than two references, or has no declared fields, is kept whole as JSON.

Names that would clash: the shorter path keeps the plain name, and of equal ones the first declared;
the other gets `ref` after its reference's name (`siteName` → site_name, `site.name` →
site_ref_name), a plain field before its last word (a child's `parentId` → parent_ref_id).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

from cw_pipeline.catalog.facts import decided_kind, fields, info_fields
from cw_pipeline.catalog.naming import snake
from cw_pipeline.model import Array, Column, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Path: TypeAlias = tuple[str, ...]
Leaf: TypeAlias = tuple[Path, Kind]

POSTGRES_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
"""What each table has by itself, and no column may be called (PostgreSQL manual, 5.5)."""

_DEEPEST = 3
_LONGEST = 63
_ARRAY_KEYS = ("parent_id", "position")
_KINDS = {
    "int": Kind.BIGINT,
    "number": Kind.NUMERIC,
    "boolean": Kind.BOOLEAN,
    "string": Kind.TEXT,
    "date-time": Kind.TIMESTAMPTZ,
    "date": Kind.DATE,
}


def columns_of(model: str, keys: Iterable[str] = ()) -> tuple[Column, ...]:
    """The columns of a model's records. `keys` are the names of the key columns beside them."""
    columns = _named_columns(_leaves(model, ()), {*keys})
    taken = {column.name for column in columns} | {*keys}
    info = (
        Column(snake(field), ("_info", field), _kind("_info", field, word))
        for field, word in info_fields(model).items()
        if snake(field) not in taken
    )
    return (*columns, *info)


def arrays_of(model: str, table: str) -> tuple[Array, ...]:
    """The arrays of objects in a model's records, each a table named `<table>__<field>`."""
    return tuple(
        Array(
            table=fit_name(f"{table}__{snake(field)}"),
            field=field,
            columns=_named_columns(_leaves(word[2:-1], ()), {*_ARRAY_KEYS}),
        )
        for field, word in fields(model).items()
        if is_array(word)
    )


def is_array(word: str) -> bool:
    """Whether a field's type is an array of objects with known fields."""
    return word.startswith("[@") and bool(fields(word[2:-1]))


def fit_name(name: str) -> str:
    """The name, if Postgres can hold it; else its first 54 bytes and a checksum of the whole.

    Postgres would cut it silently, and two long names might then be one.
    """
    if len(name) <= _LONGEST:
        return name
    return f"{name[:54]}_{crc32(name.encode()):08x}"


def _leaves(model: str, above: Path) -> Iterator[Leaf]:
    for field, word in fields(model).items():
        path = (*above, field)
        if field == "_info" or (is_array(word) and not above):
            continue
        if word.startswith("@") and len(path) < _DEEPEST and fields(word[1:]):
            yield from _leaves(word[1:], path)
        else:
            yield path, _kind(model, field, word)


def _kind(model: str, field: str, word: str) -> Kind:
    decision = decided_kind(model, field)
    return Kind(decision) if decision else _KINDS.get(word, Kind.JSONB)


def _named_columns(leaves: Iterable[Leaf], taken: set[str]) -> tuple[Column, ...]:
    """The leaves as columns, in their own order; names are given out from the shortest path on."""
    kinds = dict(leaves)
    names: dict[Path, str] = {}
    for path in sorted(kinds, key=len):
        name = next((name for name in names_of(path) if name not in taken), None)
        if name:  # a field that finds no name is kept in _extra, like one that nobody declared
            taken.add(name)
            names[path] = name
    return tuple(Column(names[path], path, kind) for path, kind in kinds.items() if path in names)


def names_of(path: Path) -> tuple[str, str]:
    """The names that the field at `path` may have, the one to try first at the front."""
    words = [snake(step) for step in path]
    above, last = words[:-1], words[-1]
    if not above:
        before, _, last = last.rpartition("_")
        above = [before] if before else []
    return fit_name("_".join(words)), fit_name("_".join([*above, "ref", last]))
