"""What the server says: an answer, and the vendor's bodies for every refusal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

JSON = "application/json; charset=utf-8"
HTML = "text/html"


@dataclass(slots=True)
class Answer:
    """One HTTP answer, before the headers that every answer carries."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """Raised anywhere under a request; becomes its answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class BadQuery(Refusal):
    """The question makes no sense (400)."""

    def __init__(
        self, message: str, where: str = "conditions", code: str = "InvalidObject"
    ) -> None:
        super().__init__(refusal(400, code, message, where))


class InvalidField(Refusal):
    """A record may not be written, because of one field (400)."""

    def __init__(self, resource: str, field: str, message: str, code: str = "InvalidField") -> None:
        error = {"code": code, "message": message, "resource": resource, "field": field}
        said = f"{resource} object is invalid"
        super().__init__(
            as_json({"code": "InvalidObject", "message": said, "errors": [error]}, 400)
        )


def as_json(value: Any, status: int = 200) -> Answer:  # noqa: ANN401
    """Any value as a JSON answer."""
    return Answer(status, msgspec.json.encode(value))


def from_json(body: bytes) -> Any:  # noqa: ANN401
    """The decoded body of a request. Raises BadQuery."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise BadQuery(f"Not JSON: {error}", "body") from None


def refusal(status: int, code: str, message: str, where: str | None = None) -> Answer:
    """The vendor's error body. `errors` is null unless a field is to blame."""
    errors = where and [{"code": code, "message": message, "resource": "query", "field": where}]
    return as_json({"code": code, "message": message, "errors": errors}, status)


def no_record(path: str, record_id: object) -> Answer:
    """404 for an id: `Service Ticket 404 not found`."""
    module, _, name = path.strip("/").partition("/")
    thing = name.split("/")[-1].removesuffix("s") or module
    return as_json(
        {"code": "NotFound", "message": f"{module.title()} {thing.title()} {record_id} not found"},
        404,
    )


def no_endpoint() -> Answer:
    """404 for a path the API does not have."""
    return as_json({"code": "ConnectWiseApi", "message": "The endpoint does not exist."}, 404)


def no_site() -> Answer:
    """404 of the web server in front of the API: a wrong codebase never reaches it."""
    page = (
        "<!DOCTYPE html><html><head><title>404 - File or directory not found.</title></head>"
        "<body><h2>404 - File or directory not found.</h2><h3>The resource you are looking for "
        "might have been removed, had its name changed, or is temporarily unavailable.</h3>"
        "</body></html>"
    )
    return Answer(404, page.encode(), HTML)


def not_authenticated(message: str = "UserNotAuthenticated") -> Answer:
    """401 for keys that are wrong, expired or missing."""
    return refusal(401, "Unauthorized", message)


def not_allowed() -> Answer:
    """403: the security role lacks the right."""
    return refusal(403, "Security", "You do not have security permission to perform this action.")


def wrong_method(allowed: str) -> Answer:
    """405, with the methods the URL does support."""
    answer = refusal(
        405, "MethodNotAllowed", "The requested resource does not support this HTTP method."
    )
    answer.headers["Allow"] = allowed
    return answer


def wrong_media() -> Answer:
    """415: documents are sent as a form, not as JSON."""
    return refusal(415, "UnsupportedMediaType", "Documents are sent as multipart/form-data.")


def url_too_long() -> Answer:
    """414 of the web server: a longer question has to be sent to /search."""
    page = "<html><head><title>Request URL Too Long</title></head><body></body></html>"
    return Answer(414, page.encode(), HTML)


def too_many(retry_after: str, wait: int) -> Answer:
    """429 as the guide shows it: `error`, not `code`."""
    answer = as_json(
        {
            "error": "ConnectWiseAPI",
            "message": f"Too many requests. Please try again in {wait} seconds.",
        },
        429,
    )
    answer.headers["Retry-After"] = retry_after
    return answer


def broken(status: int = 500, message: str = "An unexpected error occurred.") -> Answer:
    """A server error in the vendor's shape."""
    return refusal(status, "ServerError", message)
