"""The dbt package: the reporting schema as sources, views for the semantic models, exposures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from cw_pipeline.reporting.script import entities, tables_reading
from tests.bi_tools.metrics import METRICS, PREFIX, metrics
from tests.bi_tools.star import BI, relations, tables

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bi_tools.star import Table

PACKAGE = BI / "dbt"
SOURCE = "reporting"
"""Also the first part of the keys of our Dagster assets: dagster-dbt takes both for the same."""

_HEAD = "# Made by `python -m tests.bi_tools` of the files in sql/reporting.\n"
_FRESH = (
    "select data_complete_through from {{ source('reporting', 'freshness') }} where name = '%s'"
)


def files() -> dict[Path, str]:
    """The generated files of the package, by path."""
    shown = _shown()
    models = PACKAGE / "models"
    return {
        models / "sources.yml": _yaml({"version": 2, "sources": [_source()]}),
        models / "models.yml": _yaml({"version": 2, "models": [_model(t) for t in shown]}),
        models / "exposures.yml": _yaml({"version": 2, "exposures": _exposures()}),
        **{models / f"{PREFIX}{table.name}.sql": _select(table) for table in shown},
    }


def _shown() -> list[Table]:
    """The views that the semantic models are about, and the days."""
    text: dict[str, Any] = yaml.safe_load(METRICS.read_text("utf-8"))
    named = {one["model"].split("'")[1].removeprefix(PREFIX) for one in text["semantic_models"]}
    return [tables()[name] for name in sorted({*named, "dim_date"})]


def _source() -> dict[str, Any]:
    return {
        "name": SOURCE,
        "description": "The reporting schema of cw_pipeline: star schema and key figures.",
        "schema": "{{ var('cw_reporting_schema') }}",
        "loader": "cw_pipeline",
        "tables": [_source_table(table) for table in tables().values()],
    }


def _source_table(table: Table) -> dict[str, Any]:
    led = {r.column: r for r in relations() if r.fact == table.name and table.kind == "fct"}
    columns = []
    for column in table.columns:
        tests: list[Any] = []
        if column.name == table.key:
            tests += ["unique", "not_null"]
        if column.name in led:
            own = led[column.name]
            there = {"to": f"source('{SOURCE}', '{own.dimension}')", "field": own.key}
            test: dict[str, Any] = {"arguments": there}
            if own.may_be_empty:  # it may name one that the API member may not see
                test["config"] = {"severity": "warn"}
            tests.append({"relationships": test})
        described: dict[str, Any] = {
            "name": column.name,
            "description": column.description,
            "data_type": column.type,
        }
        columns.append({**described, "data_tests": tests} if tests else described)
    made = {"name": table.name, "description": table.description, "columns": columns}
    if not tables_reading(entity.name for entity in entities()) & {table.name}:
        return made  # shows nothing of ConnectWise, and so is never old
    config = {
        "loaded_at_query": _FRESH % table.name,
        "freshness": {
            "warn_after": {"count": 2, "period": "hour"},
            "error_after": {"count": 24, "period": "hour"},
        },
    }
    return {**made, "config": config}


def _model(table: Table) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": f"{PREFIX}{table.name}",
        "description": table.description,
        "columns": [{"name": c.name, "description": c.description} for c in table.columns],
    }
    if table.name == "dim_date":
        made["time_spine"] = {"standard_granularity_column": "date"}
        next(c for c in made["columns"] if c["name"] == "date")["granularity"] = "day"
    return made


def _select(table: Table) -> str:
    columns = ",\n".join(f"    {column.name}" for column in table.columns)
    where = "\nwhere date is not null" if table.name == "dim_date" else ""
    return f"select\n{columns}\nfrom {{{{ source('{SOURCE}', '{table.name}') }}}}{where}\n"


def _exposures() -> list[dict[str, Any]]:
    """What is made of the metrics: the pages of the starting points, a dashboard each."""
    made = []
    for page in sorted({metric.page for metric in metrics().values()}):
        own = [metric for metric in metrics().values() if metric.page == page]
        read = {part.table for metric in own for part in (metric, *metric.sources)} - {None}
        made.append(
            {
                "name": f"cw_{page}",
                "label": f"ConnectWise: {page}",
                "type": "dashboard",
                "maturity": "medium",
                "description": "Of the starting points for Power BI and Superset: "
                + ", ".join(metric.label for metric in own),
                "owner": {"name": "cw_pipeline"},
                "depends_on": [f"ref('{PREFIX}{table}')" for table in sorted(map(str, read))],
            }
        )
    return made


class _Dumper(yaml.CSafeDumper):
    """Long texts on one line, and no anchors: a difference is then one line, too."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _yaml(text: dict[str, Any]) -> str:
    made = yaml.dump(text, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
    return f"{_HEAD}{made}"
