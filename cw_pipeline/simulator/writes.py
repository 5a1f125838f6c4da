"""POST, PUT, PATCH and DELETE on lists, so that other people's clients can be tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator import levels
from cw_pipeline.simulator.answers import (
    Answer,
    BadQuery,
    InvalidField,
    Refusal,
    as_json,
    from_json,
    no_record,
    wrong_method,
)
from cw_pipeline.simulator.saving import save_record

if TYPE_CHECKING:
    from cw_pipeline.simulator.routes import Target
    from cw_pipeline.simulator.tenant import Tenant


_METHODS = {"list": "GET, POST", "record": "GET, PUT, PATCH, DELETE", "search": "POST"}
_READ_ONLY = frozenset({"id", "_info"})


def write(tenant: Tenant, method: str, target: Target, body: bytes, url: str) -> Answer:
    """Does what was asked of `url` and answers as the guide says. Raises Refusal."""
    match method, target.what:
        case "POST", "list":
            with tenant.lock:
                asked = _object(body)
                if not asked.get("id"):  # the guide's own example says 0
                    asked.pop("id", None)
                made = tenant.put(target.path, _accept(tenant, target.path, asked))
            answer = as_json(made, 201)
            answer.headers["Location"] = f"{url.rstrip('/')}/{made['id']}"
            return answer
        case (("PUT" | "PATCH" | "DELETE"), "record"):
            return _change(tenant, method, target, body)
        case _:
            raise Refusal(wrong_method(_METHODS.get(target.what, "GET")))


def _change(tenant: Tenant, method: str, target: Target, body: bytes) -> Answer:
    with tenant.lock:
        if target.record_id not in tenant.collection(target.path):
            raise Refusal(no_record(target.path, target.record_id))
        if method == "DELETE":
            tenant.delete(target.path, target.record_id)
            return Answer(204, content_type="")
        old = tenant.get(target.path, target.record_id)
        new = _apply_patch(old, from_json(body)) if method == "PATCH" else _object(body)
        info = {**old.get("_info", {}), **new.get("_info", {})}
        whole = {**new, "id": target.record_id, "_info": info}
        return as_json(tenant.put(target.path, _accept(tenant, target.path, whole, old)))


def _accept(
    tenant: Tenant, path: str, record: dict[str, Any], old: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The record as it is stored. Raises InvalidField.

    Only registrations of callbacks are refused: whatever else lacks gets a default.
    """
    if path != levels.REGISTRATIONS:
        return save_record(tenant, path, record, old)
    made = levels.check(record)
    others = tenant.records(path).values()
    if any(levels.is_same(made, each) for each in others if each["id"] != made.get("id")):
        raise InvalidField("callback", "objectId", "This callback exists already", "ObjectExists")
    return made


def _apply_patch(record: dict[str, Any], operations: Any) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(operations, list):
        raise BadQuery("A patch is an array of operations.", "op")
    new = dict(record)
    for each in operations:
        match each:
            case {"op": "add" | "replace", "path": str(path), "value": value}:
                _set(new, path.strip("/"), value)
            case {"op": "remove", "path": str(path)}:
                _set(new, path.strip("/"), None)
            case _:
                raise BadQuery("Not a patch operation.", "op")
    return {name: value for name, value in new.items() if value is not None}


def _set(record: dict[str, Any], path: str, value: Any) -> None:  # noqa: ANN401
    """Sets one field. Raises BadQuery for one that is spelt in another case.

    Below a field nothing is changed, and nothing said of it: the guide's false 200.
    """
    known = next((name for name in record if name.lower() == path.lower()), path)
    if known != path:
        raise BadQuery(f"{path} is not a recognized name: paths are case sensitive.", "path")
    if "/" not in path and path not in _READ_ONLY:
        record[path] = value


def _object(body: bytes) -> dict[str, Any]:
    record = from_json(body)
    if not isinstance(record, dict):
        raise BadQuery("The body must be one JSON object.", "body")
    return {name: value for name, value in record.items() if value is not None}
