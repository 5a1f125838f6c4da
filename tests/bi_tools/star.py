"""The reporting schema as BI tools see it: tables, columns, types, keys, relations.

Names and descriptions are those of the files in `sql/reporting`; the types are in
`sql/bi/columns.json`, as PostgreSQL says them of a published schema.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from cw_pipeline.paths import SQL
from cw_pipeline.reporting.foreign_keys import OPTIONAL, all_keys, facts
from cw_pipeline.reporting.script import scripts

if TYPE_CHECKING:
    from psycopg import Connection

BI = SQL / "bi"
TYPES = BI / "columns.json"

UNIQUE = {
    "fct_activity": "activity_id",
    "fct_ar": "invoice_id",
    "fct_change": "change_id",
    "fct_expense": "expense_id",
    "fct_invoice": "invoice_id",
    "fct_opportunity": "opportunity_id",
    "fct_product": "product_line_id",
    "fct_project": "project_id",
    "fct_schedule": "schedule_id",
    "fct_survey": "survey_result_id",
    "fct_ticket": "ticket_id",
    "fct_time_entry": "time_entry_id",
    "freshness": "name",
    "kpi_data_readiness": "check_name",
    "kpi_open_ticket": "ticket_id",
    "kpi_project": "project_id",
    "kpi_stale_ticket": "ticket_id",
}
"""The column that tells rows of a fact or of key figures apart, where one column does."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a view, with its type in PostgreSQL's words."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Table:
    """A view or table of the reporting schema."""

    name: str
    description: str
    columns: tuple[Column, ...]

    @property
    def kind(self) -> str:
        """dim, fct or kpi; of `freshness` itself."""
        return self.name.partition("_")[0]

    @property
    def key(self) -> str | None:
        """The column that tells its rows apart, if one does."""
        if self.name == "dim_calendar_day":
            return None
        return self.columns[0].name if self.kind == "dim" else UNIQUE.get(self.name)

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True, slots=True)
class Relation:
    """Many rows of a fact have one of a dimension."""

    fact: str
    column: str
    dimension: str
    key: str

    @property
    def may_be_empty(self) -> bool:
        """Whether rows of the fact may have none, or one that is not listed."""
        return self.dimension in OPTIONAL


@cache
def tables() -> dict[str, Table]:
    """What is published for BI tools, by name: tables that views stand on are left out."""
    types: dict[str, dict[str, str]] = json.loads(TYPES.read_text("utf-8"))
    return {
        script.name: Table(
            script.name,
            script.comment,
            tuple(
                Column(name, types[script.name][name], text)
                for name, text in script.columns.items()
            ),
        )
        for script in sorted(scripts(), key=lambda script: script.name)
        if not script.name.endswith("_all")
    }


@cache
def relations() -> tuple[Relation, ...]:
    """Each key of each fact, and of the key figures, with its dimension."""
    known = tables()
    named = [*facts(), *(name for name in known if name.startswith("kpi_"))]
    found = []
    for name in sorted(named):
        led = all_keys(name)
        if name.startswith(("kpi_", "fct_")):
            led |= {c: "dim_date" for c in ("date_id", "month_id", "week_id") if _has(name, c)}
        found += [
            Relation(name, column, dim, known[dim].columns[0].name)
            for column, dim in sorted(led.items())
            if dim in known
        ]
    return tuple(found)


def _has(table: str, column: str) -> bool:
    return any(own.name == column for own in tables()[table].columns)


def published_types(connection: Connection) -> dict[str, dict[str, str]]:
    """The types of all columns of the schema `reporting`, ours alone.

    Of a table that a view stands on, those that the view does not show.
    """
    rows = connection.execute(
        "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod) from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relnamespace = 'reporting'::regnamespace and c.relname = any(%s)"
        " order by c.relname, a.attnum",
        [[script.name for script in scripts()]],
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        shown = found.get(table.removesuffix("_all"), {})  # it sorts before
        if table.endswith("_all") and shown.get(column) == kind:
            continue
        found.setdefault(table, {})[column] = kind
    return found


def to_yaml(text: dict[str, Any]) -> str:
    """A file of what tools import: in the order given, long texts on one line."""
    return yaml.dump(text, Dumper=_Plain, sort_keys=False, width=10_000, allow_unicode=True)


class _Plain(yaml.CSafeDumper):
    """Without anchors: some readers refuse them."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True
