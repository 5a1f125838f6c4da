"""Walking a list: batches in order until an empty page, the next one fetched meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from cw_pipeline.connectwise import (
    PROBING,
    Paging,
    Query,
    RequestCounts,
    body_description,
    path_for,
)
from cw_pipeline.errors import (
    PipelineError,
    SourceBroken,
    SourceDown,
    SourceError,
    SourceRefused,
    SourceUnreachable,
)
from cw_pipeline.model import TAIL, Batch, Reject
from cw_pipeline.transform import decode_ids
from cw_pipeline.transform.pages import SkippingPageReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from cw_pipeline.connectwise import Policy
    from cw_pipeline.model import Entity, IdRange
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.transform.pages import StoredHashes


_EDGE = 100  # bytes; stripping all of a body would copy megabytes
_SEARCHED = 600.0  # seconds: each size of a page down to one record, where each fails in a minute
_GROWS_AFTER = 2  # good pages at a reduced size before a larger one is tried


class PagingNotHonored(PipelineError):
    """The list does not take the paging it was asked with: ids do not go up from page to page."""


class ListReader:
    """Reads one entity's list for one run, and counts what that costs.

    `known` tells what is stored; without it every record is decoded. `mask`: what hides what is
    private in a page; None if nothing is.
    """

    def __init__(
        self, context: SyncContext, entity: Entity, known: StoredHashes | None = None
    ) -> None:
        self.context = context
        self.entity = entity
        self.mask = context.privacy.mask_of(entity) if context.privacy else None
        self.page_reader = SkippingPageReader(entity, known)
        self._good = 0
        # How many records behind an id were on a page that broke, and not yet read.
        self.suspects: dict[int, int] = {}
        # Records without an id on the page that ended at an id: see `without_repeated`.
        self._nameless: dict[tuple[str, int], Counter[str | None]] = {}
        self.tally = RequestCounts()
        self.pages = 0
        self.page_size = context.limits.page_size
        self.timed_out = False
        self.stuck_since: float | None = None
        self.paging = Paging.FORWARD if entity.has_id else Paging.OFFSET

    def query(self, parents: tuple[int, ...] = (), ids: IdRange = TAIL) -> Query:
        """A question for the whole list, for one parent's part of it, or for a range of its ids.

        `parents` are the ids that the path names, outermost first. A range is asked for from its
        cursor on.
        """
        path = path_for(self.entity.path, parents)
        return Query(
            path, page_size=self.page_size, paging=self.paging, cursor=ids.cursor, upto=ids.upto
        )

    def page_or_bisect(
        self, pending: Future[bytes], query: Query, parent_id: int | None, start: int
    ) -> Batch:
        """A page, or what can be read of it, in order."""
        try:
            self.context.wait_for(pending)
            batch = self._read_batch(pending.result(), query, parent_id, start)
            if batch.read and batch.cursor is None and query.paging is not Paging.OFFSET:
                self.pages += 1
                return replace(batch, cursor=query.cursor)  # no id: `next_page` asks by its number
            self._good += 1
            most = self.context.limits.page_size
            if query.page_size < most and self._good >= _GROWS_AFTER and not self.timed_out:
                self.page_size = min(most, 2 * query.page_size)
                self._good = 0
        except (SourceBroken, SourceDown) as error:
            self._good = 0
            self.stuck_since = self.context.machine.monotonic()
            self.timed_out = self.timed_out or is_timeout(error)
            if query.paging is Paging.OFFSET or query.page > 1:
                raise  # without ids there is no telling what is poisoned
            batch = bisect_page(self, query, error, parent_id=parent_id, start=start)
            if batch.cursor is not None:
                self.suspects[batch.cursor] = query.page_size - batch.read
        if batch.read:
            self.pages += 1
            if query.paging is not Paging.OFFSET:
                _check_order(query, batch)
                nameless = Counter(r.record for r in batch.rejects if r.record_id is None)
                if nameless and batch.cursor is not None:
                    self._nameless[query.path, batch.cursor] = nameless
        return batch

    def without_repeated(self, query: Query, batch: Batch) -> Batch:
        """A page without the records that have no id and were on the page before it, too.

        A list that has them behind all others shows them again behind the last id.
        """
        before = self._nameless.pop((query.path, query.cursor), None)
        if before is None or query.page > 1:
            return batch
        kept: list[Reject] = []
        for reject in batch.rejects:
            if reject.record_id is None and before[reject.record] > 0:
                before[reject.record] -= 1
            else:
                kept.append(reject)
        left_out = len(batch.rejects) - len(kept)
        return replace(batch, read=batch.read - left_out, rejects=tuple(kept))

    def check_progress(self, error: SourceError) -> None:
        """Raises SourceBroken where looking for what breaks a page has taken too long."""
        assert self.stuck_since is not None, "a page broke"
        if self.context.machine.monotonic() - self.stuck_since > _SEARCHED:
            raise SourceBroken(
                f"{error}. No part of the page came within {_SEARCHED / 60:g} minutes more, while"
                " other questions were answered: the list is left for the next sync. If its server"
                " is that slow, raise CW_TIMEOUT_SECONDS; or take the list out of CW_ENTITIES"
            ) from error

    def ask(self, query: Query, parent_id: int | None = None, start: int = 0) -> Batch:
        """One page, asked for with little patience: for finding what is poisoned."""
        body = self.context.source.ask(query, _sound, self.tally, policy=PROBING)
        return self._read_batch(body, query, parent_id, start)

    def ids(self, query: Query) -> list[int]:
        """The ids of one page, asked for with little patience."""
        return self.context.source.ask(
            replace(query, fields="id"), decode_ids, self.tally, policy=PROBING
        )

    def answers(self) -> bool:
        """Whether the API answers at all."""
        return self.context.source.is_reachable(self.tally)

    def count(self) -> int:
        """How many records the list says it has."""
        return self.context.source.count(self.entity.path, "", self.tally)

    def highest_id(self) -> int | None:
        """The highest id in the list, or None if the list does not say."""
        query = replace(
            self.query(), page_size=1, fields="id", order="id desc", paging=Paging.OFFSET
        )
        try:
            ids = self.context.source.ask(query, decode_ids, self.tally)
        except (SourceRefused, SourceBroken):
            # No such order, or a last record that cannot be read; one piece works all the same.
            return None
        return ids[0] if ids else None

    def ids_still_listed(self, ids: Sequence[int], parents: tuple[int, ...] = ()) -> set[int]:
        """Which of these ids the list has, asked with as few and as short questions as can be."""
        try:
            return self._find_listed(ids, parents)
        except SourceRefused:  # it takes no conditions: all of it is the answer
            query, parent_id = self.query(parents), parents[-1] if parents else None
            return {
                record_id
                for batch in PageWalk(self, query, parent_id)
                for record_id in batch.listed_ids
            }

    def _find_listed(self, ids: Sequence[int], parents: tuple[int, ...]) -> set[int]:
        listed: set[int] = set()
        for query in self._about(ids, parents):
            asked = replace(query, fields="id")
            # To the empty page: a server's own page size must not make a record look deleted.
            while some := self.context.source.ask(asked, decode_ids, self.tally):
                if listed.issuperset(some):
                    break
                listed.update(some)
                asked = asked.next_page(max(some))
        return listed

    def read_ids(
        self,
        ids: Sequence[int],
        parents: tuple[int, ...] = (),
        *,
        until_all_are_read: bool = False,
    ) -> Iterator[Batch]:
        """Batches of just these records, as far as the list has them.

        `until_all_are_read` ends where none is left to be read. The empty page that ends a list
        would else be half of the requests for a record.
        """
        parent_id = parents[-1] if parents else None
        left = set(ids)
        for query in self._about(ids, parents):
            walk = PageWalk(self, query, parent_id)
            while (batch := walk.read()) is not None:
                yield batch
                left.difference_update(batch.listed_ids)
                if until_all_are_read and not left:
                    return
                walk.ask(query.upto)

    def _about(self, ids: Sequence[int], parents: tuple[int, ...]) -> Iterator[Query]:
        return self.query(parents).for_ids(ids, search=self.entity.search and not parents)

    def batch_of(self, body: bytes, parent_id: int | None) -> Batch:
        """The batch of a body that was kept: what is private in it is hidden already."""
        return self.page_reader.plain(body, parent_id)

    def shareable_answer(self, error: SourceError) -> str:
        """What of a broken answer may be kept: nothing, if it may say what is private."""
        return "" if self.mask else str(getattr(error, "answer", ""))

    def fetch(
        self, query: Query, *, suspect: bool = False, policy: Policy | None = None
    ) -> Future[bytes]:
        """A page's body, on its way. Raises Interrupted when the run is to end.

        `suspect`: it was part of a page that broke, so there is little point in asking for long.
        """
        self.context.check()
        policy = PROBING if suspect else policy
        ask = self.context.source.ask
        return self.context.fetchers.submit(lambda: ask(query, _sound, self.tally, policy=policy))

    def what_is_shown(self, batch: Batch) -> list[int | str | None]:
        """What another page cannot show too: its ids, or hashes, and what was rejected.

        Records that are stored as they are have no hash, but those have ids.
        """
        loaded = batch.ids if self.entity.has_id else batch.hashes
        return [*loaded, *(reject.record for reject in batch.rejects)]

    def _read_batch(self, body: bytes, query: Query, parent_id: int | None, start: int) -> Batch:
        if self.mask is not None:
            body = self.mask.mask_page(body)
        batch = self.page_reader.batch(body, parent_id, start)
        rejects = tuple(replace(reject, request=str(query)) for reject in batch.rejects)
        return replace(batch, rejects=rejects, request=query)


class PageWalk:
    """A walk over a list in order, the next page on its way while one is worked on.

    Ends at an empty page and at nothing else: a short page may be a server's own limit, and the
    link to a next page is always there (guide, "Forward-Only"). A record that cannot be read
    comes as a reject. Raises PagingNotHonored, and SourceError when the API is out. `pending`: the
    next page's body, on its way. `shows_all`: as far as its paging can tell; pages by their number
    leave a record out where another one went meanwhile. For lists without ids, which have no other
    way, see `EntityStore.complete_pass`.
    """

    def __init__(self, reader: ListReader, query: Query, parent_id: int | None = None) -> None:
        self._reader = reader
        self._query = query
        self._parent_id = parent_id
        self._start = 0
        self._suspects = reader.suspects.get(query.cursor, 0)
        self._before: list[int | str | None] | None = None
        self.shows_all = True
        self.pending = reader.fetch(query, suspect=self._suspects > 0)

    def __iter__(self) -> Iterator[Batch]:
        try:
            while (batch := self.next()) is not None:
                yield batch
        finally:
            self.pending.cancel()

    def next(self) -> Batch | None:
        """The next batch, or None at the end; the one behind it is sent for."""
        batch = self.read()
        if batch is not None:
            self.ask(self._query.upto)
        return batch

    def read(self) -> Batch | None:
        """The page that is on its way, or None at the end. `ask` for the one behind it."""
        query = self._query
        batch = self._reader.page_or_bisect(self.pending, query, self._parent_id, self._start)
        if not batch.read:
            return None
        if batch.cursor is not None:
            left = self._suspects - batch.read
            self._suspects = max(left, self._reader.suspects.get(batch.cursor, 0))
        by_number = query.paging is Paging.OFFSET or batch.cursor == query.cursor
        self.shows_all = self.shows_all and not (by_number and self._reader.entity.has_id)
        shown = self._reader.what_is_shown(batch) if by_number else None
        if shown is not None and shown == self._before:
            if query.paging is Paging.OFFSET:
                return None  # it does not page at all: this is the first page once more
            raise PagingNotHonored(f"{query.path}: asked for page {query.page}, got the one before")
        self._before = shown
        self._start += batch.read
        self._query = query.next_page(batch.cursor)
        if self._query.page == 1:  # another size would shift the offsets
            self._query = replace(self._query, page_size=self._reader.page_size)
        return self._reader.without_repeated(query, batch)

    def ask(self, upto: int | None) -> None:
        """Sends for the next page, with ids up to and including `upto`."""
        self._query = replace(self._query, upto=upto)
        self.pending = self._reader.fetch(self._query, suspect=self._suspects > 0)


def _sound(body: bytes) -> bytes:
    """The body. Raises SourceBroken for what is no whole array; decoding comes later."""
    begin = body[:_EDGE].lstrip() or body.lstrip()
    end = body[-_EDGE:].rstrip() or body.rstrip()
    if not begin.startswith(b"[") or not end.endswith(b"]"):
        raise SourceBroken(
            f"the body is no JSON array{body_description(begin, body)}",
            200,
            body[:2000].decode("utf-8", "replace"),
        )
    return body


def _check_order(query: Query, batch: Batch) -> None:
    if batch.cursor is None:
        raise SourceBroken(
            f"{query.path}: no record of a broken page has an id, so what follows it is unknown"
        )
    listed = batch.listed or batch.ids
    first = [query.cursor + 1] if query.is_behind else []
    rising = all(before <= record_id for before, record_id in pairwise([*first, *listed]))
    if (query.is_behind and batch.cursor <= query.cursor) or not rising:
        raise PagingNotHonored(f"{query.path}: asked for ids after {query.cursor}, got others")


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
        reader.check_progress(error)
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
    """Whether the page is too large: the server too slow for it, or its answer beyond the limit.

    Databases say in a 500's text that they were too slow.
    """
    if isinstance(error, SourceDown):
        return error.timed_out
    if isinstance(error, SourceBroken) and error.is_too_large:
        return True
    return "timeout" in f"{error} {getattr(error, 'answer', '')}".lower().replace(
        "time-out", "timeout"
    )


def _blame_first_record(reader: ListReader, query: Query, error: SourceError) -> Batch | None:
    """The batch that blames the first record behind the cursor; None if there is none any more."""
    record_id = _next_id(reader, replace(query, page_size=1), error)
    if record_id is None:
        return None
    answer = reader.shareable_answer(error)
    reject = Reject(
        record_id=record_id,
        record=None,
        reason="cannot be read",
        detail=f"{error}\n{answer}".strip()[:_KEPT],
        request=str(replace(query, page_size=1)),
    )
    return Batch(
        read=1, cursor=record_id, ids=(), last_updated=(), hashes=(), tables=(), rejects=(reject,)
    )


def _next_id(reader: ListReader, one: Query, error: SourceError) -> int | None:
    """The id of the first record behind the cursor, which cannot be read whole.

    Raises the error that it could not be read with if nothing of the list can.
    """
    try:
        ids = reader.ids(one)
    except (SourceBroken, SourceDown):
        return _closed_in(reader, one, error)
    return ids[0] if ids else None


def _closed_in(reader: ListReader, one: Query, error: SourceError) -> int:
    """The same, where even `fields=id` fails: the least upper end at which the answer breaks.

    Not the least cursor behind which it does not: good records between two poisoned ones would be
    jumped. Raises SourceError if the whole list breaks, with no record in it or with any.
    """
    try:
        reader.ids(_upto(one, one.cursor))
    except SourceUnreachable:
        raise
    except (SourceBroken, SourceDown):
        raise error from None  # it says what the list answers, and not what a part of it did
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
    except (SourceBroken, SourceDown) as error:
        if not reader.answers():
            raise
        reader.check_progress(error)
        return False
    return True
