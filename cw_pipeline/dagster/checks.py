"""What is promised of every entity, as asset checks: fresh, nothing left out, proven, counted.

They look at the warehouse alone, so they also tell when nothing ran at all.
Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from cw_pipeline import composition
from cw_pipeline.dagster.asset_specs import COUNT, SYNC_OK, audit_key, reread_key
from cw_pipeline.dagster.internals import CheckRecord, report_check_result
from cw_pipeline.dagster.resource import PipelineRun, run_of
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.model import Entity, SyncMode
from cw_pipeline.paths import cli_command
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.reporting import facts, missing_dimension_rows
from cw_pipeline.settings import Settings
from cw_pipeline.warehouse.status import (
    ClockDisorder,
    EntityStatus,
    explain_count_difference,
    explain_silent_changes,
)
from cw_pipeline.wording import count, moment

PROVEN_WITHIN = timedelta(hours=36)  # a nightly reconcile may fail once
FRESH, DEAD_LETTERS, PROVEN = "fresh", "dead_letters", "proven"
DRIFT = "drift"

_TOLD = {
    FRESH: "Its data is complete up to a time that is as near as promised",
    DEAD_LETTERS: "No record of it is kept out of the warehouse",
    PROVEN: "The last reconcile found the table and the list to be the same, lately",
    COUNT: "The list's /count is the number of live rows: a cheap alarm, no proof",
    DRIFT: "Few records change without lastUpdated moving, as the nightly re-read finds them",
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether a promise is kept, in words, and in figures, which the UI plots."""

    passed: bool
    description: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    figures: Mapping[str, float] = field(default_factory=dict)


def entity_checks(tenant: TenantSetup) -> dg.AssetChecksDefinition:
    """The checks of these entities, evaluated together."""
    by_key = {tenant.key(entity.table): entity for entity in tenant.entities}

    @dg.multi_asset_check(
        **tenant.op("judge_promises"),
        description="Looks in the warehouse whether what is promised of each entity holds.",
        specs=list(_specs(tenant, by_key)),
        can_subset=True,
    )
    def judge(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        standings = run_of(tenant, context).standings()
        for check in sorted(context.selected_asset_check_keys):
            entity = by_key[check.asset_key]
            verdict = evaluate(check.name, entity, standings.get(entity.name), tenant.settings)
            yield dg.AssetCheckResult(**_fields(check, verdict))

    return judge


def _fields(check: dg.AssetCheckKey, result: CheckResult) -> dict[str, Any]:
    """What Dagster's own results of a check have, whether a run gives them or none."""
    return {
        "asset_key": check.asset_key,
        "check_name": check.name,
        "passed": result.passed,
        "severity": result.severity,
        "description": result.description,
        "metadata": dict(result.figures),
    }


def report_check_results(
    instance: dg.DagsterInstance,
    tenant: TenantSetup,
    entities: Iterable[Entity],
    standings: Mapping[str, EntityStatus],
) -> int:
    """Evaluates the checks of entities, and reports what is not shown already: how many results.

    A check that has not changed its mind costs no event. Of `sync_ok`, which only a run evaluates,
    the latest result is reported once more where a materialization of another run hides it.
    """
    entities = list(entities)
    results = {
        dg.AssetCheckKey(tenant.key(entity.table), name): evaluate(
            name, entity, standings.get(entity.name), tenant.settings
        )
        for entity in entities
        for name in _checks_of(entity)
    }
    hidden = [dg.AssetCheckKey(tenant.key(entity.table), SYNC_OK) for entity in entities]
    return _report(instance, results) + report_again(instance, hidden)


def report_again(instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> int:
    """Reports latest results once more that a later materialization hides: how many.

    For checks that cost too much to be evaluated each time. The figures of those that passed are
    left out: the UI would plot them twice. That a sync failed is not: the list was read since.
    """
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    records = _last_materializations(instance, checks)
    reported = 0
    for check, result in latest.items():
        about, done = records.get(check.asset_key), result.evaluation
        if about is None or done is None or _is_of(result, about):
            continue
        if check.name == SYNC_OK and not done.passed:
            continue  # what was read since may have cured it
        reported += 1
        again = dg.AssetCheckEvaluation(
            asset_key=check.asset_key,
            check_name=check.name,
            passed=done.passed,
            severity=done.severity,
            description=done.description,
            metadata={} if done.passed else done.metadata,
        )
        report_check_result(instance, again, about)
    return reported


def report_tenant_checks(
    instance: dg.DagsterInstance, tenant: TenantSetup, results: Mapping[str, CheckResult]
) -> int:
    """The same for the checks that are the tenant's own."""
    about = audit_key(tenant)
    return _report(instance, {dg.AssetCheckKey(about, name): r for name, r in results.items()})


def _report(instance: dg.DagsterInstance, results: Mapping[dg.AssetCheckKey, CheckResult]) -> int:
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(results))
    records = _last_materializations(instance, results)
    reported = 0
    for check, result in results.items():
        about = records.get(check.asset_key)
        if _is_shown(latest.get(check), about, result, check.name):
            continue
        reported += 1
        evaluation = dg.AssetCheckEvaluation(**_fields(check, result))
        report_check_result(instance, evaluation, about)
    return reported


def _is_shown(
    latest: CheckRecord, about: dg.EventLogRecord | None, result: CheckResult, name: str
) -> bool:
    """Whether this result is the latest one, and of the last materialization.

    Else its asset's page says "not evaluated".
    """
    done = None if latest is None else latest.evaluation
    if done is None or latest.status.value == "PLANNED" or done.passed != result.passed:
        return False
    if not result.passed and done.severity != result.severity:
        return False
    # The texts of `fresh` and `keys` tell the time, and change always.
    if not result.passed and name == KEYS:
        shown = {figure: value.value for figure, value in done.metadata.items()}
        if shown != dict(result.figures):
            return False
    elif not result.passed and name != FRESH and done.description != result.description:
        return False
    return about is None or _is_of(latest, about)


def _last_materializations(
    instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey]
) -> dict[dg.AssetKey, dg.EventLogRecord | None]:
    return {
        record.asset_entry.asset_key: record.asset_entry.last_materialization_record
        for record in instance.get_asset_records(list({check.asset_key for check in checks}))
    }


