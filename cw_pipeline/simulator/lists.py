"""Which records answer a question, and the page they make."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from cw_pipeline.catalog.facts import facts, fields
from cw_pipeline.simulator.answers import BadQuery
from cw_pipeline.simulator.collection import NEVER, Collection
from cw_pipeline.simulator.conditions import Compare, Logic, Node, Path, paths, predicate
from cw_pipeline.simulator.grammar import parse
from cw_pipeline.simulator.query import AUDITED, ListRequest, prune, reader, sorted_ids
from cw_pipeline.simulator.role import PLAIN, Quirk, Sees
from cw_pipeline.simulator.tenant import template

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Mend: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
_ID: Path = ("id",)
_STAMPS: frozenset[Path] = frozenset({("lastupdated",), ("_info", "lastupdated")})
_INDEXED = _STAMPS | {_ID}
_SWEPT: frozenset[Path] = frozenset({_ID, ("_info", "lastupdated")})


class _SweptInfo(
    msgspec.Struct, frozen=True, omit_defaults=True, rename={"last_updated": "lastUpdated"}
):
    last_updated: str | None = None


class _Swept(msgspec.Struct, frozen=True, omit_defaults=True, rename={"info": "_info"}):
    """A record of which only id and stamp are wanted, read without the rest."""

    id: msgspec.Raw  # as it stands: records whose id is none are listed, too
    info: _SweptInfo = _SweptInfo()


_swept = msgspec.json.Decoder(_Swept).decode


@dataclass(frozen=True, slots=True)
class View:
    """A list as one caller sees it."""

    collection: Collection
    quirk: Quirk = PLAIN
    sees: Sees | None = None
    role_version: int = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """The ids of one page, in order. `more` says whether records follow; `last` counts pages."""

    ids: Sequence[int]
    more: bool
    last: int


def matching(view: View, asked: ListRequest) -> Sequence[int]:
    """Every id that answers the question, in the order asked. Raises BadQuery."""
    if view.quirk.refuses_conditions and any(asked.filters):
        raise BadQuery("This endpoint does not support conditions.")
    if view.quirk.refuses_order and asked.order_by:
        raise BadQuery("This endpoint does not support orderBy.", "orderBy")
    key = (asked.filters, asked.order_by, view.quirk, view.role_version)
    found: Sequence[int] = view.collection.memo(key, lambda: _matching(view, asked))
    return found


def page(view: View, asked: ListRequest) -> Slice:
    """One page of the answer. Raises BadQuery."""
    found = matching(view, asked)
    size = asked.page_size
    number = 1 if view.quirk.ignores_page else asked.page
    start = (number - 1) * size
    if asked.forward_only:
        start = 0 if asked.is_first else bisect_right(found, asked.page_id)
    ids = found[start : start + size + view.quirk.more_rows]
    last = -(-len(found) // size)
    return Slice(ids, more=start + len(ids) < len(found), last=last)


def body(
    view: View, ids: Sequence[int], fields: tuple[Path, ...], mend: Mend | None = None
) -> bytes:
    """The page as JSON. `mend` changes records on their way out, for faults."""
    fields = () if view.quirk.ignores_fields else fields
    if fields and set(fields) == _SWEPT and not (mend or view.quirk.no_info):
        return msgspec.json.encode([_swept(view.collection.raw(each)) for each in ids])
    if not (fields or mend or view.quirk.no_info):
        return view.collection.join(ids)
    records = (outgoing(view, each, fields, mend) for each in ids)
    return msgspec.json.encode(list(records))


def outgoing(
    view: View, record_id: int, fields: tuple[Path, ...], mend: Mend | None = None
) -> dict[str, Any]:
    """One record as it leaves. Raises KeyError."""
    record = view.collection.get(record_id)
    if view.quirk.no_info:
        record.pop("_info", None)
    if mend:
        record = mend(record)
    return prune(record, fields) if fields else record


def older(record: dict[str, Any]) -> dict[str, Any]:
    """The record as servers of 2019 have it: when and by whom it was entered is not in `_info`."""
    info = dict(record.get("_info") or {})
    moved = {name: info.pop(name) for name in ("dateEntered", "enteredBy") if name in info}
    return {**moved, **record, "_info": info} if moved else record


def visible(view: View, record_id: int) -> bool:
    """Whether this caller would find the record by its id."""
    if record_id not in view.collection:
        return False
    return view.sees is None or view.sees(view.collection.get(record_id))


def _matching(view: View, asked: ListRequest) -> Sequence[int]:
    tree = parse(asked.conditions) if asked.conditions else None
    if tree:
        _check_names(view.collection, {path[0] for path in paths(tree)})
    if tree and view.quirk.ignores_updated:
        tree = _without(tree, _STAMPS)
    if tree and view.quirk.ignores_ids:
        tree = _without(tree, frozenset({_ID}))
    ids = _by_index(view.collection, tree)
    tests = _record_tests(view, tree, asked)
    if tests:
        get = view.collection.get
        ids = [each for each in ids if _passes(get(each), tests)]
    match asked.order_by.lower():
        case "" | "id" | "id asc":
            return ids
        case "id desc":  # asked of every long list; needs no record opened
            return ids[::-1]
    return sorted_ids([(each, view.collection.get(each)) for each in ids], asked.order_by)


def _check_names(collection: Collection, asked: set[str]) -> None:
    """Raises BadQuery for a name that no record of the list could have."""
    known = _declared_names(template(collection.path))
    odd = asked - known if known else set()
    for record in collection if odd else ():
        odd -= {name.lower() for name in record}
    for name in sorted(odd):
        raise BadQuery(f"{name} is not a recognized name.", code="ApiFindCondition")


@cache
def _declared_names(like: str) -> frozenset[str]:
    """What a condition may ask about, by the API document; empty for a list it does not know."""
    model = _models().get(like)
    declared = fields(model) if model else {}
    names = {name.lower() for name in declared}
    references = {f"{name.lower()}id" for name, word in declared.items() if word.startswith("@")}
    return frozenset(names | references | AUDITED | {"id", "_info"}) if names else frozenset()


@cache
def _models() -> dict[str, str]:
    lists = facts()["lists"].items()
    return {template(path): fact["model"] for path, fact in lists if "model" in fact}


def _by_index(collection: Collection, tree: Node | None) -> Sequence[int]:
    """Ids that pass the part of the condition that needs no record opened."""
    indexed = [part for part in _conjuncts(tree) if paths(part) <= _INDEXED]
    if not indexed:
        return list(collection.ids)
    test = predicate(indexed[0] if len(indexed) == 1 else Logic("and", tuple(indexed)), _column)
    pairs = _candidates(collection, indexed)
    return [pair[0] for pair in pairs if test(pair)]


def _candidates(collection: Collection, parts: list[Node]) -> Iterable[tuple[int, int]]:
    """(id, stamp) of every record, or only of those that an `id in (…)` names."""
    for part in parts:
        if isinstance(part, Compare) and (part.path, part.op) == (_ID, "in"):
            return collection.index_of(each for each in part.value if isinstance(each, int))
    return zip(collection.ids, collection.stamps, strict=True)


def _column(path: Path) -> Callable[[tuple[int, int]], int | None]:
    if path == _ID:
        return lambda pair: pair[0]
    return lambda pair: None if pair[1] == NEVER else pair[1]


def _conjuncts(tree: Node | None) -> tuple[Node, ...]:
    if tree is None:
        return ()
    return tree.parts if isinstance(tree, Logic) and tree.word == "and" else (tree,)


def _record_tests(
    view: View, tree: Node | None, asked: ListRequest
) -> list[Callable[[dict[str, Any]], bool | None]]:
    """What is left to ask of each opened record."""
    tests = [predicate(p, reader) for p in _conjuncts(tree) if not paths(p) <= _INDEXED]
    if asked.child_conditions:
        tests.append(_in_array(parse(asked.child_conditions)))
    if asked.custom_field_conditions:
        tests.append(_in_custom_fields(parse(asked.custom_field_conditions)))
    if view.sees:
        tests.append(view.sees)
    return tests


def _passes(record: dict[str, Any], tests: list[Callable[[dict[str, Any]], bool | None]]) -> bool:
    return all(test(record) for test in tests)


def _in_array(tree: Node) -> Callable[[dict[str, Any]], bool]:
    """One and the same element of the array must answer the whole condition."""
    arrays = {path[0] for path in paths(tree)}
    if len(arrays) != 1:
        raise BadQuery("childConditions may ask about one array only.", "childConditions")
    array, test = arrays.pop(), predicate(tree, reader)
    read = reader((array,))
    return lambda record: any(test({array: each}) for each in read(record) or ())


def _in_custom_fields(tree: Node) -> Callable[[dict[str, Any]], bool]:
    test = predicate(tree, reader)
    return lambda record: any(test(each) for each in record.get("customFields") or ())


def _without(tree: Node, dropped: frozenset[Path]) -> Node | None:
    """The condition as a list hears it that does not know these fields."""
    if isinstance(tree, Compare):
        return None if tree.path in dropped else tree
    parts = tuple(part for each in tree.parts if (part := _without(each, dropped)))
    return Logic(tree.word, parts) if parts else None
