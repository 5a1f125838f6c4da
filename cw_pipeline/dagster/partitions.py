"""The windows that the UI shows and backfills: the months in which records last changed.

Months and not days, because Dagster writes an event for each window of each entity: ten years of
days would take hours to report. What is finer than a month is asked for by `since` and `until`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.dagster.internals import runless_materializations
from cw_pipeline.model import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def months_from(start: date) -> dg.MonthlyPartitionsDefinition:
    """The months from `start`'s on, the current one included."""
    return dg.MonthlyPartitionsDefinition(start_date=start.replace(day=1).isoformat(), end_offset=1)


def month_of(moment: datetime) -> str:
    """The month that a moment lies in, as the UI names it."""
    return moment.astimezone(UTC).strftime("%Y-%m-01")


def window_of_months(first: str, last: str) -> Window:
    """The window from the start of a month to the end of another."""
    since, end = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (first, last))
    return Window(since, (end + timedelta(days=32)).replace(day=1))


def within(months: Iterable[str], window: Window, now: datetime) -> list[str]:
    """Those months that lie whole in a window; the current one if the window goes up to `now`."""
    held = []
    for month in months:
        span = window_of_months(month, month)
        assert span.since is not None
        current = span.since <= now < span.until and now <= window.until
        if (window.since is None or span.since >= window.since) and (
            span.until <= window.until or current
        ):
            held.append(month)
    return held


def report_covered_months(
    instance: dg.DagsterInstance, key: dg.AssetKey, months: Sequence[str], run_id: str
) -> None:
    """Reports that the months were loaded by a run. Months that show as loaded are left alone."""
    if not months:
        return
    loaded = instance.get_materialized_partitions(key)
    missing = [
        dg.AssetMaterialization(
            key,
            partition=month,
            description="read as part of all that changed",
            metadata={"loaded_by": dg.MetadataValue.dagster_run(run_id)},
        )
        for month in months
        if month not in loaded
    ]
    if missing:
        runless_materializations(instance, missing)