def _is_of(latest: CheckRecord, about: dg.EventLogRecord) -> bool:
    """Whether the UI shows a result with this materialization: of its run, or of a later time."""
    if about.run_id and latest.run_id == about.run_id:
        return True
    target = latest.evaluation.target_materialization_data
    if target is None:
        return bool(latest.create_timestamp > about.timestamp)
    return bool(target.storage_id >= about.storage_id)


def entity_check_selection(tenant: TenantSetup, *names: str) -> dg.AssetSelection:
    """The checks of these names on the entities, as far as they are made."""
    return dg.AssetSelection.checks(
        *(
            dg.AssetCheckKey(tenant.key(entity.table), name)
            for entity in tenant.entities
            for name in _checks_of(entity)
            if name in names
        )
    )


def evaluate(
    name: str, entity: Entity, standing: EntityStatus | None, settings: Settings
) -> CheckResult:
    """Whether a promise is kept by an entity that stands so. None: it was never touched."""
    if standing is not None and name == DEAD_LETTERS:
        return _dead_letters(standing, settings.max_open_dead_letters)
    if standing is not None and name in {COUNT, DRIFT}:
        return _evaluate_count(standing) if name == COUNT else _drift(standing)
    if standing is None or standing.complete_through is None:
        return CheckResult(
            passed=False, description="not synced yet", severity=dg.AssetCheckSeverity.WARN
        )
    return _fresh(entity, standing, settings) if name == FRESH else _proven(standing)


