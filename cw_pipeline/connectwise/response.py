"""What ConnectWise's answer means: which error a status is, and what time it is at the source.

| answer                                  | error           | asked again                        |
| --------------------------------------- | --------------- | ---------------------------------- |
| 429                                     | SourceBusy      | yes, after the wait that it names  |
| 408, 5xx, HTML or broken JSON           | SourceBroken    | yes, with growing waits            |
| no connection, no answer in time        | SourceDown      | yes, with growing waits            |
| 401, a certificate that is not trusted  | SourceDenied    | never; the run stops               |
| 403                                     | SourceForbidden | never; the other entities go on    |
| 404                                     | SourceMissing   | never; a list asks its codebase once |
| 400, 405, 409, 415, 3xx, any other      | SourceRefused   | never                              |
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from isal import isal_zlib

from cw_pipeline.errors import (
    SourceBroken,
    SourceBusy,
    SourceDenied,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceRefused,
)
from cw_pipeline.machine import THIS, Machine
from cw_pipeline.model import ClockReading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


log = logging.getLogger(__name__)

_GZIP_OR_ZLIB = 47
_GZIP = b"\x1f\x8b"
_STEP, _MOST = 1 << 20, 64 << 20  # bytes
_PIECE = 64 << 10  # bytes of a body that are inflated next, where it does not inflate at once


class BodyTooLarge(ValueError):
    """A body that inflates to more than it may."""


def inflate_body(sent: bytes, most: int, claim: Callable[[int], None]) -> bytes:
    """What is in it, up to `most` bytes. By hand: httpx inflates in pieces at four times the cost.

    `claim` is called with the size that comes next, before memory is taken for it. Raises
    BodyTooLarge for more than `most`, ValueError if it does not inflate.
    """
    inflater = isal_zlib.decompressobj(_GZIP_OR_ZLIB)
    whole, inflated = memoryview(sent), BytesIO()
    at, size, piece = 0, 0, whole
    # How large a body says it is, in a gzip's last four bytes (RFC 1952), and at least some: its
    # buffer is made for that at once. Believed up to a point, because it is the server's word.
    said = int.from_bytes(sent[-4:], "little") if sent.startswith(_GZIP) else 0
    step = min(max(said + 1, _STEP), _MOST)
    try:
        while True:
            claim(min(size + step, most))
            part = inflater.decompress(piece, min(step, most - size + 1))
            size += len(part)
            if size > most:
                raise BodyTooLarge
            if inflater.eof and size == len(part):
                return part  # at once, as every body that says how large it is
            inflated.write(part)
            if inflater.eof:
                return inflated.getvalue()
            at += len(piece) - len(inflater.unconsumed_tail)
            piece, step = whole[at : at + _PIECE], _STEP
            if not part and not piece:
                raise ValueError("a body that does not inflate (it ends early)")
    except isal_zlib.error as error:  # type: ignore[misc] # its stub leaves the base out
        raise ValueError(f"a body that does not inflate ({error})") from error


_SHOWN = 400
_KEPT = 2000
_SMALL = 1 << 20  # bytes
VERSION_REFUSED = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_ACCEPTABLE, 415)
"""How a server may answer a version in the Accept header that it does not have."""


def raise_for_status(status: int, headers: Mapping[str, str], body: bytes, asked: object) -> None:
    """Returns if the answer is a good one. Raises the error that says what to do next.

    `asked`: the question, whose text the error shows.
    """
    if status == HTTPStatus.OK:
        if "json" not in headers.get("content-type", "json").lower():
            raise SourceBroken(f"{asked}: an answer that is not JSON", status, _head(body))
        return
    raise _error(status, headers, body, asked)


def _error(status: int, headers: Mapping[str, str], body: bytes, asked: object) -> SourceError:
    said = f"{asked}: {status} {_error_text(body)}".rstrip()
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = retry_after(headers)
        return SourceBusy(said, status, _wait_in(_head(body)) if wait is None else wait)
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return SourceBroken(said, status, _head(body))
    if status == HTTPStatus.UNAUTHORIZED:
        return SourceDenied(
            f"{said.rstrip('.')}. Check CW_COMPANY, CW_PUBLIC_KEY, CW_PRIVATE_KEY and CW_CLIENT_ID",
            status,
        )
    if status == HTTPStatus.FORBIDDEN:
        role = "The API member's security role may not inquire it"
        return SourceForbidden(f"{said.rstrip('.')}. {role}", status)
    if status == HTTPStatus.NOT_FOUND:
        return SourceMissing(said, status)
    if status in VERSION_REFUSED and "version" in said.lower():
        said = f"{said.rstrip('.')}. Check CW_API_VERSION"
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        said = (
            f"{said}{_place(headers.get('location', ''))}. It is not followed, because the keys"
            " would go along: CW_SITE has to name the host that answers itself, with no login page"
            " or proxy before it"
        )
    elif status < HTTPStatus.MULTIPLE_CHOICES:
        said = f"{said}, where 200 is due: look at what is in between, such as a proxy"
    return SourceRefused(said, status)


def _place(location: str) -> str:
    """Where a redirect leads, without what may be secret of it."""
    try:
        host = urlsplit(location).netloc.rpartition("@")[2]
    except ValueError:  # no URL
        host = ""
    return f", a redirect to {host}" if host else ", a redirect"


def body_description(begin: bytes, body: bytes) -> str:
    """What a body is that is no list, as far as that can be told without quoting a record."""
    if begin.startswith(b"<"):
        return " but a page for people, as of a login, a proxy or maintenance"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in begin:
        return " in UTF-8 but, it seems, in UTF-16"
    said = _error_text(body) if len(body) <= _KEPT else ""
    return f". It says: {said}" if said else "" if begin else ": it is empty"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the server said, in seconds or as an HTTP date; None if it did not."""
    value = headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdecimal():
        return float(value)
    until = http_date(value)
    now = http_date(headers.get("date", "")) or datetime.now(UTC)
    return None if until is None else max(0.0, (until - now).total_seconds())


