"""The snapshot of the tenant's reports: which columns each has, and what changed since last time.

Reports are views of the vendor's database: a release or an administrator changes them without
notice, and whatever was built on them breaks. This notices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import quote

from cw_pipeline.connectwise import Paging, Query, RequestCounts
from cw_pipeline.errors import SourceDenied, SourceError
from cw_pipeline.model import ReportColumn, ReportDrift
from cw_pipeline.reports_api.answers import report_columns, report_names
from cw_pipeline.reports_api.column_store import report_store
from cw_pipeline.sync.context import parallel_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.sync.context import SyncContext

_LIST = "/system/reports"


@dataclass(slots=True)
class ReportSnapshot:
    """What a snapshot of the reports found.

    `unreadable`: what went wrong, by report; its columns are kept as they were. `withheld` reports
    are no longer listed, but so many at once that nothing was deleted: a role that shrank looks
    like that.
    """

    reports: int = 0
    columns: int = 0
    first: bool = False
    drift: list[ReportDrift] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    withheld: list[str] = field(default_factory=list)
    tally: RequestCounts = field(default_factory=RequestCounts)


def snapshot_reports(engine: SyncContext) -> ReportSnapshot:
    """Reads the columns of every report and stores them with what changed.

    Raises a SourceError if the list of reports, or every report on it, cannot be read.
    """
    found = ReportSnapshot()
    names = _names(engine, found.tally)
    columns = _columns(engine, names, found)
    found.reports = len(names)
    found.columns = len(columns)
    with report_store(engine.warehouse) as store:
        known = store.known()
        found.first = not known
        gone = removed(known, columns, set(names), set(found.unreadable))
        found.withheld = _withheld(known, names, engine.limits.max_delete_fraction)
        gone = [column for column in gone if column.report not in found.withheld]
        found.drift = [] if found.first else drift(known, columns, gone)
        store.write(columns)
        store.remove(gone)
        store.note(found.drift)
    return found


def drift(
    before: Sequence[ReportColumn], after: Sequence[ReportColumn], gone: Sequence[ReportColumn]
) -> list[ReportDrift]:
    """What was added, removed and retyped, by report and column."""
    types = {(column.report, column.column): column.type for column in before}
    changes = [ReportDrift(c.report, c.column, "removed", c.type, "") for c in gone]
    for column in after:
        was = types.get((column.report, column.column))
        if was is None:
            changes.append(ReportDrift(column.report, column.column, "added", "", column.type))
        elif was != column.type:
            changes.append(ReportDrift(column.report, column.column, "retyped", was, column.type))
    return sorted(changes, key=lambda each: (each.report, each.column))


def removed(
    before: Sequence[ReportColumn],
    after: Sequence[ReportColumn],
    listed: set[str],
    unreadable: set[str],
) -> list[ReportColumn]:
    """Columns that are gone: their report was read and lacks them, or is listed no more."""
    present = {(column.report, column.column) for column in after}
    return [
        column
        for column in before
        if (column.report, column.column) not in present
        and not (column.report in listed and column.report in unreadable)
    ]


def _names(engine: SyncContext, tally: RequestCounts) -> list[str]:
    """The reports' names. A list that does not page says the same again, which is its end."""
    query = Query(_LIST, paging=Paging.OFFSET)
    names: dict[str, None] = {}
    while True:
        page = engine.source.ask(query, report_names, tally)
        if names.keys() >= set(page):
            return list(names)
        names.update(dict.fromkeys(page))
        query = query.next_page(None)


def _columns(
    engine: SyncContext, names: Sequence[str], found: ReportSnapshot
) -> list[ReportColumn]:
    columns: dict[str, list[ReportColumn]] = {}
    errors: list[SourceError] = []
    lock = Lock()

    def read(name: str) -> None:
        path = f"{_LIST}/{quote(name, safe='')}/columns"
        try:
            own = engine.source.get(path, lambda body: report_columns(body, name), found.tally)
        except SourceDenied:
            raise
        except SourceError as error:
            with lock:
                errors.append(error)
                found.unreadable[name] = str(error)
            return
        with lock:
            columns[name] = own

    parallel_tasks(read, names, engine.limits.lanes)
    if errors and not columns:
        raise errors[0]
    return [column for name in names for column in columns.get(name, [])]


def _withheld(known: Sequence[ReportColumn], names: Sequence[str], fraction: float) -> list[str]:
    before = {column.report for column in known}
    gone = sorted(before - set(names))
    return gone if len(gone) > max(1, fraction * len(before)) else []
