"""A page that stays broken while the API answers: halved down to the record that breaks it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cw_pipeline.errors import SourceBroken, SourceDown, SourceError
from cw_pipeline.model import Batch, Reject

if TYPE_CHECKING:
    from cw_pipeline.connectwise import Query
    from cw_pipeline.sync.list_reader import ListReader

_FARTHEST = 2**40  # ids; beyond that the search for the record behind a gap gives up
_KEPT = 2000


def bisect_page(
    reader: ListReader, query: Query, error: SourceError, *, parent_id: int | None, start: int
) -> Batch:
    """What can be read of a broken page: a shorter one, or the one record that cannot be read.

    Raises the error if the API does not answer a probe either: that is an outage, and nobody's
    record is to blame.
    """
    size = query.page_size
    while True:
        if not reader.answers():
            raise error
        if size == 1:
            # Nobody to blame: what broke the page went away meanwhile.
            blamed = _blame_first_record(reader, query, error)
            return blamed or reader.ask(replace(query, page_size=1), parent_id, start)
        size //= 2
        try:
            batch = reader.ask(replace(query, page_size=size), parent_id, start)
        except (SourceBroken, SourceDown) as again:
            error = again
        else:
            reader.page_size = size
            return batch


def is_timeout(error: SourceError) -> bool:
    """Whether the server was too slow for the page: databases say so in a 500's text."""
    if isinstance(error, SourceDown):
        return error.timed_out
    return "timeout" in f"{error} {getattr(error, 'answer', '')}".lower().replace(
        "time-out", "timeout"
    )


def _blame_first_record(reader: ListReader, query: Query, error: SourceError) -> Batch | None:
    """The batch that blames the first record behind the cursor; None if there is none any more."""
    own = _next_id(reader, replace(query, page_size=1))
    if own is None:
        return None
    answer = reader.shareable_answer(error)
    reject = Reject(
        record_id=own,
        record=None,
        reason="cannot be read",
        detail=f"{error}\n{answer}".strip()[:_KEPT],
        request=f"GET {replace(query, page_size=1).url()}",
    )
    return Batch(
        read=1, cursor=own, ids=(), last_updated=(), hashes=(), tables=(), rejects=(reject,)
    )


def _next_id(reader: ListReader, one: Query) -> int | None:
    """The id of the first record behind the cursor, which cannot be read whole."""
    try:
        ids = reader.ids(one)
    except (SourceBroken, SourceDown):
        return _closed_in(reader, one)
    return ids[0] if ids else None


def _closed_in(reader: ListReader, one: Query) -> int:
    """The same, where even `fields=id` fails: the least upper end at which the answer breaks.

    Not the least cursor behind which it does not: good records between two poisoned ones would be
    jumped. Raises SourceError if the whole list breaks, with no record in it or with any.
    """
    reader.ids(_upto(one, one.cursor))
    low, high = one.cursor, one.cursor + 1
    while _readable(reader, _upto(one, high)):
        low, high = high, one.cursor + 2 * (high - one.cursor)
        if high - one.cursor > _FARTHEST:
            raise SourceBroken(f"{one.path}: breaks behind id {one.cursor}, but at no record")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _readable(reader, _upto(one, middle)) else (low, middle)
    return high


def _upto(one: Query, last: int) -> Query:
    return replace(one, conditions=(*one.conditions, f"id <= {last}"))


def _readable(reader: ListReader, query: Query) -> bool:
    """Whether the ids can be read. Raises SourceError if nothing at all can be: an outage."""
    try:
        reader.ids(query)
    except (SourceBroken, SourceDown):
        if not reader.answers():
            raise
        return False
    return True
