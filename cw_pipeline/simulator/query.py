"""One question, taken from the URL and its headers, and what can be told of it alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from cw_pipeline.simulator.answers import BadQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cw_pipeline.simulator.conditions import Path

DEFAULT_PAGE_SIZE = 25
AUDITED = frozenset({"lastupdated", "updatedby", "dateentered", "enteredby"})
"""Fields that conditions and orderBy find in `_info` when the record itself has none."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """The parameters of a list, as asked. `fields` are lower-case paths, empty for all.

    `is_first`: it names no pageId, which would be a condition on ids.
    """

    conditions: str = ""
    child_conditions: str = ""
    custom_field_conditions: str = ""
    order_by: str = ""
    fields: tuple[Path, ...] = ()
    page: int = 1
    page_size: int = DEFAULT_PAGE_SIZE
    page_id: int = 0
    is_first: bool = False
    forward_only: bool = False

    @property
    def filters(self) -> tuple[str, str, str]:
        """The three texts that choose records."""
        return self.conditions, self.child_conditions, self.custom_field_conditions


def question(
    query: Mapping[str, str], *, forward_only: bool = False, max_page_size: int = 1000
) -> ListRequest:
    """Reads the parameters, whatever the case of their names.

    Raises BadQuery for a number that is none, and for orderBy with forward-only.
    """
    given = {name.lower(): value for name, value in query.items()}
    if forward_only and given.get("orderby"):
        raise BadQuery("orderBy cannot be used with forward-only pagination.", "orderBy")
    size = _whole(given, "pagesize", DEFAULT_PAGE_SIZE)
    return ListRequest(
        conditions=given.get("conditions", "").strip(),
        child_conditions=given.get("childconditions", "").strip(),
        custom_field_conditions=given.get("customfieldconditions", "").strip(),
        order_by="" if forward_only else given.get("orderby", "").strip(),
        fields=field_paths(given.get("fields", "")),
        page=1 if forward_only else max(1, _whole(given, "page", 1)),
        page_size=min(size if size > 0 else DEFAULT_PAGE_SIZE, max_page_size),
        page_id=_whole(given, "pageid", 0) if forward_only else 0,
        is_first="pageid" not in given,
        forward_only=forward_only,
    )


def page_size(query: Mapping[str, str]) -> int:
    """The page size asked for, as it stands; the default where it is none."""
    text = next((v for k, v in query.items() if k.lower() == "pagesize"), "")
    return int(text) if text.isdecimal() else DEFAULT_PAGE_SIZE


def _whole(given: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(given.get(name) or default)
    except ValueError:
        raise BadQuery(f"The value '{given[name]}' is not valid for {name}.", name) from None


def field_paths(text: str) -> tuple[Path, ...]:
    """`id,Status/id` → `(("id",), ("status", "id"))`."""
    names = (each.strip().lower() for each in text.split(","))
    return tuple(tuple(name.split("/")) for name in names if name)


def reader(path: Path) -> Callable[[Mapping[str, Any]], Any]:
    """A function that reads one field of a record; None where it is absent."""
    if len(path) == 1 and path[0] in AUDITED:
        return lambda record: _step(record, path[0]) or _step(record.get("_info") or {}, path[0])
    if len(path) == 1 and path[0].endswith("id") and path[0] != "id":
        return _reference_id(path[0])

    def read(record: Mapping[str, Any]) -> Any:  # noqa: ANN401
        held: Any = record
        for step in path:
            if not isinstance(held, dict):
                return None
            held = _step(held, step)
        return held

    return read


def _reference_id(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """`BoardId`, as the guide writes it, is `board/id` where no such field exists."""

    def read(record: Mapping[str, Any]) -> Any:  # noqa: ANN401
        held = _step(record, name)
        if held is None:
            reference = _step(record, name[:-2])
            return reference.get("id") if isinstance(reference, dict) else None
        return held

    return read


def _step(record: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    if name in record:
        return record[name]
    return next((value for key, value in record.items() if key.lower() == name), None)


def prune(record: dict[str, Any], fields: tuple[Path, ...]) -> dict[str, Any]:
    """Only the fields asked for. A path into an array is taken in each of its elements."""
    inside: dict[str, list[Path]] = {}
    for path in fields:
        inside.setdefault(path[0], []).append(path[1:])
    return {
        key: _pruned_value(value, tuple(inside[key.lower()]))
        for key, value in record.items()
        if key.lower() in inside
    }


def _pruned_value(value: Any, rests: tuple[Path, ...]) -> Any:  # noqa: ANN401
    if () in rests:
        return value
    if isinstance(value, list):
        return [_pruned_value(each, rests) for each in value]
    return prune(value, rests) if isinstance(value, dict) else value


def sorted_ids(records: list[tuple[int, dict[str, Any]]], order_by: str) -> list[int]:
    """The ids in the order asked for; nothing comes before something, ties go by id."""
    for part in reversed([each.split() for each in order_by.split(",") if each.strip()]):
        name, way = part[0], (part[1].lower() if len(part) > 1 else "asc")
        if way not in {"asc", "desc"}:
            raise BadQuery(f"Cannot sort '{way}'; use asc or desc.", "orderBy")
        read = reader(tuple(name.lower().split("/")))
        records = sorted(records, key=lambda each: _sort_key(read(each[1])), reverse=way == "desc")
    return [record_id for record_id, _ in records]


def _sort_key(value: Any) -> tuple[int, Any]:  # noqa: ANN401
    match value:
        case None | dict() | list():
            return (0, 0)
        case str():
            return (2, value.casefold())
        case _:
            return (1, value)


def forward_link(url: str, query: Mapping[str, str], page_id: int) -> str:
    """The Link header of a forward-only page."""
    return _link(url, query, "next", pageId=page_id)


def page_links(url: str, query: Mapping[str, str], page: int, last: int) -> str:
    """The Link header of a navigable page; empty when there is only one."""
    if last <= 1 and page <= 1:
        return ""
    goals = {
        "next": page + 1 if page < last else None,
        "last": last,
        "first": 1 if page > 1 else None,
        "prev": page - 1 if page > 1 else None,
    }
    return ", ".join(_link(url, query, rel, page=to) for rel, to in goals.items() if to)


def _link(url: str, query: Mapping[str, str], rel: str, **place: int) -> str:
    kept = {k: v for k, v in query.items() if k.lower() not in {"page", "pageid"}}
    return f'<{url}?{urlencode({**kept, **place})}>; rel="{rel}"'
