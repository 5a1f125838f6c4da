"""What to ask ConnectWise for. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from cw_pipeline.model import IdRange, Window


class Paging(StrEnum):
    """How a list is walked."""

    FORWARD = "forward"  # the guide's forward-only: pageId, ordered by id
    KEYSET = "keyset"  # the same by a condition, where forward-only does not work
    OFFSET = "offset"  # page numbers; only for lists without ids, which are read whole


@dataclass(frozen=True, slots=True)
class Query:
    """One question to a list: what is asked, and which page of it."""

    path: str
    conditions: tuple[str, ...] = ()
    fields: str = ""
    page_size: int = 1000
    paging: Paging = Paging.FORWARD
    cursor: int = 0
    page: int = 1
    order: str = ""

    def after(self, cursor: int | None) -> Query:
        """The question for the page behind `cursor`."""
        if self.paging is Paging.OFFSET:
            return replace(self, page=self.page + 1)
        return replace(self, cursor=self.cursor if cursor is None else cursor)

    def within(self, window: Window, *, closed: bool = False) -> Query:
        """This question about a window only.

        `>=`, because stamps are whole seconds and many records share one. No upper bound unless
        `closed`: a record edited all day long must still be read.
        """
        conditions = list(self.conditions)
        if window.since is not None:
            conditions.append(f"lastUpdated >= {instant(window.since)}")
        if closed:
            conditions.append(f"lastUpdated < {instant(window.until)}")
        return replace(self, conditions=tuple(conditions))

    def among(self, ids: IdRange) -> Query:
        """This question about a range of ids only, from its cursor on."""
        upto = () if ids.upto is None else (f"id <= {ids.upto}",)
        return replace(self, conditions=(*self.conditions, *upto), cursor=ids.cursor)

    def url(self) -> str:
        """Path and query string. Spaces as %20: a plus sign may be read as one."""
        params = {"pageSize": str(self.page_size)}
        conditions = list(self.conditions)
        if self.paging is Paging.FORWARD:
            params["pageId"] = str(self.cursor)
        elif self.paging is Paging.KEYSET:
            conditions.append(f"id > {self.cursor}")
            params["orderBy"] = "id asc"
        else:
            params["page"] = str(self.page)
        if self.order:
            params["orderBy"] = self.order
        if conditions:
            params["conditions"] = " and ".join(conditions)
        if self.fields:
            params["fields"] = self.fields
        return f"{self.path}?{urlencode(params, quote_via=quote)}"

    def headers(self) -> dict[str, str]:
        """The headers this kind of paging takes."""
        return {"pagination-type": "forward-only"} if self.paging is Paging.FORWARD else {}


def instant(moment: datetime) -> str:
    """A date-time as conditions take it: UTC, whole seconds, in square brackets."""
    return moment.astimezone(UTC).strftime("[%Y-%m-%dT%H:%M:%SZ]")
