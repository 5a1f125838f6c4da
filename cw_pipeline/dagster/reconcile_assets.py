"""Reconcile and the rotating re-read as assets: the history of what they found, entity by entity.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import dagster as dg
from pydantic import Field

from cw_pipeline.dagster.asset_specs import KINDS, OWNER, asset_key
from cw_pipeline.dagster.executors import step_tags
from cw_pipeline.dagster.resource import PipelineRun
from cw_pipeline.dagster.sync_assets import pool
from cw_pipeline.errors import EntityBusy, PipelineError
from cw_pipeline.model import Audit, Entity
from cw_pipeline.plural import count
from cw_pipeline.settings import Settings

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


def audit_key(settings: Settings) -> dg.AssetKey:
    """The asset of what reconcile found."""
    return asset_key(settings.schema_, "audit")


def reread_key(settings: Settings) -> dg.AssetKey:
    """The asset of what the re-read found."""
    return asset_key(settings.schema_, "reread")


def proof_assets(settings: Settings, entities: Sequence[Entity]) -> list[dg.AssetsDefinition]:
    """The two assets over these entities."""
    by_name = {entity.name: entity for entity in entities}

    @dg.asset(
        key=audit_key(settings),
        description=(
            "Compares every entity's list with its table, id by id, and mends the difference:"
            " table cw_sync.audit. What it found of an entity is plotted with the entity."
        ),
        metadata={"dagster/table_name": "cw_sync.audit"},
        group_name=GROUP,
        owners=[OWNER],
        kinds=KINDS,
        pool=pool(settings),
        op_tags=step_tags(settings),
    )
    def reconcile(
        context: dg.AssetExecutionContext,
        config: ReconcileConfig,
        tenant_run: dg.ResourceParam[PipelineRun],
    ) -> dg.MaterializeResult[None]:
        def ask() -> Audits:
            pipeline = tenant_run.connected()
            return pipeline.reconcile(*by_name, apply_deletes=config.apply_deletes)

        return _report_audits(context, tenant_run, settings, by_name, ask)

    @dg.asset(
        key=reread_key(settings),
        description=(
            "Reads a part of every list again, each night the next, to find what changed although"
            " lastUpdated did not: `drift`."
        ),
        metadata={"dagster/table_name": "cw_sync.audit"},
        group_name=GROUP,
        owners=[OWNER],
        kinds=KINDS,
        pool=pool(settings),
        op_tags=step_tags(settings),
    )
    def reread(
        context: dg.AssetExecutionContext,
        config: RereadConfig,
        tenant_run: dg.ResourceParam[PipelineRun],
    ) -> dg.MaterializeResult[None]:
        def ask() -> Audits:
            return tenant_run.connected().reread(*by_name, nights=config.nights)

        return _report_audits(context, tenant_run, settings, by_name, ask)

    return [reconcile, reread]


def _report_audits(
    context: dg.AssetExecutionContext,
    run: PipelineRun,
    settings: Settings,
    entities: dict[str, Entity],
    ask: Callable[[], Audits],
) -> dg.MaterializeResult[None]:
    """Tells each audit as it comes, as an observation of its entity's asset; then the sum."""
    audits: list[Audit] = []
    try:
        for audit in ask():
            audits.append(audit)
            if audit.failure is None:
                key = asset_key(settings.schema_, entities[audit.entity].table)
                context.log_event(dg.AssetObservation(key, metadata=_audit_metadata(audit)))
    except PipelineError as error:
        raise run.failed(context, {"all entities": error}, "of 1", checked=False) from error
    failed = {a.entity: a.failure for a in audits if a.failure is not None}
    failed = {name: error for name, error in failed.items() if not isinstance(error, EntityBusy)}
    if failed:
        raise run.failed(
            context, failed, f"of {count(len(entities), 'entity', 'entities')}", checked=False
        )
    sums = {name: sum(getattr(audit, name) for audit in audits) for name in _COUNTS}
    proven = sum(audit.proven for audit in audits)
    return dg.MaterializeResult(metadata={**sums, "proven": proven, "entities": len(audits)})


def _audit_metadata(audit: Audit) -> dict[str, int | bool | str]:
    told: dict[str, int | bool | str] = {name: getattr(audit, name) for name in _COUNTS}
    told |= {"proven": audit.proven, "kind": audit.kind}
    if audit.detail:
        told["detail"] = audit.detail
    return told
