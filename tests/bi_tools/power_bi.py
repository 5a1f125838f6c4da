"""The Power BI project: a semantic model in TMDL, with the report of `power_bi_report`.

Columns are named as in the reporting schema, so that what is said there can be looked up. Nothing
is summed by itself (`summarizeBy: none`): measures say how, and rates are divided after summing.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from cw_pipeline.reporting.access import listed_views
from tests.bi_tools.dashboards import TITLES
from tests.bi_tools.metrics import Condition, Metric, metrics
from tests.bi_tools.power_bi_report import METRICS_TABLE, pages, to_json
from tests.bi_tools.star import BI, Column, Table, relations, tables

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bi_tools.star import Relation

PROJECT = BI / "power_bi"
NAME = "ConnectWise"
_MODEL = PROJECT / f"{NAME}.SemanticModel"
_REPORT = PROJECT / f"{NAME}.Report"
_IDS = uuid.UUID("6d0d4b0e-7b86-4f3a-9f0a-6a3f0d0f2f11")

ALSO = ("fct_time_entry", "fct_agreement_month")
"""Facts that no metric is about, and that people ask for."""
FORMATS = {
    "integer": "#,0",
    "decimal": "#,0.0",
    "hours": "#,0.0",
    "money": "#,0.00",
    "percent": "0.0%",
}
TYPES = {
    "bigint": "int64",
    "integer": "int64",
    "numeric": "double",
    "text": "string",
    "boolean": "boolean",
    "date": "dateTime",
    "timestamp with time zone": "dateTime",
}
"""PostgreSQL's types that a model has. A column of another one is left out."""
ACTIVE_DATES = {
    "fct_ticket": "entered_date_id",
    "fct_time_entry": "work_date_id",
    "fct_opportunity": "expected_close_date_id",
}
"""The day of a fact that filters it, where it has several; a measure can ask for another."""
SORTED = {
    ("dim_date", "month_name"): "month",
    ("dim_date", "weekday_name"): "weekday",
    ("dim_date", "month_label"): "month_key",
    ("dim_date", "quarter_label"): "quarter_key",
    ("dim_date", "week_label"): "week_key",
}
HIERARCHIES = {
    "dim_date": {
        "Calendar": ("year", "quarter_label", "month_label", "date"),
        "Fiscal": ("fiscal_year_label", "fiscal_quarter_label", "month_label", "date"),
    },
    "dim_company": {"Client": ("territory", "company_name")},
    "dim_agreement": {"Agreement": ("agreement_type", "agreement_name")},
    "dim_product": {"Product": ("category", "subcategory", "product_name")},
}

_ACCESS = Table(
    "access",
    "Which clients a user of the service may see: rows of reporting.access with the sign-in name.",
    (
        Column("role_name", "text", "The user, as USERPRINCIPALNAME() has it"),
        Column("company_id", "bigint", "Client whose rows they see"),
    ),
)
_WHOLE_CLIENTS = "[company_id] <> null and [location_id] = null and [department_id] = null"
_SEEN = {
    "Client": "CALCULATETABLE(VALUES('access'[company_id]),"
    " 'access'[role_name] = USERPRINCIPALNAME())",
    "Client by CustomData": "{ VALUE(CUSTOMDATA()) }",
}
"""Each role of a client, and the clients that it sees."""


def files() -> dict[Path, str]:
    """The generated files of the project, by path."""
    definition = _MODEL / "definition"
    model = {
        definition / "database.tmdl": "database\n\tcompatibilityLevel: 1567\n",
        definition / "model.tmdl": _model(),
        definition / "expressions.tmdl": _parameters(),
        definition / "relationships.tmdl": _relationships(),
        definition / "tables" / f"{METRICS_TABLE}.tmdl": _measures(),
        **{definition / "tables" / f"{table.name}.tmdl": _table(table) for table in shown()},
        **{
            definition / "roles" / f"{role}.tmdl": _role(role, seen) for role, seen in _SEEN.items()
        },
    }
    return model | {
        PROJECT / f"{NAME}.pbip": to_json(
            "pbip/pbipProperties/1.0.0",
            version="1.0",
            artifacts=[{"report": {"path": _REPORT.name}}],
            settings={"enableAutoRecovery": True},
        ),
        _MODEL / ".platform": _platform("SemanticModel"),
        _MODEL / "definition.pbism": to_json(
            "item/semanticModel/definitionProperties/1.0.0", version="4.2", settings={}
        ),
        _REPORT / ".platform": _platform("Report"),
        _REPORT / "definition.pbir": to_json(
            "item/report/definitionProperties/2.0.0",
            version="4.0",
            datasetReference={"byPath": {"path": f"../{_MODEL.name}"}},
        ),
        **pages(_REPORT / "definition"),
    }


