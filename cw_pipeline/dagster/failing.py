"""What a failed list says: what went wrong, since when, how often it was tried, and what to do.

Each result of the check `sync_ok` carries since when the list fails and in how many runs, so the
next one counts on: no look at the results before, and none that `maintenance` may have deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from cw_pipeline.dagster.asset_specs import SYNC_OK, sync_figures
from cw_pipeline.dagster.internals import last_evaluation
from cw_pipeline.errors import EntityBusy
from cw_pipeline.results import explain_failure
from cw_pipeline.wording import count, moment

if TYPE_CHECKING:
    from cw_pipeline.model import SyncResult

RUNS, SINCE = "failed_runs", "failing_since"
REASON, TO_DO = "reason", "to_do"


@dataclass(frozen=True, slots=True)
class Streak:
    """Since when a list fails, and in how many runs on end."""

    since: datetime
    runs: int

    def metadata(self) -> dict[str, Any]:
        """What the next result counts on from; the UI plots the runs."""
        return {RUNS: self.runs, SINCE: dg.MetadataValue.timestamp(self.since)}


def sync_ok_result(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    entity: str,
    outcome: SyncResult | Exception,
    complete_through: datetime | None = None,
) -> dg.AssetCheckResult:
    """The check `sync_ok` of an entity that was read, or of one that could not be tried at all.

    The description is the sentence; the request and the error's own words are in the metadata.
    """
    report = None if isinstance(outcome, Exception) else outcome
    error = outcome if isinstance(outcome, Exception) else outcome.failure
    figures: dict[str, Any] = sync_figures(report) if report else {}
    busy = isinstance(error, EntityBusy)
    description: str | None = None
    metadata: dict[str, Any] = {}
    if error is not None:
        description, metadata = _tell(instance, key, entity, error, report, complete_through)
    elif report is not None and report.warnings:
        description = "; ".join(report.warnings)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=SYNC_OK,
        passed=error is None,
        severity=dg.AssetCheckSeverity.WARN if busy else dg.AssetCheckSeverity.ERROR,
        description=description,
        metadata=figures | metadata,
    )


def _tell(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    entity: str,
    error: Exception,
    report: SyncResult | None,
    complete_through: datetime | None,
) -> tuple[str, dict[str, Any]]:
    """The sentence of a failure, and what is one click away."""
    before = _streak(instance, dg.AssetCheckKey(key, SYNC_OK))
    why, to_do = explain_failure(entity, error)
    more: dict[str, Any] = {"error": type(error).__name__, REASON: why}
    if isinstance(error, EntityBusy):  # it was not tried: what failed before still does
        return why, more | (before.metadata() if before else {})
    now = Streak(before.since, before.runs + 1) if before else Streak(datetime.now(UTC), 1)
    parts = [why, _how_often(now, report)]
    if complete_through is not None:
        parts.append(f"its data is complete through {moment(complete_through)}")
    if to_do:
        parts.append(to_do)
        more[TO_DO] = to_do
    if request := getattr(error, "request", ""):
        more |= {"request": request, "message": str(error)}
    return "; ".join(parts), more | now.metadata()


def _how_often(streak: Streak, report: SyncResult | None) -> str:
    tries = ""
    if report is not None and report.requests:
        tries = f", {count(report.requests, 'request')} in this one"
    runs = "in this run" if streak.runs == 1 else f"in {streak.runs:,} runs on end"
    return f"failing since {moment(streak.since)}, {runs}{tries}"


def _streak(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> Streak | None:
    """How long the list had failed before this run; None if it had not."""
    found = last_evaluation(instance, check)
    if found is None or found.passed:
        return None
    runs, since = found.metadata.get(RUNS), found.metadata.get(SINCE)
    if isinstance(runs, dg.IntMetadataValue) and isinstance(since, dg.TimestampMetadataValue):
        return Streak(datetime.fromtimestamp(since.value, UTC), runs.value or 0)
    return None
