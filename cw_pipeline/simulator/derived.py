"""Addresses that show records of other lists: `/info` copies, defaults and bundles."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cw_pipeline.catalog.facts import facts
from cw_pipeline.simulator.answers import Answer, BadQuery, Refusal, as_json, from_json, refusal
from cw_pipeline.simulator.query import question
from cw_pipeline.simulator.routes import Target
from cw_pipeline.simulator.tenant import canonical, template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cw_pipeline.simulator.query import ListRequest
    from cw_pipeline.simulator.tenant import Tenant

BUNDLES = "/system/bundles"
_ELSEWHERE = {
    "/configurations/types": "/company/configurations/types",
    "/service/priority": "/service/priorities",
}
"""The list of an `/info` copy, where the copy's address without `info` is not that of the list."""
_FIELDS = Path(__file__).parent / "light_copies.json"
"""The fields of each light copy, derived from the API document."""
_ACTIVE = "/service/info/boards/active"
_DEFAULT = "/default"
_REPEATED = ("sequenceNumber", "resourceType", "version")
_SAME = {"serviceticket": "/service/tickets", "projectticket": "/project/tickets"}


def info_paths() -> list[str]:
    """Every light copy that the API document has."""
    return [path for path, fact in facts()["lists"].items() if fact["kind"] == "info"]


def original(tenant: Tenant, path: str, asked: ListRequest) -> tuple[str, ListRequest]:
    """The path and the question that a light copy stands for; any other path as it is.

    A copy that the tenant has records of its own for is a list like others.
    """
    place = canonical(path)
    copy = _copies().get(template(_list_of(place)))
    if copy is None or tenant.has_like(_list_of(place)):
        return path, asked
    if place.startswith(_ACTIVE):
        place = place.replace(_ACTIVE, "/service/boards")
        both = "inactiveFlag = False"
        both += f" and ({asked.conditions})" if asked.conditions else ""
        asked = replace(asked, conditions=both)
    else:
        place = _original_of(place)
    wanted = asked.fields or tuple((name,) for name in sorted(copy))
    shown = tuple(each for each in wanted if each[0] in copy)
    return place, replace(asked, fields=shown or (("id",),))


def is_copy(path: str) -> bool:
    """Whether a path is that of a light copy or of a record of it, which can only be read."""
    return template(_list_of(canonical(path))) in _content()


def _list_of(place: str) -> str:
    """`/service/boards/5/info` and `/service/boards/info/count` → `/service/boards/info`."""
    place = place.removesuffix("/count")
    head, _, tail = place.rpartition("/")
    if tail == "info":
        above, _, record_id = head.rpartition("/")
        return f"{above}/info" if record_id.isdecimal() else place
    return head if tail.isdecimal() else place


@cache
def _copies() -> dict[str, frozenset[str]]:
    """The fields that each light copy shows, for those whose list can be told."""
    lists = {template(path) for path, fact in facts()["lists"].items() if fact["kind"] != "info"}
    return {
        path: frozenset(names.lower().split())
        for path, names in _content().items()
        if path == _ACTIVE or _original_of(path) in lists
    }


@cache
def _content() -> dict[str, str]:
    content: dict[str, str] = json.loads(_FIELDS.read_text(encoding="utf-8"))
    return content


def _original_of(place: str) -> str:
    place = place.replace("/info", "", 1)
    for prefix, elsewhere in _ELSEWHERE.items():
        if place.startswith(prefix):
            return place.replace(prefix, elsewhere, 1)
    return place


def default(tenant: Tenant, path: str) -> Target | None:
    """The record that `…/default` answers with, where the API document has such an address.

    That which is marked as the default, else the first. Raises Refusal (404) without records.
    """
    place = canonical(path)
    if not place.endswith(_DEFAULT) or place not in _singletons():
        return None
    list_of = place.removesuffix(_DEFAULT)
    records = tenant.records(list_of)
    if not records:
        raise Refusal(refusal(404, "NotFound", "There is no default."))
    marked = (record_id for record_id, record in records.items() if record.get("defaultFlag"))
    return Target("record", list_of, next(marked, next(iter(records))))


@cache
def _singletons() -> frozenset[str]:
    lists = facts()["lists"].items()
    return frozenset(canonical(path) for path, fact in lists if fact["kind"] == "singleton")


def bundle(
    body: bytes, read: Callable[[Target, ListRequest], Answer], *, counts: bool, max_page_size: int
) -> Answer:
    """The answers to several questions at once: one may fail and the others do not.

    What a `resourceType` is called is not documented: a model's name, such as Ticket or TimeEntry.
    """
    sent = from_json(body)
    requests = sent.get("requests") if isinstance(sent, dict) else None
    if not isinstance(requests, list) or not all(isinstance(each, dict) for each in requests):
        raise BadQuery("The field requests is required.", "requests")
    results = []
    for each in requests:
        result = {name: each[name] for name in _REPEATED if name in each}
        try:
            target, asked = _bundle_request(each, counts=counts, max_page_size=max_page_size)
            answer = read(target, asked)
        except Refusal as refused:
            answer = refused.answer
        results.append({**result, **_result(answer, counts=counts)})
    return as_json({"results": results})


def _bundle_request(
    request: Mapping[str, Any], *, counts: bool, max_page_size: int
) -> tuple[Target, ListRequest]:
    """The question of one request of a bundle. Raises Refusal."""
    wanted = str(request.get("resourceType", "")).lower()
    path = _by_model().get(wanted)
    if path is None:
        raise Refusal(refusal(404, "NotFound", f"Resource type {wanted} not found"))
    inner = _part(request, "apiRequest") or _part(request, "ApiRequest")
    for name in ("grandParentId", "parentId")[2 - path.count("{}") :]:
        path = path.replace("{}", str(_id(inner, name)), 1)
    given = {**_part(inner, "filters"), **_part(inner, "page"), "fields": inner.get("fields")}
    query = {name: str(value) for name, value in given.items() if value is not None}
    asked = question(query, max_page_size=max_page_size)
    if inner.get("id"):
        return Target("record", path, _id(inner, "id")), asked
    return Target("count" if counts else "list", path), asked


def _part(request: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object inside a request; empty where there is none. Raises Refusal."""
    part = request.get(name)
    if part is not None and not isinstance(part, dict):
        raise BadQuery(f"The field {name} must be an object.", name)
    return part or {}


def _id(request: Mapping[str, Any], name: str) -> int:
    """A number inside a request. Raises Refusal."""
    found = request.get(name)
    if found is None:
        raise BadQuery(f"The field {name} is required.", name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise BadQuery(f"The field {name} must be a whole number.", name)
    return found


def _result(answer: Answer, *, counts: bool) -> dict[str, Any]:
    said = msgspec.json.decode(answer.body)
    good = answer.status == 200  # noqa: PLR2004
    result: dict[str, Any] = {"success": good, "statusCode": answer.status}
    if not good:
        return result | {"error": said}
    if counts:
        return {**result, **said}
    found = said if isinstance(said, list) else [said]
    return result | {"entities": found, "count": len(found)}


@cache
def _by_model() -> dict[str, str]:
    """The list of each model's records: that which is nearest to the top."""
    lists = [(p, f) for p, f in facts()["lists"].items() if f["kind"] == "entity" and "model" in f]
    lists.sort(key=lambda each: (each[0].count("{"), len(each[0])), reverse=True)
    found = {fact["model"].lower(): canonical(template(path)) for path, fact in lists}
    return found | {"ticket": "/service/tickets"} | _SAME
