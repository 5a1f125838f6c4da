"""Reports as tables: what changed since the last time where a report tells, else all of it.

A report is a view of the vendor's database. Nothing declares which column tells its rows apart; the
first id in it does, if a whole read shows that it does. Then only rows that changed are read, and
once a day all of them, because a row that is gone says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cw_pipeline.connectwise import Paging, Query, format_timestamp
from cw_pipeline.errors import SourceBroken, SourceForbidden, SourceRefused
from cw_pipeline.model import Kind
from cw_pipeline.reports_api.api import PATH, report_entity, report_page
from cw_pipeline.reports_api.table import report_table
from cw_pipeline.reports_api.values import coerce_rows
from cw_pipeline.sync.run import run_entity
from cw_pipeline.warehouse.private_columns import mask_stored_rows
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cw_pipeline.errors import PipelineError
    from cw_pipeline.model import Checkpoint, Column, Entity, SyncResult
    from cw_pipeline.reports_api.api import ReportPage
    from cw_pipeline.reports_api.table import ReportTable
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.sync.run import Run

_WHOLE_EVERY = timedelta(days=1)
_UPDATED = "last_update_utc"


class _NoKeyOrder(Exception):
    """No column of the report carries paging: it is read by offsets."""


class _Unfiltered(Exception):
    """The condition was not obeyed: rows older than asked for came back."""


def sync_report(context: SyncContext, name: str, *, full: bool = False) -> SyncResult:
    """Brings the table of a report up to date, and accounts for it in the run table.

    What is read is merged at the end, or not at all. A failure is in the result's `failure`. Raises
    SourceDenied when the keys are refused.
    """

    def read(run: Run) -> SyncResult:
        with report_table(context.database, name, run.store.run_id) as table:
            _ReportSync(run, table, name).read_and_merge()
        return run.result

    return run_entity(
        context, report_entity(name), "full" if full else "refresh", read, _with_failure
    )


def _with_failure(result: SyncResult, failure: PipelineError) -> SyncResult:
    if isinstance(failure, SourceForbidden):
        failure = SourceForbidden(f"{failure} (System > API Reports)", failure.status)
    result.failure = failure
    return result


@dataclass(slots=True)
class _ReportSync:
    """One reading of one report."""

    run: Run
    table: ReportTable
    name: str

    def read_and_merge(self) -> None:
        """Reads and merges."""
        clock, overlap = self.run.context.source.now(), self.run.limits.overlap
        opened = self.run.store.checkpoint.open_pass(clock, overlap)
        entity = self._prepare_table()
        since = self._since(entity, opened)
        try:
            self._read(entity, since)
        except _Unfiltered:
            self.run.result.warnings.append(
                "read whole: the condition on Last_Update_UTC is ignored"
            )
            since = None
            self._read(entity, since)
        if self._merge(entity, whole=since is None):
            done = opened.close_pass()
            self.run.store.complete_pass(done)
            self.run.result.watermark = done.watermark

    def _prepare_table(self) -> Entity:
        """The report's table as its columns are now."""
        columns = self._ask(Query(self._path, page_size=1, paging=Paging.OFFSET)).columns
        declared = report_entity(self.name, columns)
        database, privacy = self.run.context.database, self.run.context.privacy
        if privacy:
            privacy.columns(declared)  # refuses what cannot be hidden, before it is stored
        entity = self.table.fit(declared)
        mask_stored_rows(database, [entity], privacy)
        return entity

    def _since(self, entity: Entity, opened: Checkpoint) -> datetime | None:
        """From when on changes must be read; None: everything."""
        state = self.table.state()
        assert opened.window is not None
        names = {column.name: column for column in entity.columns}
        if self.run.result.kind == "full" or state.key not in names:
            return None
        updated = names.get(_UPDATED)
        if updated is None or updated.kind is not Kind.TIMESTAMPTZ or state.read_whole_at is None:
            return None
        if datetime.now(UTC) - state.read_whole_at >= _WHOLE_EVERY:
            return None
        return opened.window.since

    def _read(self, entity: Entity, since: datetime | None) -> None:
        """Puts what the report shows beside the table."""
        key = _candidate(entity.columns)
        query = self._query(entity, since)
        ordered = replace(query, order=f"{_declared_names(entity)[key]} asc") if key else query
        try:
            self._stage(entity, since, self._pages_by_key(entity, ordered, key))
        except _NoKeyOrder:
            self._stage(entity, since, self._pages_by_offset(entity, ordered))
        except SourceRefused:  # it takes no such order
            self._stage(entity, since, self._pages_by_offset(entity, query))

    def _stage(
        self, entity: Entity, since: datetime | None, pages: Iterator[list[list[Any]]]
    ) -> None:
        self.table.clear(entity)
        self.run.result.rows_read = self.run.reader.pages = 0
        at = next((i for i, c in enumerate(entity.columns) if c.name == _UPDATED), None)
        hidden = self.run.context.privacy.columns(entity) if self.run.context.privacy else {}
        for page in pages:
            values = [self._mask_row(entity, row, hidden) for row in page] if hidden else page
            rows = coerce_rows(entity.columns, values)
            if since is not None and at is not None and any(_older(row[at], since) for row in rows):
                raise _Unfiltered
            self.table.stage(entity, rows)
            self.run.result.rows_read += len(rows)
            self.run.reader.pages += 1

    def _mask_row(self, entity: Entity, row: Sequence[Any], hidden: Any) -> list[Any]:
        privacy = self.run.context.privacy
        assert privacy is not None
        return [
            privacy.mask_value(hidden.get((entity.table, column.name)), value)
            for column, value in zip(entity.columns, row, strict=True)
        ]

    def _pages_by_key(
        self, entity: Entity, query: Query, key: str | None
    ) -> Iterator[list[list[Any]]]:
        """Pages of rows in the order of the report's first id, each from where the last one ended.

        Offsets would skip a row for each one that goes meanwhile. The rows of a page's last id are
        left to the next page, which has all of them. Raises _Unkeyed if there is no such order.
        """
        if key is None:
            raise _NoKeyOrder
        names = _declared_names(entity)
        at, column = list(names).index(key), names[key]
        asked, floor = query, Decimal("-Infinity")
        while page := self._rows(entity, asked):
            ids = [row[at] for row in page]
            if not _rising(ids, floor):
                raise _NoKeyOrder
            floor, single = ids[-1], ids[0] == ids[-1]
            if single and len(ids) > 1:
                raise _NoKeyOrder  # there may be more of this id than a page holds
            yield [row for row in page if single or row[at] != floor]
            condition = f"{column} {'>' if single else '>='} {floor}"
            asked = replace(query, conditions=(*query.conditions, condition))

    def _pages_by_offset(self, entity: Entity, query: Query) -> Iterator[list[list[Any]]]:
        """Pages until an empty one, or until the same one comes again: then there are no pages."""
        before: list[list[Any]] = []
        while (page := self._rows(entity, query)) and page != before:
            yield page
            before, query = page, query.next_page(None)

    def _query(self, entity: Entity, since: datetime | None) -> Query:
        size = self.run.limits.page_size
        query = Query(self._path, page_size=size, paging=Paging.OFFSET)
        if since is None:
            return query
        return replace(
            query, conditions=(f"{_declared_names(entity)[_UPDATED]} >= {format_timestamp(since)}",)
        )

    def _rows(self, entity: Entity, query: Query) -> list[list[Any]]:
        page = self._ask(query)
        if [column.column for column in page.columns] != list(_declared_names(entity).values()):
            raise SourceBroken(f"{self._path}: its columns changed while it was read")
        return page.rows

    def _merge(self, entity: Entity, *, whole: bool) -> bool:
        """Whether what was read may take the place of what is there, and does."""
        there, read = self.table.rows(entity)
        lost = there - read
        if whole and lost > max(1, there * self.run.limits.max_delete_fraction):
            self.run.result.warnings.append(
                f"{lost} of {count(there, 'row')} no longer listed, more than"
                " CW_MAX_DELETE_FRACTION allows: the table stays as it is"
            )
            self.run.result.row_count = there
            return False
        key = self.table.state().key
        if whole:
            key = _candidate(entity.columns)
            key = key if key and self.table.tells_apart(key) else None
        added, gone, both = self.table.merge(entity, key, whole=whole)
        self.run.result.rows_inserted = added - both
        self.run.result.rows_updated = both
        self.run.result.rows_deleted = gone - both
        self.run.result.rows_unchanged = read - added
        self.run.result.row_count = there + added - gone
        return True

    @property
    def _path(self) -> str:
        return f"{PATH}/{quote(self.name, safe='')}"

    def _ask(self, query: Query) -> ReportPage:
        source, tally = self.run.context.source, self.run.reader.tally
        return source.ask(query, lambda body: report_page(body, self.name), tally)


def _candidate(columns: Sequence[Column]) -> str | None:
    """The first id in the report: if anything tells its rows apart, it does."""
    found = (c.name for c in columns if c.kind is Kind.NUMERIC and c.name.endswith("rec_id"))
    return next(found, None)


def _declared_names(entity: Entity) -> dict[str, str]:
    """What the report calls each column."""
    return {column.name: column.path[0] for column in entity.columns}


def _rising(ids: Sequence[Any], floor: Any) -> bool:
    """Whether the ids are numbers in order, from `floor` on."""
    if not all(isinstance(each, int | float | Decimal) for each in ids):
        return False
    return all(before <= each for before, each in pairwise([floor, *ids]))


def _older(stamp: datetime | None, than: datetime) -> bool:
    return stamp is not None and stamp < than
