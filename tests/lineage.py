"""Where each column of a view comes from, read off its SQL and kept in `lineage.json`.

A column comes from those that its value is made of, one step back: columns of entities' tables and
of the views that its view reads. What a view is joined or narrowed by does not count, and what is
counted row by row comes from nowhere; a version of a record counts as a row of its entity's table.
Postgres could not say it: it keeps what a view reads, not what for.

    python -m tests.lineage

writes the file anew, which a test asks for when the SQL has changed. It is a tool of development,
as its parser is: whatever runs reads the file alone.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

from sqlglot import exp, parse_one
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope, find_all_in_scope
from sqlglot.schema import MappingSchema

from cw_pipeline.reporting.script import LINEAGE, ReportingSchema, entities, scripts
from cw_pipeline.warehouse.history import history_columns, versions_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.reporting.script import ViewScript

_PLACE = ReportingSchema("connectwise")
_STAMPS = ("_synced_at", "_deleted_at")
_VALIDITY = ("_valid_from", "_valid_to", "_next_from", "_recorded_to", "_known_to")

Sources = frozenset[str]
"""Columns, each as `table.column`."""


def write() -> int:
    """Writes the file anew, a line a column, and returns how many there are."""
    found = {script.name: _written(traced(script)) for script in scripts()}
    views = [f'"{name}": {{\n' + ",\n".join(found[name]) + "\n}" for name in sorted(found)]
    LINEAGE.write_text("{\n" + ",\n".join(views) + "\n}\n", "utf-8")
    return sum(map(len, found.values()))


def _written(columns: dict[str, list[str]]) -> list[str]:
    return [f'"{name}": {json.dumps(sources)}' for name, sources in columns.items()]


def traced(script: ViewScript) -> dict[str, list[str]]:
    """The columns of a view, and those each comes from."""
    query = parse_one(script.query_for(_PLACE), dialect="postgres")
    for call in query.find_all(exp.Lateral):
        alias = call.args["alias"]
        if isinstance(call.this, exp.Func) and not alias.columns:
            alias.set("columns", [exp.to_identifier(alias.name)])  # as Postgres calls it
    qualified = qualify(
        query,
        dialect="postgres",
        schema=_schema(),
        identify=False,
        allow_partial_qualification=True,  # of our own tables, which the catalog does not know
        validate_qualify_columns=False,
    )
    scope = build_scope(qualified)
    assert scope is not None, script.name
    trace = _Trace()
    return {name: sorted(trace.output(scope, at)) for at, name in enumerate(_names(scope))}


@cache
def _schema() -> MappingSchema:
    """The columns of views and of entities' tables; their types do not matter."""
    views = {own.name: list(own.columns) for own in scripts()}
    tables: dict[str, list[str]] = {}
    for entity in entities():
        tables[entity.table] = [*(column.name for column in entity.row_columns), *_STAMPS]
        if entity.history:
            past = [*(own.name for own in history_columns(entity)), *_VALIDITY]
            tables[versions_table(entity.table)] = past
        for array in entity.arrays:
            tables[array.table] = [*(column.name for column in array.row_columns), *_STAMPS]
    return MappingSchema(
        {
            schema: {name: dict.fromkeys(columns, "text") for name, columns in known.items()}
            for schema, known in (
                (_PLACE.schema, views),
                (_PLACE.tenant, tables),
            )
        },
        dialect="postgres",
    )


def _names(scope: Scope) -> list[str]:
    """The columns of a query's answer, in order; of a function's rows none are known."""
    return list(scope.expression.named_selects) if isinstance(scope.expression, exp.Query) else []


class _Trace:
    """Follows columns through the queries inside one view, each of them once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Sources] = {}

    def output(self, scope: Scope, at: int) -> Sources:
        """What the column at a position of a query's answer comes from."""
        key = (id(scope), at)
        if key not in self._known:
            self._known[key] = frozenset()  # where a recursive query meets itself
            self._known[key] = self._output(scope, at)
        return self._known[key]

    def _output(self, scope: Scope, at: int) -> Sources:
        if scope.set_operation_scopes:
            return _all(self.output(each, at) for each in scope.set_operation_scopes)
        if isinstance(scope.expression, exp.Select):
            return self._value(scope.expression.selects[at], scope)
        return self._value(scope.expression, scope)  # a function, or values: not told apart

    def _value(self, value: exp.Expr, scope: Scope) -> Sources:
        inner = {id(each.expression): each for each in scope.subquery_scopes}
        queries = [inner[id(q)] for q in find_all_in_scope(value, exp.Query) if id(q) in inner]
        return _all(
            [
                *(self._column(each, scope) for each in find_all_in_scope(value, exp.Column)),
                *(self.output(each, at) for each in queries for at, _ in enumerate(_names(each))),
            ]
        )

    def _column(self, column: exp.Column, scope: Scope) -> Sources:
        within: Scope | None = scope
        while within is not None and column.table not in within.sources:
            within = within.parent  # a query inside another reads what is around it
        source = within.sources[column.table] if within else None
        if isinstance(source, Scope):
            source = source.sources.get("", source)  # the query in a `lateral`
        if isinstance(source, Scope):
            names = _names(source)
            return self.output(source, names.index(column.name) if column.name in names else 0)
        if isinstance(source, exp.Table) and isinstance(source.this, exp.Func):
            return self._value(source.this, scope)
        if isinstance(source, exp.Table) and source.db in (_PLACE.tenant, _PLACE.schema):
            table = source.name.removesuffix("__versions")
            if table == source.name or column.name not in _VALIDITY:
                return frozenset([f"{table}.{column.name}"])
        return frozenset()


def _all(found: Iterable[Sources]) -> Sources:
    return frozenset().union(*found)


if __name__ == "__main__":
    print(f"{LINEAGE}: {write():,} columns. `git diff` shows the news.")  # noqa: T201