def shown() -> list[Table]:
    """The tables of the model: facts, what they are sliced by, and who sees what."""
    facts = {m.measure.table for m in metrics().values() if m.measure is not None} | {*ALSO}
    names = facts | {relation.dimension for relation in relations() if relation.fact in facts}
    return [_ACCESS, *(tables()[name] for name in sorted(names))]


def related() -> list[Relation]:
    """The relations between them."""
    names = {table.name for table in shown()}
    return [relation for relation in relations() if relation.fact in names]


def is_active(relation: Relation) -> bool:
    """Whether it filters without being asked for: of several to the same dimension one does."""
    others = [
        own.column
        for own in related()
        if (own.fact, own.dimension) == (relation.fact, relation.dimension)
    ]
    return len(others) == 1 or relation.column == ACTIVE_DATES.get(relation.fact, others[0])


def dax(metric: Metric) -> str:
    """The metric as a measure."""
    if metric.type == "ratio":
        above, below = (f"[{part.label}]" for part in metric.sources)
        return f"DIVIDE({above}, {below})"
    if metric.measure is None:
        text = metric.expression
        for part in metric.sources:
            text = text.replace(part.name, f"[{part.label}]")
        return text
    return _simple(metric)


def _simple(metric: Metric) -> str:
    measure = metric.measure
    assert measure is not None
    own = f"'{measure.table}'"
    column = f"{own}[{measure.column}]"
    filters = [f"KEEPFILTERS({_filter(own, condition)})" for condition in metric.conditions]
    if measure.column is None:
        one = f"COUNTROWS({own})"
    elif measure.aggregate == "sum":
        one = f"SUM({column})"
    elif measure.aggregate == "count_distinct":
        one = f"DISTINCTCOUNTNOBLANK({column})"
    else:
        one = f"COUNTROWS({own})"
        counted = f"NOT ISBLANK({column})" if measure.aggregate == "count" else f"{column} = TRUE()"
        filters.append(f"KEEPFILTERS({counted})")
    if measure.is_stock:
        # The last day of the dates in question, whichever client or board is looked at.
        filters.append(f"KEEPFILTERS({own}[{measure.date}] = _last_day)")
    elif other := _other_date(measure.table, measure.date):
        filters.append(f"USERELATIONSHIP({own}[{other}], 'dim_date'[date_id])")
    whole = f"CALCULATE({', '.join([one, *filters])})" if filters else one
    if not measure.is_stock:
        return whole
    last = f"CALCULATE(MAX({own}[{measure.date}]), ALLEXCEPT({own}, 'dim_date'))"
    return f"VAR _last_day = {last}\nRETURN {whole}"


def _filter(own: str, condition: Condition) -> str:
    column = f"{own}[{condition.column}]"
    if condition.operator == "is not null":
        return f"NOT ISBLANK({column})"
    value = condition.value
    literal = f"{value}".upper() + "()" if isinstance(value, bool) else f"{value}"
    if isinstance(value, str):
        literal = f'"{value}"'
    return f"{column} {condition.operator} {literal}"


def _other_date(table: str, date: str) -> str | None:
    """The key that leads to the day of a measure, if it is not the one that filters anyway."""
    of_table = [r for r in related() if r.fact == table and r.dimension == "dim_date"]
    wanted = [r for r in of_table if r.column == f"{date}_id"]
    return wanted[0].column if wanted and not is_active(wanted[0]) else None


