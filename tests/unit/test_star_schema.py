"""The diagrams and lists in `sql/README.md` are those of the SQL files."""

from __future__ import annotations

import re

import pytest

from cw_pipeline.paths import SQL
from cw_pipeline.reporting.script import scripts
from tests import star_schema
from tests.star_schema import README, written


def test_the_star_schema_in_the_readme_is_what_the_sql_says() -> None:
    text = README.read_text("utf-8")
    assert text == written(text), "run `python -m tests.star_schema`"


def test_a_fact_that_no_diagram_shows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(star_schema.SUBJECTS, "Tickets", ())
    with pytest.raises(ValueError, match="fct_ticket"):
        star_schema.diagrams()


def test_each_gauge_has_its_columns_and_a_test() -> None:
    columns = {script.name: {*script.columns} for script in scripts()}
    stories = SQL.parent / "tests" / "story" / "kpis"
    tests = {
        name
        for path in stories.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    text = (SQL / "gauges.md").read_text("utf-8")
    gauges = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(gauges) >= 22
    for _, views, definition, basis, source, test, elsewhere in gauges:
        assert all((definition, basis, source, elsewhere))
        assert {*re.findall(r"`(\w+)`", test)} <= tests, test
        assert "`test_" in test
        named = re.findall(r"`(\w+)`", views)
        known: set[str] = set()
        for name in named:
            if name in columns:
                known = columns[name]
            else:
                assert name in known, f"{name} of {views}"
