"""What `live` reads, as events: Dagster sees no run of it.

Each minute an observation of each list in which rows changed. As often as a schedule would, the
materializations that a run would have logged, of lists and of what shows them, so that what stands
on them follows. Not each minute: they hide the results of checks, and are sixty for a ticket.

Told by a sensor, because Dagster's imports would double `live`'s memory.
Without postponed annotations: Dagster reads a sensor's as objects.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from cw_pipeline.dagster.checks import report_check_results
from cw_pipeline.dagster.partitions import month_of
from cw_pipeline.dagster.reporting_assets import view_events
from cw_pipeline.dagster.resource import PipelineRun
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.errors import PipelineError
from cw_pipeline.model import Entity, SyncMode
from cw_pipeline.plural import count
from cw_pipeline.reporting import tables_reading
from cw_pipeline.reporting.script import kept_tables
from cw_pipeline.warehouse.rounds import ChangeOutside, changes_outside_dagster

SENSOR = "live_events"
_EVERY = 60  # seconds
_AS_A_RUN = timedelta(minutes=15)  # between materializations
_MARGIN = timedelta(seconds=15)  # for the warehouse's clock, and for what is not committed yet
_BACK = timedelta(hours=1)  # how far a sensor that was off looks back


def live_event_sensor(tenant: TenantSetup) -> dg.SensorDefinition:
    """The sensor that tells of rows which changed without a run of Dagster's."""
    on = dg.DefaultSensorStatus
    entities = {entity.name: entity for entity in tenant.entities}

    @dg.sensor(
        name=tenant.name(SENSOR),
        description=(
            "Observations of the lists in which `live` changed rows, at most one a minute, and"
            " every 15 minutes materializations of them and of what shows them."
        ),
        minimum_interval_seconds=_EVERY,
        default_status=on.RUNNING if tenant.running else on.STOPPED,
    )
    def live_events(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        kept = json.loads(context.cursor or "{}")
        until = (datetime.now(UTC) - _MARGIN).replace(second=0, microsecond=0)
        since = max(_moment(kept.get("until")), until - _BACK)
        run = PipelineRun(tenant, "", yielding=True)
        try:
            changes = [
                each
                for each in run.pipeline().ask_warehouse(
                    lambda connection, own: changes_outside_dagster(connection, own, since, until)
                )
                if each.entity in entities
            ]
            observed = [_observation(tenant, entities[each.entity], each) for each in changes]
            _report(context.instance, observed)
            waiting = {*kept.get("waiting", ()), *(each.entity for each in changes)}
            reported_at = _moment(kept.get("reported_at"))
            if waiting and until - reported_at >= _AS_A_RUN:
                lists = [entities[name] for name in sorted(waiting & entities.keys())]
                _report(context.instance, _materializations(tenant, lists))
                report_check_results(context.instance, tenant, lists, run.standings())
                waiting, reported_at = set(), until
        except PipelineError as error:
            return dg.SensorResult(cursor=context.cursor, skip_reason=str(error))
        finally:
            run.close()
        told = count(len(changes), "list")
        return dg.SensorResult(
            cursor=json.dumps(
                {
                    "until": until.isoformat(),
                    "reported_at": reported_at.isoformat(),
                    "waiting": sorted(waiting),
                }
            ),
            skip_reason=f"{told} changed by live" if changes else "nothing changed by live",
        )

    return live_events


def _observation(tenant: TenantSetup, entity: Entity, change: ChangeOutside) -> dg.AssetObservation:
    told: dict[str, Any] = {
        "rows_changed": change.rows,
        "requests": change.requests,
        "by": change.by,
    }
    return dg.AssetObservation(tenant.key(entity.table), metadata=told)


def _materializations(
    tenant: TenantSetup, lists: Sequence[Entity]
) -> Iterator[dg.AssetMaterialization]:
    """What a run would have logged for these lists, and for the tables and views that show them."""
    names = [entity.name for entity in lists]
    told = "read by live"
    for entity in lists:
        month = month_of(datetime.now(UTC)) if entity.mode is SyncMode.INCREMENTAL else None
        yield dg.AssetMaterialization(tenant.key(entity.table), description=told, partition=month)
    for name in sorted(tables_reading(names) & kept_tables()):
        yield dg.AssetMaterialization(tenant.reporting_key(name), description=told)
    yield from view_events(tenant, names)


def _report(
    instance: dg.DagsterInstance,
    events: Iterable[dg.AssetObservation | dg.AssetMaterialization],
) -> None:
    for event in events:
        instance.report_runless_asset_event(event)


def _moment(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)