def _table(table: Table) -> str:
    parts = [_described(table.description, 0), f"table {table.name}"]
    if table.name == "access":
        parts.append("\tisHidden")
    parts.append(f"\tlineageTag: {_id(table.name)}")
    if table.name == "dim_date":
        parts.append("\tdataCategory: Time")
    columns = [column for column in table.columns if column.type in TYPES]
    parts += [_column(table, column) for column in columns]
    parts += [_hierarchy(table, name, own) for name, own in _hierarchies(table).items()]
    parts.append(_partition(table, columns))
    return "\n".join(parts) + "\n"


def _measures() -> str:
    """A table for the measures alone: a column `mrr` beside a measure `MRR` would be refused."""
    told = "What the numbers are, once: sql/bi/dbt/models/metrics.yml."
    parts = [_described(told, 0), f"table {METRICS_TABLE}", f"\tlineageTag: {_id(METRICS_TABLE)}"]
    parts += [_measure(metric) for metric in metrics().values()]
    parts.append(
        f"\n\tcolumn none\n\t\tdataType: string\n\t\tisHidden\n\t\tlineageTag:"
        f" {_id(METRICS_TABLE, 'none')}\n\t\tsummarizeBy: none\n\t\tsourceColumn: none"
    )
    parts.append(
        f"\n\tpartition {METRICS_TABLE} = m\n\t\tmode: import\n\t\tsource =\n\t\t\t\tlet\n"
        "\t\t\t\t\tSource = #table(type table [none = text], {})\n\t\t\t\tin\n\t\t\t\t\tSource\n"
    )
    return "\n".join(parts) + "\n"


def _measure(metric: Metric) -> str:
    lines = dax(metric).split("\n")
    said = metric.description
    if also := metric.meta.get("also_called"):
        said += f" Also called: {', '.join(also)}."
    head = f"\n{_described(said, 1)}\n\tmeasure {_quoted(metric.label)} ="
    body = "\n".join(f"\t\t\t{line}" for line in lines)
    return (
        f"{head}\n{body}\n\t\tformatString: {FORMATS[metric.format]}"
        f"\n\t\tdisplayFolder: {TITLES[metric.page]}\n\t\tlineageTag: {_id(metric.name)}"
    )


def _column(table: Table, column: Column) -> str:
    linked = {r.column for r in related() if r.fact == table.name}
    is_key = column.name == table.key
    is_date = (table.name, column.name) == ("dim_date", "date")
    lines = [f"\n{_described(column.description, 1)}", f"\tcolumn {column.name}"]
    lines.append(f"\t\tdataType: {TYPES[column.type]}")
    if is_date or (is_key and table.name != "dim_date"):
        lines.append("\t\tisKey")
    if column.name in linked or is_key or table.name == "access":
        lines.append("\t\tisHidden")
    if column.type == "date":
        lines.append("\t\tformatString: Short Date")
    lines.append(f"\t\tlineageTag: {_id(table.name, column.name)}")
    lines.append("\t\tsummarizeBy: none")
    lines.append(f"\t\tsourceColumn: {column.name}")
    if by := SORTED.get((table.name, column.name)):
        lines.append(f"\t\tsortByColumn: {by}")
    return "\n".join(lines)


def _hierarchies(table: Table) -> dict[str, tuple[str, ...]]:
    return HIERARCHIES.get(table.name, {})


def _hierarchy(table: Table, name: str, columns: tuple[str, ...]) -> str:
    lines = [f"\n\thierarchy {_quoted(name)}", f"\t\tlineageTag: {_id(table.name, name, '')}"]
    for column in columns:
        tag = _id(table.name, name, column)
        lines += [
            f"\n\t\tlevel {column}",
            f"\t\t\tlineageTag: {tag}",
            f"\t\t\tcolumn: {table.column(column).name}",
        ]
    return "\n".join(lines)


