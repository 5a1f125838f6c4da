"""Reconcile and the rotating re-read as assets: the history of what they found, entity by entity.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import dagster as dg
from pydantic import Field

from cw_pipeline.dagster.resource import PipelineRun, run_of
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.errors import EntityBusy, PipelineError
from cw_pipeline.model import Audit
from cw_pipeline.plural import count

GROUP = "proof"
_AUDIT, _REREAD = "audit", "reread"
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


def audit_key(tenant: TenantSetup) -> dg.AssetKey:
    """The asset of what reconcile found."""
    return tenant.key(_AUDIT)


def reread_key(tenant: TenantSetup) -> dg.AssetKey:
    """The asset of what the re-read found."""
    return tenant.key(_REREAD)


def audit_op(tenant: TenantSetup) -> str:
    """The name of the op that reconciles."""
    return str(_op(tenant, _AUDIT)["name"])


def proof_assets(tenant: TenantSetup) -> list[dg.AssetsDefinition]:
    """The two assets over the tenant's entities."""

    @dg.multi_asset(
        **_op(tenant, _AUDIT),
        specs=[
            _spec(
                tenant,
                _AUDIT,
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
        **_op(tenant, _REREAD),
        specs=[
            _spec(
                tenant,
                _REREAD,
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
    """The arguments of an op, whose name has the schema in it anyhow."""
    return {**tenant.op(table, asks=True), "name": f"{tenant.schema}__{table}"}


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
    try:
        for audit in ask():
            audits.append(audit)
            if run.caller is not None:
                run.caller.on_audit(audit)
            if audit.failure is None:
                key = tenant.key(tables[audit.entity])
                context.log_event(dg.AssetObservation(key, metadata=_audit_metadata(audit)))
    except PipelineError as error:
        run.give_up(error)
        raise run.failure(context, {"all entities": error}, "of 1", checked=False) from error
    failed = {a.entity: a.failure for a in audits if a.failure is not None}
    failed = {name: error for name, error in failed.items() if not isinstance(error, EntityBusy)}
    if failed:
        of = f"of {count(len(tables), 'entity', 'entities')}"
        raise run.failure(context, failed, of, checked=False)
    sums = {name: sum(getattr(audit, name) for audit in audits) for name in _COUNTS}
    proven = sum(audit.proven for audit in audits)
    return dg.MaterializeResult(metadata={**sums, "proven": proven, "entities": len(audits)})


def _audit_metadata(audit: Audit) -> dict[str, int | bool | str]:
    metadata: dict[str, int | bool | str] = {name: getattr(audit, name) for name in _COUNTS}
    metadata |= {"proven": audit.proven, "kind": audit.kind}
    if audit.detail:
        metadata["detail"] = audit.detail
    return metadata
