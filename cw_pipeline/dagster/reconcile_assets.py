"""Reconcile and the rotating re-read as assets: the history of what they found, entity by entity.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeAlias

import dagster as dg
from pydantic import Field

from cw_pipeline.dagster.asset_specs import AUDIT, REREAD, month_of
from cw_pipeline.dagster.checks import report_check_results
from cw_pipeline.dagster.resource import PipelineRun, run_of
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.errors import EntityBusy, PipelineError
from cw_pipeline.model import Audit, SyncMode
from cw_pipeline.wording import count

GROUP = "proof"
_COUNTS = ("missing", "stale", "extra", "healed", "deleted", "drift")
Audits: TypeAlias = Iterable[Audit]


class ReconcileConfig(dg.Config):
    """What a reconcile may do."""

    apply_deletes: bool = Field(
        default=False,
        description="Lifts the guard once: deletes all that the source no longer lists.",
    )


class RereadConfig(dg.Config):
    """How fast a re-read goes round."""

    nights: int | None = Field(
        default=None,
        ge=1,
        description="The whole list is read again in so many nights; CW_REREAD_NIGHTS if not set.",
    )


def audit_op(tenant: TenantSetup) -> str:
    """The name of the op that reconciles."""
    return str(_op(tenant, AUDIT)["name"])


def proof_assets(tenant: TenantSetup) -> list[dg.AssetsDefinition]:
    """The two assets over the tenant's entities."""

    @dg.multi_asset(
        **_op(tenant, AUDIT),
        specs=[
            _spec(
                tenant,
                AUDIT,
                "Compares every entity's list with its table, id by id, and mends the difference:"
                " table cw_sync.audit. What it found of an entity is plotted with the entity.",
            )
        ],
    )
    def reconcile(
        context: dg.AssetExecutionContext, config: ReconcileConfig
    ) -> dg.MaterializeResult[None]:
        run = run_of(tenant, context)

        def ask() -> Audits:
            return run.connected_pipeline().reconcile(
                *_names(tenant), apply_deletes=config.apply_deletes
            )

        return _report_audits(context, run, tenant, ask)

    @dg.multi_asset(
        **_op(tenant, REREAD),
        specs=[
            _spec(
                tenant,
                REREAD,
                "Reads a part of every list again, each night the next, to find what changed"
                " although lastUpdated did not: `drift`.",
            )
        ],
    )
    def reread(
        context: dg.AssetExecutionContext, config: RereadConfig
    ) -> dg.MaterializeResult[None]:
        run = run_of(tenant, context)

        def ask() -> Audits:
            return run.connected_pipeline().reread(*_names(tenant), nights=config.nights)

        return _report_audits(context, run, tenant, ask)

    return [reconcile, reread]


def _names(tenant: TenantSetup) -> list[str]:
    return [entity.name for entity in tenant.entities]


def _op(tenant: TenantSetup, table: str) -> dict[str, Any]:
    """The arguments of an op, whose name has the schema in it anyhow, and a prefix of its own."""
    name = f"{tenant.schema}__{table}"
    if tenant.prefix not in ("", tenant.schema):
        name = tenant.name(name)
    return {**tenant.op(table, asks=True), "name": name}


def _spec(tenant: TenantSetup, table: str, description: str) -> dg.AssetSpec:
    shown = {"dagster/table_name": "cw_sync.audit"}
    return tenant.spec(tenant.schema, table, group=GROUP, description=description, metadata=shown)


def _report_audits(
    context: dg.AssetExecutionContext,
    run: PipelineRun,
    tenant: TenantSetup,
    ask: Callable[[], Audits],
) -> dg.MaterializeResult[None]:
    """Tells each audit as it comes, as an observation of its entity's asset; then the sum."""
    tables = {entity.name: entity.table for entity in tenant.entities}
    audits: list[Audit] = []
    failed: dict[str, Exception] = {}
    try:
        for audit in ask():
            audits.append(audit)
            if run.caller is not None:
                run.caller.on_audit(audit)
            if audit.failure is None:
                key = tenant.key(tables[audit.entity])
                context.log_event(dg.AssetObservation(key, metadata=_audit_metadata(audit)))
            elif not isinstance(audit.failure, EntityBusy):
                failed[audit.entity] = audit.failure
        _report_row_counts(context, run, tenant, audits)
    except PipelineError as error:
        run.give_up(error)
        failed["all entities"] = error
        raise run.failure(context, failed, f"of {len(failed)}", checked=False) from error
    if failed:
        of = f"of {count(len(tables), 'entity', 'entities')}"
        raise run.failure(context, failed, of, checked=False)
    sums = {name: sum(getattr(audit, name) for audit in audits) for name in _COUNTS}
    proven = sum(audit.proven for audit in audits)
    return dg.MaterializeResult(metadata={**sums, "proven": proven, "entities": len(audits)})


def _report_row_counts(
    context: dg.AssetExecutionContext,
    run: PipelineRun,
    tenant: TenantSetup,
    audits: Iterable[Audit],
) -> None:
    """Shows how many rows the tables have now in which it mended something.

    Without a run's event: those are stored when the step ends, after the results of the checks.
    """
    mended = {audit.entity: audit for audit in audits if audit.healed or audit.deleted}
    if not mended:
        return
    standings = run.standings()
    entities = [entity for entity in tenant.entities if entity.name in mended]
    for entity in entities:
        audit = mended[entity.name]
        event = dg.AssetMaterialization(
            tenant.key(entity.table),
            description=f"mended by {audit.kind}",
            partition=month_of(datetime.now(UTC)) if entity.mode is SyncMode.INCREMENTAL else None,
            metadata={
                "dagster/row_count": standings[entity.name].rows or 0,
                "rows_healed": audit.healed,
                "rows_deleted": audit.deleted,
                "loaded_by": dg.MetadataValue.dagster_run(context.run.run_id),
            },
        )
        context.instance.report_runless_asset_event(event)
    report_check_results(context.instance, tenant, entities, standings)


def _audit_metadata(audit: Audit) -> dict[str, int | bool | str]:
    metadata: dict[str, int | bool | str] = {name: getattr(audit, name) for name in _COUNTS}
    metadata |= {"proven": audit.proven, "kind": audit.kind}
    if audit.detail:
        metadata["detail"] = audit.detail
    return metadata