def _partition(table: Table, columns: list[Column]) -> str:
    source = f'Source{{[Schema = Schema, Item = "{table.name}"]}}[Data]'
    kept = ", ".join(f'"{column.name}"' for column in columns)
    steps = [
        "Source = PostgreSQL.Database(Server, Database)",
        f"Data = {source}",
    ]
    data = "Data"
    if table.name == "access":  # who sees a client at one place only must not see the rest of it
        steps.append(f"Clients = Table.SelectRows(Data, each {_WHOLE_CLIENTS})")
        data = "Clients"
    steps.append(f"Columns = Table.SelectColumns({data}, {{{kept}}})")
    last = "Columns"
    if table.name == "dim_date":  # a date table has no day that is empty
        steps.append("Days = Table.SelectRows(Columns, each [date] <> null)")
        last = "Days"
    body = ",\n".join(f"\t\t\t\t\t{step}" for step in steps)
    return (
        f"\n\tpartition {table.name} = m\n\t\tmode: import\n\t\tsource =\n\t\t\t\tlet\n{body}\n"
        f"\t\t\t\tin\n\t\t\t\t\t{last}\n"
    )


def _relationships() -> str:
    made = []
    for own in related():
        lines = [f"relationship {own.fact}_{own.column}"]
        if not is_active(own):
            lines.append("\tisActive: false")
        lines.append(f"\tfromColumn: {own.fact}.{own.column}")
        lines.append(f"\ttoColumn: {own.dimension}.{own.key}")
        made.append("\n".join(lines))
    return "\n\n".join(made) + "\n"


def _parameters() -> str:
    told = {"Server": "localhost", "Database": "cw_warehouse", "Schema": "reporting"}
    kind = 'meta [IsParameterQuery = true, Type = "Text", IsParameterQueryRequired = true]'
    return "\n".join(
        f'expression {name} = "{value}" {kind}\n\tlineageTag: {_id("parameter", name)}\n'
        for name, value in told.items()
    )


def _model() -> str:
    lines = [
        "model Model",
        "\tculture: en-US",
        "\tdefaultPowerBIDataSourceVersion: powerBI_V3",
        "\tdiscourageImplicitMeasures",
        "\tsourceQueryCulture: en-US",
        "",
        "annotation __PBI_TimeIntelligenceEnabled = 0",
        "",
        f"ref table {METRICS_TABLE}",
        *(f"ref table {table.name}" for table in shown()),
        "",
        *(f"ref role {_quoted(role)}" for role in _SEEN),
    ]
    return "\n".join(lines) + "\n"


def _role(name: str, seen: str) -> str:
    """A client's role: its rows, and of the columns those that clients see in the warehouse too.

    Facts are filtered through their relation to the client alone: USERELATIONSHIP is refused for a
    table that has a filter of its own.
    """
    lines = [f"role {_quoted(name)}", "\tmodelPermission: read"]
    listed = listed_views()
    linked = {(r.fact, r.column) for r in related()}
    for table in shown():
        own = listed.get(table.name)
        if table.name == "access":
            lines += ["", "\ttablePermission access = 'access'[role_name] = USERPRINCIPALNAME()"]
            continue
        if own is None:
            lines += ["", f"\ttablePermission {table.name}", "\t\tmetadataPermission: none"]
            continue
        hidden = [
            column.name
            for column in table.columns
            if column.type in TYPES
            and column.name not in own.columns
            and column.name != table.key
            and (table.name, column.name) not in linked
        ]
        rows = ""
        if own.rows == "client" and own.own is not None:
            rows = f" = '{table.name}'[company_id] IN {seen}"
            if table.name != "dim_company":  # or facts of no client were everybody's
                rows += f" || '{table.name}'[{own.own}] = -1"
        if not hidden and not rows:
            continue
        lines += ["", f"\ttablePermission {table.name}{rows}"]
        for column in hidden:
            lines += ["", f"\t\tcolumnPermission {column}", "\t\t\tmetadataPermission: none"]
    return "\n".join(lines) + "\n"


def _platform(kind: str) -> str:
    return to_json(
        "gitIntegration/platformProperties/2.0.0",
        metadata={"type": kind, "displayName": NAME},
        config={"version": "2.0", "logicalId": _id("platform", kind)},
    )


def _described(text: str, depth: int) -> str:
    return f"{chr(9) * depth}/// {' '.join(text.split())}"


def _quoted(name: str) -> str:
    return name if name.isidentifier() else "'" + name.replace("'", "''") + "'"


def _id(*names: str) -> str:
    """The same for the same names, always."""
    return str(uuid.uuid5(_IDS, "/".join(names)))
