"""What `live` reads, as events: Dagster sees no run of it.

Every two minutes an observation of each list in which rows changed. As often as a schedule would,
the materializations that a run would have logged, of lists and of the reports that show it by now,
so that what stands on them follows. Not so soon: they hide the results of checks, and are sixty for
a ticket.

Told by a sensor, because Dagster's imports would double `live`'s memory.
Without postponed annotations: Dagster reads a sensor's as objects.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import dagster as dg

from cw_pipeline.dagster.asset_specs import month_of
from cw_pipeline.dagster.checks import key_check_keys, report_again, report_check_results
from cw_pipeline.dagster.reporting_assets import view_events
from cw_pipeline.dagster.resource import PipelineRun
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.errors import PipelineError
from cw_pipeline.model import Entity, SyncMode
from cw_pipeline.reporting import refresh_times, tables_reading
from cw_pipeline.reporting.script import kept_tables
from cw_pipeline.warehouse.rounds import ChangeOutside, changes_outside_dagster
from cw_pipeline.wording import count

SENSOR = "live_events"
_EVERY = 120  # seconds; each look is a row in Dagster's storage, of 1.6 kB with its indexes
_AS_A_RUN = timedelta(minutes=15)  # between materializations
_BACK = timedelta(hours=1)  # how far a sensor that is new looks back


def live_event_sensor(tenant: TenantSetup) -> dg.SensorDefinition:
    """The sensor that tells of rows which changed without a run of Dagster's."""
    on = dg.DefaultSensorStatus
    entities = {entity.name: entity for entity in tenant.entities}

    @dg.sensor(
        name=tenant.name(SENSOR),
        description=(
            "Observations of the lists in which `live` changed rows, every two minutes, and"
            " every 15 minutes materializations of them and of what shows them."
        ),
        minimum_interval_seconds=_EVERY,
        default_status=on.RUNNING if tenant.running else on.STOPPED,
    )
    def live_events(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        kept = json.loads(context.cursor or "{}")
        since = _moment(kept.get("until"))
        # To look into the warehouse no made-up tenant has to be started.
        simulated = tenant.settings if tenant.settings.is_simulated else None
        run = PipelineRun(tenant, "", yielding=True, known_settings=simulated)
        try:
            until, found = run.pipeline().ask_warehouse(
                lambda connection, tenant_schema: changes_outside_dagster(
                    connection, tenant_schema, since, _BACK
                )
            )
            changes = [each for each in found if each.entity in entities]
            observed = [_observation(tenant, entities[each.entity], each) for each in changes]
            _report(context.instance, observed)
            changed: dict[str, float] = kept.get("changed", {})
            changed |= {each.entity: each.at.timestamp() for each in changes}
            behind: dict[str, float] = kept.get("behind", {})
            reported_at = _moment(kept.get("reported_at")) or until - _BACK
            if (changed or behind) and until - reported_at >= _AS_A_RUN:
                reports = run.pipeline().ask_warehouse(refresh_times)
                behind |= _tables_behind(changed)
                refreshed = _refreshed_since(
                    dict.fromkeys(behind, reported_at.timestamp()), reports
                )
                lists = [entities[name] for name in sorted(changed.keys() & entities.keys())]
                _report(context.instance, _materializations(tenant, lists, refreshed))
                _report(context.instance, _of_views(tenant, changed, reports))
                report_again(context.instance, key_check_keys(tenant))
                if lists:
                    report_check_results(context.instance, tenant, lists, run.standings())
                for name in _refreshed_since(behind, reports):
                    del behind[name]
                changed, reported_at = {}, until
        except PipelineError as error:
            return dg.SensorResult(cursor=context.cursor, skip_reason=str(error))
        finally:
            run.close()
        lists_changed = count(len(changes), "list")
        return dg.SensorResult(
            cursor=json.dumps(
                {
                    "until": until.isoformat(),
                    "reported_at": reported_at.isoformat(),
                    "changed": changed,
                    "behind": behind,
                }
            ),
            skip_reason=f"{lists_changed} changed by live"
            if changes
            else "nothing changed by live",
        )

    return live_events


def _observation(tenant: TenantSetup, entity: Entity, change: ChangeOutside) -> dg.AssetObservation:
    metadata: dict[str, Any] = {
        "rows_changed": change.rows,
        "requests": change.requests,
        "by": change.by,
    }
    return dg.AssetObservation(tenant.key(entity.table), metadata=metadata)


def _tables_behind(changed: Mapping[str, float]) -> dict[str, float]:
    """The tables that show these lists, with the moment from which on a refresh has the change."""
    latest: dict[str, float] = {}
    for name, at in sorted(changed.items(), key=itemgetter(1)):
        latest |= dict.fromkeys(tables_reading([name]) & kept_tables(), at)
    return latest


def _refreshed_since(
    moments: Mapping[str, float], reports: Mapping[str, datetime | None]
) -> set[str]:
    """Those of the tables that were refreshed later than that: `live` may have failed to."""
    return {
        name
        for name, moment in moments.items()
        if (refreshed_at := reports.get(name)) and refreshed_at.timestamp() > moment
    }


def _materializations(
    tenant: TenantSetup, lists: Sequence[Entity], tables: Collection[str]
) -> Iterator[dg.AssetMaterialization]:
    """What a run would have logged for these lists and tables."""
    description = "read by live"
    for entity in lists:
        month = month_of(datetime.now(UTC)) if entity.mode is SyncMode.INCREMENTAL else None
        yield dg.AssetMaterialization(
            tenant.key(entity.table), description=description, partition=month
        )
    for name in sorted(tables):
        yield dg.AssetMaterialization(tenant.reporting_key(name), description=description)


def _of_views(
    tenant: TenantSetup, lists: Collection[str], reports: Collection[str]
) -> Iterator[dg.AssetMaterialization]:
    """Of those views of the lists that are published."""
    shown = {tenant.reporting_key(name) for name in reports}
    return (event for event in view_events(tenant, lists) if event.asset_key in shown)


def _report(
    instance: dg.DagsterInstance,
    events: Iterable[dg.AssetObservation | dg.AssetMaterialization],
) -> None:
    for event in events:
        instance.report_runless_asset_event(event)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