def _fresh(entity: Entity, standing: EntityStatus, settings: Settings) -> CheckResult:
    assert standing.complete_through is not None
    late = datetime.now(UTC) - standing.complete_through
    promised = timedelta(minutes=settings.fresh_minutes)
    if entity.mode is SyncMode.FULL:
        promised += timedelta(days=1)
    if entity.mode is SyncMode.PER_PARENT:
        # The rotation reads each parent's children once in this time; its oldest is its watermark.
        promised += timedelta(hours=settings.children_max_age_hours)
    description = f"complete through {moment(standing.complete_through)}, {_long(late)} ago"
    return CheckResult(
        late <= promised,
        f"{description}; promised: {_long(promised)}",
        figures={"minutes_behind": round(late / timedelta(minutes=1), 1)},
    )


def _dead_letters(standing: EntityStatus, most: int) -> CheckResult:
    letters = standing.dead_letters
    severity = dg.AssetCheckSeverity.ERROR if letters > most else dg.AssetCheckSeverity.WARN
    out = f"{count(letters, 'record')} not in the warehouse"
    description = f"{out}: `{cli_command('dead-letters', 'list')}` says why"
    figures = {"dead_letters": letters}
    return CheckResult(letters == 0, description if letters else "none", severity, figures)


def _proven(standing: EntityStatus) -> CheckResult:
    if standing.audited_at is None:
        return CheckResult(
            passed=False, description="never reconciled", severity=dg.AssetCheckSeverity.WARN
        )
    when = moment(standing.audited_at)
    if not standing.proven:
        rows = count(standing.quarantined, "row")
        why = cli_command("reconcile", "--list-deletes")
        kept = f"; {rows} no longer listed, kept by the delete guard: `{why}` says why"
        description = f"not the same at {when}{kept if standing.quarantined else ''}"
        return CheckResult(
            passed=False, description=description, figures={"kept_rows": standing.quarantined}
        )
    late = datetime.now(UTC) - standing.audited_at > PROVEN_WITHIN
    return CheckResult(not late, f"the same at {when}", figures={"kept_rows": 0})


def _evaluate_count(standing: EntityStatus) -> CheckResult:
    if standing.counted_at is None:
        return CheckResult(passed=True, description="/count was not asked yet")
    return CheckResult(
        not standing.counts_differ,
        explain_count_difference(standing),
        dg.AssetCheckSeverity.WARN,
        {"source_rows": standing.source_rows or 0, "rows": standing.counted_rows or 0},
    )


def _drift(standing: EntityStatus) -> CheckResult:
    description = (
        explain_silent_changes(standing)
        if standing.drifts
        else f"{standing.drift} of {standing.reread}"
    )
    figures = {"drift": standing.drift, "read_again": standing.reread}
    return CheckResult(not standing.drifts, description, dg.AssetCheckSeverity.WARN, figures)


def _checks_of(entity: Entity) -> list[str]:
    """The checks that mean something for an entity."""
    made = [FRESH, DEAD_LETTERS, PROVEN]
    made += [COUNT] if entity.count and entity.mode is not SyncMode.PER_PARENT else []
    return made + ([DRIFT] if entity.mode is SyncMode.INCREMENTAL else [])


def _specs(
    tenant: TenantSetup, entities: Mapping[dg.AssetKey, Entity]
) -> Iterator[dg.AssetCheckSpec]:
    # So that `proven` waits for a reconcile in the same run, and `drift` for a re-read.
    after = {PROVEN: [audit_key(tenant)], DRIFT: [reread_key(tenant)]}
    for key, entity in entities.items():
        for name in _checks_of(entity):
            yield dg.AssetCheckSpec(
                name, asset=key, description=_TOLD[name], additional_deps=after.get(name, [])
            )


