"""The pass over a list with `lastUpdated`: what changed since the watermark, or all of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING

from cw_pipeline.errors import SourceRefused, TooManyRejects
from cw_pipeline.model import Checkpoint, IdRange, Window
from cw_pipeline.sync.context import ParallelTasks
from cw_pipeline.sync.list_reader import PageWalk, PagingNotHonored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from cw_pipeline.connectwise import Paging
    from cw_pipeline.model import Batch
    from cw_pipeline.sync.run import Run


_WORTH = 4  # pages' worth of ids that a range has at least: a new one costs two requests
_AT_FIRST = 3  # lanes; with the server near they keep two cores busy, and a page each in memory


def split(after: int, upto: int, parts: int, step: int = 1) -> tuple[IdRange, ...]:
    """The ids in `(after, upto]` as `parts` ranges of about the same width, the highest first.

    Each begins a multiple of `step` behind `after`: where ids have no gaps, no page of that size
    has to be asked for in two parts.
    """
    width = upto - after
    bounds = [after + width * part // parts // step * step for part in range(parts)]
    pairs = list(itertools.pairwise([*bounds, upto]))
    return tuple(IdRange(low, high, low) for low, high in reversed(pairs) if low < high)


def range_count(ids: int, page_size: int, lanes: int) -> int:
    """Into how many ranges so many ids are worth splitting at first."""
    return max(1, min(lanes, _AT_FIRST, ids // (_WORTH * page_size)))


def ids_left(ids: IdRange) -> int:
    """How many ids are still to be read; 0 where there is no upper end."""
    return 0 if ids.upto is None else ids.upto - ids.cursor


def split_in_half(ids: IdRange, step: int = 1) -> tuple[IdRange, IdRange]:
    """The range up to the middle of what is left of it, and the rest as a range of its own.

    The middle is a multiple of `step` behind the cursor, as in `split`.
    """
    middle = ids.cursor + ids_left(ids) // 2 // step * step
    return replace(ids, upto=middle), IdRange(middle, ids.upto, middle)


class ParallelRanges:
    """The open ranges of a pass, each read by a lane of its own; safe to share between them.

    Ids are seldom spread evenly, so lanes run out of work. Whoever reads one of the ranges with the
    most left then gives half of that away, between two pages and before asking for the next. So
    they also grow in number, up to the limit, as long as the server is what they wait for.
    """

    def __init__(self, run: Run, read: Callable[[IdRange, ParallelRanges], None]) -> None:
        self._run = run
        self._lanes = ParallelTasks[IdRange](
            lambda ids: read(ids, self), run.limits.concurrency, run.context.machine
        )
        self._open: dict[int, IdRange] = {}
        self._lock = Lock()

    def read(self, ranges: Iterable[IdRange]) -> None:
        """Reads these, and what they are split into, to their ends."""
        for ids in ranges:
            self._add(ids)
        self._lanes.finish()

    def share(self, ids: IdRange) -> IdRange:
        """What is left to who has come so far in a range, when a free lane has got its part."""
        with self._lock:
            self._open[ids.after] = ids
            if not self._helps() or not self._is_wide(ids):
                return ids
            mine, other = halves = split_in_half(ids, self._run.reader.page_size)
            self._run.store.split_range(halves)
            self._open[mine.after] = mine
            self._add(other)
            return mine

    def end(self, ids: IdRange) -> None:
        """Takes note that a range has been read to its end."""
        with self._lock:
            del self._open[ids.after]

    def _helps(self) -> bool:
        """Whether a lane is free, and pages do not pile up here already."""
        return (
            len(self._open) < self._run.limits.concurrency
            and not self._run.context.load_slots.has_waiting
        )

    def _is_wide(self, ids: IdRange) -> bool:
        """Whether it is worth halving, and no other has much more left: not a page, or two."""
        widest = max(map(ids_left, self._open.values()))
        return ids_left(ids) >= max(2 * _WORTH * self._run.reader.page_size, widest / 2)

    def _add(self, ids: IdRange) -> None:
        self._open[ids.after] = ids
        self._lanes.add(ids)


class FilterNotHonored(Exception):
    """The list does not filter by lastUpdated, whatever its documentation says."""


@dataclass(slots=True)
class IncrementalSync:
    """One pass of one entity. What reads everything reads ranges of ids side by side."""

    run: Run
    loaded: bool = False
    stamped: bool = False
    shows_all: bool = True

    def refresh(self, *, whole: bool = False) -> None:
        """Brings the table up to the source's clock as it stood at the start.

        An open pass is finished first, with its own window; since that may be old, another
        follows. Raises FilterNotHonored if the list turns out to take no window.
        """
        run, store = self.run, self.run.store
        if store.checkpoint.window is not None:
            self._run(store.checkpoint, resumes=True)
            store.save_checkpoint(store.checkpoint)
        stored, clock = store.checkpoint, run.context.source.now()
        opened = stored.open_pass(clock, run.limits.overlap, whole=whole)
        if opened.watermark != stored.watermark:
            run.result.warnings.append(_explain_pull_back(stored.watermark, opened.watermark))
        self._run(opened)

    def backfill(self, window: Window, *, closed: bool) -> None:
        """Reads a window again. Never touches the watermark; the merge makes it harmless."""
        reader = self.run.reader
        for batch in PageWalk(reader, reader.query().changed_in(window, closed=closed)):
            self.run.load(batch)

    def _run(self, checkpoint: Checkpoint, *, resumes: bool = False) -> None:
        run, store, window = self.run, self.run.store, checkpoint.window
        assert window is not None
        if resumes or checkpoint.watermark is None:
            store.save_checkpoint(checkpoint)  # it is this run's, and nobody else goes on with it
        else:
            store.open_pass(checkpoint)
        if checkpoint.watermark is None:
            run.reader.page_reader.stored_hashes = None
            store.row_count()  # now, while there is next to nothing to count
        paging = run.reader.paging
        try:
            run.read_with_any_paging(lambda: self._read(checkpoint, window, paging), offsets=False)
            if window.since is None and not self.stamped:
                # What a pass loaded before it was interrupted is only in the table.
                live, stamped = store.count_stamps() if resumes else (int(self.loaded), 0)
                if live and not stamped:
                    raise FilterNotHonored("no record carries lastUpdated")
        except TooManyRejects:
            # Left open, the pass would go on behind the rejects next time, and count as done.
            store.save_checkpoint(checkpoint.abandon_pass())
            raise
        except PagingNotHonored as finding:
            raise FilterNotHonored(str(finding)) from finding
        except SourceRefused as error:
            if error.status != HTTPStatus.BAD_REQUEST:
                raise  # only a 400 is about the conditions, or the order
            raise FilterNotHonored(str(error)) from error
        done = checkpoint.close_pass()
        read_all = window.since is None and not resumes and self.shows_all
        store.complete_pass(done, read_all=read_all)
        run.result.watermark = done.watermark

    def _read(self, checkpoint: Checkpoint, window: Window, paging: Paging) -> None:
        """Reads a pass; from its start, once the list is asked otherwise than with this paging."""
        if self.run.reader.paging is not paging:
            # Pages that were in another order than by id left ids out on the way.
            checkpoint = replace(checkpoint.abandon_pass(), window=window)
            self.run.store.save_checkpoint(checkpoint)
        ranges = [checkpoint.tail, *checkpoint.ranges]
        if window.since is None and not checkpoint.ranges:
            ranges = self._split(checkpoint)
        alone = len(ranges) == 1
        if alone and ranges[0].upto is None:  # no part of it could be given to another lane
            self._read_range(ranges[0], window, None, alone=True)
            return
        ParallelRanges(
            self.run, lambda ids, among: self._read_range(ids, window, among, alone=alone)
        ).read(ranges)

    def _split(self, checkpoint: Checkpoint) -> list[IdRange]:
        """Reads the next page; if there is much more, splits the rest into ranges of ids."""
        run, size = self.run, self.run.limits.page_size
        query = run.reader.query(ids=checkpoint.tail)
        arriving = run.reader.fetch(query)
        run.context.wait_for(arriving)
        with run.context.load_slots:
            batch = run.reader.page_or_bisect(arriving, query, None, 0)
            if batch.cursor is None:
                return []  # an empty page: the list ends here
            tail = _behind(checkpoint.tail, batch)
            if tail == checkpoint.tail:  # no record on it has an id: a walk goes on by page number
                return [tail]  # and begins with this page, so nothing of it is loaded twice
            assert checkpoint.window is not None
            self._load(batch, tail, checkpoint.window, alone=True)
        del arriving  # it holds the body
        if checkpoint.watermark is None and batch.read >= size:
            self._count_ahead()
        highest = run.reader.highest_id() if batch.read >= size else None
        several = range_count(highest - tail.cursor, size, run.limits.concurrency) if highest else 1
        if highest is None or several == 1:
            return [tail]
        ranges = split(tail.cursor, highest, several, size)
        tail = IdRange(0, None, highest)
        run.store.save_checkpoint(replace(checkpoint, tail=tail, ranges=ranges))
        return [tail, *ranges]

    def _count_ahead(self) -> None:
        """Asks how much a first load is going to read, so that its progress has a total.

        One request, for lists of more than a page. Without an answer there is no total, no harm.
        """
        run = self.run
        if (source_rows := run.count_source()) is not None:
            run.store.save_source_count(source_rows, run.store.row_count())

    def _read_range(
        self, ids: IdRange, window: Window, among: ParallelRanges | None, *, alone: bool
    ) -> None:
        run, reader = self.run, self.run.reader
        walk = PageWalk(reader, reader.query(ids=ids).changed_in(window))
        while True:
            run.context.wait_for(walk.pending)  # outside of the slot, which is for its work
            with run.context.load_slots:
                batch = walk.read()
                if batch is None:
                    break
                _check(batch, ids, window)
                reached = _behind(ids, batch)
                reached = reached if among is None else among.share(reached)
                more = reached.cursor != reached.upto  # else there is no id that could follow
                if more:
                    walk.ask(reached.upto)
                self._load(batch, reached, window, alone=alone)
                if not more:
                    break
                ids = reached
            del batch  # it holds the body, and another is waited for
        self.shows_all = self.shows_all and walk.shows_all
        if among is not None:
            among.end(ids)
        if ids.upto is not None:
            run.store.finish_range(ids)

    def _load(self, batch: Batch, reached: IdRange, window: Window, *, alone: bool) -> None:
        self.loaded = self.loaded or bool(batch.ids)
        self.stamped = self.stamped or any(batch.last_updated)
        # Read after the pass began, so newer than what was stored before: also where the source's
        # clock was set back meanwhile, and stamps it with an earlier time.
        self.run.load(batch, reached, alone=alone, read_after=window.opened_at)


def _behind(ids: IdRange, batch: Batch) -> IdRange:
    """The range with its cursor behind a page; where it was if no record on the page has an id.

    Or none above zero, where a list begins: behind them it begins again, after an interruption.
    """
    if batch.cursor is None or batch.cursor <= ids.cursor:
        return ids
    return ids.advanced_to(batch.cursor)


def _explain_pull_back(before: datetime | None, after: datetime | None) -> str:
    since = "everything is read again" if after is None else f"read again since {after:%F %T} UTC"
    return f"a clock was set back, so what was complete through {before:%F %T} UTC is not: {since}"


def _check(batch: Batch, ids: IdRange, window: Window) -> None:
    """Raises FilterNotHonored for a page with what was not asked for."""
    since = window.since
    if since and any(stamp is not None and stamp < since for stamp in batch.last_updated):
        raise FilterNotHonored("records older than asked for came back")
    if ids.upto is not None and (batch.cursor or 0) > ids.upto:
        # Another range loads those; two at once would collide.
        raise FilterNotHonored(f"ids beyond {ids.upto} came back")
