"""What a query of the Metabase files asks, in SQL: by the operators that its format documents.

Metabase does not run here. This reads the files anew, without what made them, so that their numbers
can be compared with the metrics'.
"""

from __future__ import annotations

from typing import Any

_AGGREGATES = {"sum": "sum({0})", "distinct": "count(distinct {0})", "count": "count(*)"}
_BETWEEN = ("=", ">", "+", "-", "*", "and")
_FORMS = {
    "/": "({0}::numeric / nullif({1}, 0))",
    "not-null": "{0} is not null",
    "coalesce": "coalesce({0}, {1})",
}


def query(stage: dict[str, Any], models: dict[str, str], *, grouped: bool = True) -> str:
    """The SQL of a stage over a model. `models`: their SQL by id; `grouped`: with its breakout."""
    groups = [_expression(one) for one in stage.get("breakout", [])] if grouped else []
    shown = groups + [
        f"{_expression(one)} as {one[1]['name']}" for one in stage.get("aggregation", [])
    ]
    shown += [_expression(one) for one in stage.get("fields", [])]
    parts = [f"select {', '.join(shown)} from ({models[stage['source-card']]}) q"]  # noqa: S608
    if groups:
        parts.append(f"group by {', '.join(groups)}")
    names = {one[1]["lib/uuid"]: one[1]["name"] for one in stage.get("aggregation", [])}
    if order := stage.get("order-by"):
        parts.append("order by " + ", ".join(f"{names[of[2]]} {way}" for way, _, of in order))
    if limit := stage.get("limit"):
        parts.append(f"limit {limit}")
    return " ".join(parts)


def _expression(clause: Any) -> str:
    if not isinstance(clause, list):
        return f"'{clause}'" if isinstance(clause, str) else str(clause).lower()
    name, options, *of = clause
    if name == "field":
        unit = options.get("temporal-unit")
        return f"date_trunc('{unit}', q.{of[0]})" if unit else f"q.{of[0]}"
    given = [_expression(one) for one in of]
    if name.endswith("-where"):
        return f"{_AGGREGATES[name[:-6]].format(*given)} filter (where {given[-1]})"
    if name in _AGGREGATES:
        return _AGGREGATES[name].format(*given)
    if name in _BETWEEN:
        return f"({f' {name} '.join(given)})"
    return _FORMS[name].format(*given)
