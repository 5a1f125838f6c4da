"""A metric is one number: from its own rows, and from the view that has it too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg

from tests.bi_tools.metrics import metrics
from tests.bi_tools.star import TYPES, published_types, tables

if TYPE_CHECKING:
    from tests.story.kpis.conftest import Books


def test_every_metric_is_the_same_as_in_the_view_that_has_it_too(books: Books) -> None:
    found, known = {}, {}
    with psycopg.connect(books.dsn) as connection:
        connection.execute("set search_path = reporting")
        for metric in metrics().values():
            told = "select " + metric.meta["equals"]
            for numbers, query in ((found, metric.query()), (known, told)):
                ((number,),) = connection.execute(query.encode()).fetchall()
                numbers[metric.name] = None if number is None else round(float(number), 9)
    assert found == known
    assert [name for name, number in known.items() if not number] == []


def test_the_types_that_bi_tools_are_told_are_those_of_the_published_schema(books: Books) -> None:
    with psycopg.connect(books.dsn) as connection:
        types = published_types(connection)
    told = json.loads(TYPES.read_text("utf-8"))
    assert told == types, "python -m tests.bi_tools --types"
    assert {*tables()} == {*types}