# Not of a date, a time of day or a number with separators.
_WAIT = re.compile(
    r"(?:again|retry|wait)[^\d.]{0,40}(\d+(?:\.\d+)?)(?![.,:/-]?\d)\s*(?:more\s+)?([a-z]*)",
    re.IGNORECASE,
)
_UNITS = {
    **dict.fromkeys(("ms", "msec", "milli", "millisecond"), 0.001),
    **dict.fromkeys(("", "s", "sec", "second"), 1.0),
    **dict.fromkeys(("m", "min", "minute"), 60.0),
    **dict.fromkeys(("h", "hr", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86_400.0),
    "week": 604_800.0,
    "month": 2_592_000.0,
}


def _wait_in(said: str) -> float | None:
    """Seconds to wait that a text names: "Please try again in 30 seconds". None if it does not."""
    for found in _WAIT.finditer(said):
        unit = found[2].lower()
        seconds = _UNITS.get(unit, _UNITS.get(unit.removesuffix("s")))
        if seconds is not None:
            return float(found[1]) * seconds
    return None


def http_date(value: str) -> datetime | None:
    """An HTTP date in UTC, or None if it is none. Without a zone it is UTC, as RFC 9110 says."""
    try:
        found = parsedate_to_datetime(value)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _error_text(body: bytes) -> str:
    """The vendor's own words, from either shape of error body."""
    try:
        found = decode_small(body)
    except (msgspec.DecodeError, UnicodeDecodeError, SourceBroken):
        return ""
    if not isinstance(found, dict):
        return ""
    parts = [str(found.get("message") or found.get("error") or "")]
    parts += [str(e.get("message", "")) for e in _list(found.get("errors")) if isinstance(e, dict)]
    return "; ".join(dict.fromkeys(part for part in parts if part))[:_SHOWN]


def decode_small(body: bytes) -> Any:  # noqa: ANN401 - whatever the server says
    """The value of a body that has no reason to be large, as are all but pages of records.

    Raises SourceBroken for one that has more than a megabyte, or is nested deeply: small bodies can
    be made to need a hundred times their size.
    """
    if len(body) > _SMALL:
        raise SourceBroken(f"{len(body):,} bytes where a small answer is due", HTTPStatus.OK)
    try:
        return msgspec.json.decode(body)
    except RecursionError as error:
        raise SourceBroken("an answer that is nested too deeply", HTTPStatus.OK) from error


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _head(body: bytes) -> str:
    return body[:_KEPT].decode("utf-8", "replace")


@dataclass(slots=True, eq=False)
class SourceClock:
    """The source's clock beside this machine's and the warehouse's. Safe to share between threads.

    A `Date` is believed if it is no more than `tolerance` from both. `reading` are the clocks at
    the latest answer; None before the first.
    """

    tolerance: timedelta = timedelta(seconds=60)
    machine: Machine = THIS
    reading: ClockReading | None = None
    _disorder: str = ""
    _is_logged: bool = False
    _lock: Lock = field(default_factory=Lock)

    def note_answer(self, date: str, warehouse_ahead: timedelta | None) -> None:
        """Notes the `Date` header of an answer that has just come, empty if it has none.

        `warehouse_ahead`: by how much the warehouse's clock is ahead of this machine's; None where
        that is not known.
        """
        machine = self.machine.now()
        warehouse = None if warehouse_ahead is None else machine + warehouse_ahead
        reading = ClockReading(http_date(date), machine, warehouse, self.tolerance)
        with self._lock:
            self.reading = reading
            if disorder := reading.disorder:
                self._disorder = disorder
                if not self._is_logged:
                    self._is_logged = True
                    log.warning("%s", disorder)

    def take_disorder(self) -> str:
        """The latest disagreement of the clocks that was not taken yet; empty if there is none."""
        with self._lock:
            disorder, self._disorder = self._disorder, ""
            return disorder
