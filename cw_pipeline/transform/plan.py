"""What the compiled way is told of an entity: its tree as flat arrays (`c/records.c`)."""

from __future__ import annotations

from array import array
from ctypes import Structure, c_char_p, c_int32, c_void_p
from typing import TYPE_CHECKING, ClassVar

from cw_pipeline.model import LAST_UPDATED, Kind
from cw_pipeline.transform.record_shape import Path, ShapeNode, is_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cw_pipeline.model import Column, Entity

_KINDS = (*map(str, Kind), "object", "array", "extra", "link")  # `enum kind`
_NONE = -1


class ReaderLayout(Structure):
    """`struct plan`: the shape of an entity's records. `kept` is what its addresses lead to."""

    kept: object

    _fields_: ClassVar = [
        ("names", c_char_p),
        *((name, c_void_p) for name in ("fields", "objects", "extras", "tables")),
        *((name, c_int32) for name in ("field_count", "array_count", "most_columns")),
        *((name, c_int32) for name in ("most_extras", "id", "stamp", "keys")),
    ]


def layout_of(entity: Entity, root: ShapeNode, *, is_closed: bool = True) -> ReaderLayout:
    """The plan of the records that `root` is the tree of.

    `is_closed`: a record with a field that is not in the tree is refused.
    """
    flat = _LayoutBuilder(is_closed=is_closed)
    nodes = [
        (root, entity.columns),
        *((root.arrays[one.field], one.columns) for one in entity.arrays),
    ]
    tables = [(flat.object(node, columns), len(columns)) for node, columns in nodes]
    places = {column.path: at for at, column in enumerate(entity.columns)}
    names = bytes(flat.names)
    parts = [_ints(part) for part in (flat.fields, flat.objects, flat.extras, tables)]
    result = ReaderLayout(
        names,
        *(part.buffer_info()[0] for part in parts),
        len(flat.fields),
        len(entity.arrays),
        max(count for _, count in tables),
        flat.slots,
        places[("id",)] if entity.has_id else _NONE,
        places.get(LAST_UPDATED, _NONE),
        len(entity.key_from_context),
    )
    result.kept = (names, parts)
    return result


class _LayoutBuilder:
    """Nested objects, one after the other."""

    def __init__(self, *, is_closed: bool) -> None:
        self._is_closed = is_closed
        self.names = bytearray()
        self.fields: list[tuple[int, ...]] = []
        self.objects: list[tuple[int, ...]] = []
        self.extras: list[tuple[int, ...]] = []
        self.slots = 0

    def object(self, node: ShapeNode, columns: Iterable[Column]) -> int:
        """The number of the object that this node and all below it become."""
        return self._object(node, (), {column.path: at for at, column in enumerate(columns)})

    def _object(self, node: ShapeNode, path: Path, columns: Mapping[Path, int]) -> int:
        fields: list[tuple[str, str, int]] = []
        extras: list[tuple[str, int, int]] = []
        for key in node.declared:
            if key in node.leaves:
                fields.append((key, str(node.leaves[key]), columns[*path, key]))
                continue
            inner = self._object(node.nodes[key], (*path, key), columns)
            fields.append((key, "object", inner))
            if node.nodes[key].unknown((*path, key)):
                extras.append((key, inner, _NONE))
        fields += [(key, "array", at) for at, key in enumerate(node.arrays)]
        for key in node.learned:
            if is_link((*path, key)):
                fields.append((key, "link", _NONE))
            else:
                fields.append((key, "extra", self.slots))
                extras.append((key, _NONE, self.slots))
                self.slots += 1
        if node.skips_info and "_info" not in node.nodes:
            fields.append(("_info", "link", _NONE))
        return self._put(fields, extras)

    def _put(self, fields: list[tuple[str, str, int]], extras: list[tuple[str, int, int]]) -> int:
        of_fields, of_extras = len(self.fields), len(self.extras)
        for key, kind, target in fields:
            self.fields.append((*self._name(key), _KINDS.index(kind), target))
        for key, inner, slot in sorted(extras):  # as `_extra` has its keys
            self.extras.append((*self._name(key), inner, slot))
        ends = (of_fields, len(fields), int(self._is_closed), of_extras, len(extras))
        self.objects.append(ends)
        return len(self.objects) - 1

    def _name(self, key: str) -> tuple[int, int]:
        name = key.encode()
        self.names += name
        return len(self.names) - len(name), len(name)


def _ints(rows: Iterable[tuple[int, ...]]) -> array[int]:
    return array("i", [number for row in rows for number in row])
