"""What to ask ConnectWise for. Pure: no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode

import msgspec
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cw_pipeline.model import Window

_URL = 1745  # characters; the guide's safe length, 2,000 less the longest host name
_BELOW_ALL = -(2**31)  # ids
_SHOWN = 120  # characters of a parameter, in texts for people
_REST = 400  # what a question holds beside its ids: codebase, path, paging, fields


API = "/apis/3.0"
"""What the URL of every question to the API has between host and codebase, and its path."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as it will be sent.

    As text it is what people read: without host and codebase, see `readable_request`.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    method: str = "GET"
    anonymous: bool = False

    @override
    def __str__(self) -> str:
        return readable_request(self.method, self.url.split(API, 1)[-1])


class Paging(StrEnum):
    """How a list is walked."""

    FORWARD = "forward"  # the guide's forward-only: pageId, ordered by id
    KEYSET = "keyset"  # the same by a condition, where forward-only does not work
    OFFSET = "offset"  # page numbers; only for lists without ids, which are read whole


@dataclass(frozen=True, slots=True)
class Query:
    """One question to a list: what is asked, and which page of it.

    `has_cursor`: the cursor is an id that a page ended with, also where it is 0: else that is none.
    """

    path: str
    conditions: tuple[str, ...] = ()
    fields: str = ""
    page_size: int = 1000
    paging: Paging = Paging.FORWARD
    cursor: int = 0
    has_cursor: bool = False
    upto: int | None = None
    page: int = 1
    order: str = ""
    search: bool = False

    def next_page(self, cursor: int | None) -> Query:
        """The question for the page behind `cursor`.

        Where that has not moved, because no record on the page has an id, the page after it.
        """
        if self.paging is Paging.OFFSET:
            return replace(self, page=self.page + 1)
        if cursor is None or cursor == self.cursor:
            return replace(self, paging=Paging.KEYSET, page=self.page + 1)
        return replace(self, cursor=cursor, has_cursor=True, page=1)

    @property
    def is_behind(self) -> bool:
        """Whether it asks for ids behind the cursor only."""
        return self.has_cursor or self.cursor != 0

    def changed_in(self, window: Window, *, closed: bool = False) -> Query:
        """This question about a window only.

        `>=`, because stamps are whole seconds and many records share one. No upper bound unless
        `closed`: a record edited all day long must still be read.
        """
        conditions = list(self.conditions)
        if window.since is not None:
            conditions.append(f"lastUpdated >= {format_timestamp(window.since)}")
        if closed:
            conditions.append(f"lastUpdated < {format_timestamp(window.until)}")
        return replace(self, conditions=tuple(conditions))

    def for_ids(self, ids: Sequence[int], *, search: bool = False) -> Iterator[Query]:
        """Questions about just these ids, ascending, each short enough for a URL.

        `search`: the list takes long conditions in the body of a POST to `/search`, so a page's
        worth goes into one question (guide, "Using the /Search endpoints").
        """
        left = sorted(set(ids))
        while left:
            some = left[: self.page_size] if search else _fitting(left)
            condition = f"id in ({','.join(map(str, some))})"
            asked = replace(self, conditions=(*self.conditions, condition), cursor=0)
            if search and len(asked.url()) > _URL:
                # Nobody says that /search takes forward-only paging; few pages shift nothing.
                asked = replace(asked, search=True, paging=Paging.OFFSET)
            yield asked
            left = left[len(some) :]

    def request(self) -> Request:
        """The request that asks it: a POST with the conditions in its body where it is a search.

        Spaces in its URL are %20: a plus sign may be read as one.
        """
        upto = () if self.upto is None else (f"id <= {self.upto}",)
        # None of zero on the first page: ids may be zero and below. A keyset has one there, too, so
        # that a list that takes no conditions refuses before anything of it is read.
        behind = str(self.cursor) if self.is_behind else ""
        keyset: tuple[str, ...] = ()
        if self.paging is Paging.KEYSET and (behind or self.page == 1):
            keyset = (f"id > {behind or _BELOW_ALL}",)
        conditions = " and ".join((*self.conditions, *upto, *keyset))
        params = {"pageSize": str(self.page_size)}
        if self.paging is Paging.FORWARD and behind:
            params["pageId"] = behind
        elif self.paging is Paging.KEYSET:
            params["orderBy"] = "id asc"
        if self.paging is Paging.OFFSET or self.page > 1:
            params["page"] = str(self.page)
        if self.order:
            params["orderBy"] = self.order
        if conditions and not self.search:
            params["conditions"] = conditions
        if self.fields:
            params["fields"] = self.fields
        path = f"{self.path.rstrip('/')}/search" if self.search else self.path
        url = f"{path}{'&' if '?' in path else '?'}{urlencode(params, quote_via=quote)}"
        headers = {"pagination-type": "forward-only"} if self.paging is Paging.FORWARD else {}
        if self.search:
            return Request(url, headers, msgspec.json.encode({"conditions": conditions}), "POST")
        return Request(url, headers)

    def url(self) -> str:
        """Path and query string."""
        return self.request().url

    @override
    def __str__(self) -> str:
        return str(self.request())


def _fitting(ids: Sequence[int]) -> Sequence[int]:
    """As many of the first ids as a URL has room for, with the rest of the question."""
    room = _URL - _REST
    for at, record_id in enumerate(ids):
        room -= len(str(record_id)) + len("%2C")
        if room < 0:
            return ids[: max(1, at)]
    return ids


def readable_request(method: str, url: str) -> str:
    """A request as people read it: not percent-encoded, long lists of ids and fields cut short."""
    path, mark, query = url.partition("?")
    values = map(unquote, query.split("&"))  # before they are cut, or half a code would be left
    shown = (each if len(each) <= _SHOWN else f"{each[:_SHOWN]}…" for each in values)
    return f"{method} {unquote(path)}{mark}{'&'.join(shown)}"


def path_for(path: str, parents: Sequence[int] = ()) -> str:
    """A list's path with its parents' ids, outermost first, in the places for them.

    Where only the innermost is asked for, the others are left out. Raises ValueError for too few.
    """
    first, *rest = re.split(r"\{\w+\}", path)
    inner = parents[len(parents) - len(rest) :]
    return first + "".join(
        f"{parent_id}{step}" for parent_id, step in zip(inner, rest, strict=True)
    )


def format_timestamp(moment: datetime) -> str:
    """A date-time as conditions take it: UTC, whole seconds, in square brackets."""
    return moment.astimezone(UTC).strftime("[%Y-%m-%dT%H:%M:%SZ]")
