"""Whether the reports' keys hold, as a check on each fact: an inner join must lose nothing.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Iterator

import dagster as dg

from cw_pipeline import pipeline
from cw_pipeline.dagster.asset_specs import asset_key
from cw_pipeline.dagster.executors import step_tags
from cw_pipeline.dagster.resource import PipelineRun
from cw_pipeline.plural import count
from cw_pipeline.reporting import facts, missing_dimension_rows, reporting_schema
from cw_pipeline.settings import Settings

KEYS = "keys"
_TOLD = "Every key of it has its row in the dimension, or is -1, which has one, too"


def key_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """The check of each fact."""
    schema = reporting_schema(settings.schema_)
    by_key = {asset_key(schema, fact): fact for fact in facts()}

    @dg.multi_asset_check(
        name="judge_keys",
        description="Looks for keys in the facts of the reporting schema that no dimension knows.",
        specs=[dg.AssetCheckSpec(KEYS, asset=key, description=_TOLD) for key in by_key],
        can_subset=True,
        op_tags=step_tags(settings),
    )
    def judge_keys(
        context: dg.AssetCheckExecutionContext, tenant_run: dg.ResourceParam[PipelineRun]
    ) -> Iterator[dg.AssetCheckResult]:
        own = tenant_run.settings()
        pipeline.published(own)
        for check in sorted(context.selected_asset_check_keys):
            lost = missing_dimension_rows(pipeline.dsn(own), own.schema_, by_key[check.asset_key])
            told = ", ".join(f"{count(rows, 'row')} by {column}" for column, rows in lost.items())
            yield dg.AssetCheckResult(
                asset_key=check.asset_key,
                check_name=KEYS,
                passed=not lost,
                description=f"an inner join with its dimension loses {told}" if lost else None,
                metadata=dict(lost),
            )

    return judge_keys


def key_selection(settings: Settings) -> dg.AssetSelection:
    """The checks of all facts."""
    schema = reporting_schema(settings.schema_)
    return dg.AssetSelection.checks(
        *(dg.AssetCheckKey(asset_key(schema, fact), KEYS) for fact in facts())
    )
