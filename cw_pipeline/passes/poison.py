"""A page that stays broken while the API answers: halved down to the record that breaks it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cw_pipeline.errors import SourceBroken, SourceDown, SourceError
from cw_pipeline.model import Batch, Reject

if TYPE_CHECKING:
    from cw_pipeline.extract import Query
    from cw_pipeline.passes.reader import Reader

_FARTHEST = 2**40  # ids; beyond that the search for the record behind a gap gives up
_KEPT = 2000


def isolate(
    reader: Reader, query: Query, error: SourceError, *, parent_id: int | None, start: int
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
            return _poisoned(reader, query, error)
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


def _poisoned(reader: Reader, query: Query, error: SourceError) -> Batch:
    own = _next_id(reader, query)
    answer = getattr(error, "answer", "")
    reject = Reject(
        record_id=own,
        record=None,
        reason="cannot be read",
        detail=f"{error}\n{answer}".strip()[:_KEPT],
        request=f"GET {replace(query, page_size=1).url()}",
    )
    nothing: list[int] = []
    return Batch(
        read=1,
        cursor=own,
        ids=nothing,
        stamps=[],
        hashes=nothing,
        rows=[],
        array_rows=lambda _: [],
        rejects=(reject,),
    )


def _next_id(reader: Reader, query: Query) -> int:
    """The id of the first record behind the cursor, which cannot be read whole."""
    one = replace(query, page_size=1)
    try:
        ids = reader.ids(one)
    except (SourceBroken, SourceDown):
        return _stepped(reader, one)
    return ids[0] if ids else _stepped(reader, one)


def _stepped(reader: Reader, one: Query) -> int:
    """The same, where even `fields=id` fails: the least cursor behind which a page can be read."""
    low, high = one.cursor, one.cursor + 1
    while not _readable(reader, replace(one, cursor=high)):
        low, high = high, one.cursor + 2 * (high - one.cursor)
        if high - one.cursor > _FARTHEST:
            raise SourceBroken(f"{one.path}: nothing can be read behind id {one.cursor}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _readable(reader, replace(one, cursor=middle)) else (middle, high)
        )
    return high


def _readable(reader: Reader, query: Query) -> bool:
    try:
        reader.ids(query)
    except (SourceBroken, SourceDown):
        return False
    return True
