"""Months that a pass covered beside its own partition.

A first load reads all months at once, a refresh after an outage several. Were they the run's
partitions, Dagster would write the run's events once for each month, a minute and more for a first
load; so they are reported together, in one transaction for each entity.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.events import DagsterEvent, StepMaterializationData
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID

if TYPE_CHECKING:
    from collections.abc import Sequence


def report_covered_months(
    instance: dg.DagsterInstance, key: dg.AssetKey, months: Sequence[str], run_id: str
) -> None:
    """Reports that the months were loaded by a run. Months that show as loaded are left alone."""
    if not months:
        return
    loaded = instance.get_materialized_partitions(key)
    events = [_event(key, month, run_id) for month in months if month not in loaded]
    if events:
        instance.event_log_storage.store_event_batch(events)


def _event(key: dg.AssetKey, month: str, run_id: str) -> dg.EventLogEntry:
    """The event of a materialization that no step made, as Dagster itself reports one."""
    loaded = dg.AssetMaterialization(
        key,
        partition=month,
        description="read as part of all that changed",
        metadata={"loaded_by": dg.MetadataValue.dagster_run(run_id)},
    )
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level=logging.INFO,
        user_message="",
        run_id=RUNLESS_RUN_ID,
        timestamp=time.time(),
        dagster_event=DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            event_specific_data=StepMaterializationData(loaded),
            job_name=RUNLESS_JOB_NAME,
        ),
    )