def _long(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


CLOCKS, CALLBACKS = "clocks", "callbacks"
_OF_TENANT = {
    CLOCKS: "The clocks of ConnectWise, the workers and the warehouse agree: for a day now",
    CALLBACKS: "ConnectWise tells of edits: a receiver listens, all is registered, and they come",
}


def tenant_check_keys(tenant: TenantSetup) -> list[dg.AssetCheckKey]:
    """The checks that are every entity's: callbacks only where CW_CALLBACK_URL is set."""
    names = [CLOCKS, *([CALLBACKS] if tenant.settings.callback_url else [])]
    return [dg.AssetCheckKey(audit_key(tenant), name) for name in names]


def tenant_checks(tenant: TenantSetup) -> dg.AssetChecksDefinition:
    """The checks of the clocks and of callbacks."""

    @dg.multi_asset_check(
        **tenant.op("compare_clocks"),  # its name of before there were callbacks
        description="Looks in the warehouse whether clocks agree, and whether callbacks come.",
        specs=[
            dg.AssetCheckSpec(key.name, asset=key.asset_key, description=_OF_TENANT[key.name])
            for key in tenant_check_keys(tenant)
        ],
        can_subset=True,
    )
    def judge_tenant(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        results = evaluate_tenant(tenant, run_of(tenant, context))
        for check in sorted(context.selected_asset_check_keys):
            yield dg.AssetCheckResult(**_fields(check, results[check.name]))

    return judge_tenant


def evaluate_tenant(tenant: TenantSetup, run: PipelineRun) -> dict[str, CheckResult]:
    """Whether clocks agree, and whether callbacks come where they should. Raises PipelineError."""
    disorder = run.clock_disorder()
    description = _disorder(disorder) if disorder else "they agree"
    results = {CLOCKS: CheckResult(disorder is None, description)}
    if tenant.settings.callback_url:
        standing = run.callbacks()
        description = "; ".join(standing.faults) or str(standing)
        severity = dg.AssetCheckSeverity.WARN  # passes read what no callback brings
        results[CALLBACKS] = CheckResult(not standing.faults, description, severity)
    return results


def _disorder(disorder: ClockDisorder) -> str:
    return f"last seen {moment(disorder.seen_at)}: {disorder.detail}"


KEYS = "keys"
_KEYS_DESCRIPTION = "Every key of it has its row in the dimension, or is -1, which has one, too"


def key_checks(tenant: TenantSetup) -> dg.AssetChecksDefinition:
    """The check of each fact."""
    by_key = {tenant.reporting_key(fact): fact for fact in facts()}

    @dg.multi_asset_check(
        **tenant.op("judge_keys"),
        description="Looks for keys in the facts of the reporting schema that no dimension knows.",
        specs=[dg.AssetCheckSpec(KEYS, asset=key, description=_KEYS_DESCRIPTION) for key in by_key],
        can_subset=True,
    )
    def judge_keys(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        settings = run_of(tenant, context).settings()
        Pipeline(settings).publish()
        for check in sorted(context.selected_asset_check_keys):
            result = _evaluate_keys(settings, by_key[check.asset_key])
            yield dg.AssetCheckResult(**_fields(check, result))

    return judge_keys


def _evaluate_keys(settings: Settings, fact: str) -> CheckResult:
    lost = missing_dimension_rows(composition.dsn(settings), settings.schema_, fact)
    when = moment(datetime.now(UTC))  # refreshes show this result until the next
    if not lost:
        return CheckResult(passed=True, description=f"every key had its row at {when}")
    rows = ", ".join(f"{count(number, 'row')} by {column}" for column, number in lost.items())
    description = f"an inner join with its dimension lost {rows} at {when}"
    return CheckResult(passed=False, description=description, figures=dict(lost))


def key_check_keys(tenant: TenantSetup) -> list[dg.AssetCheckKey]:
    """The checks of all facts."""
    return [dg.AssetCheckKey(tenant.reporting_key(fact), KEYS) for fact in facts()]


def report_key_checks(instance: dg.DagsterInstance, tenant: TenantSetup) -> int:
    """Evaluates these checks without a run, and reports what is not shown already: how many."""
    names = dict(zip(key_check_keys(tenant), facts(), strict=True))
    results = {check: _evaluate_keys(tenant.settings, fact) for check, fact in names.items()}
    return _report(instance, results)
