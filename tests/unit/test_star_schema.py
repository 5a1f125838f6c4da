"""The diagrams and lists in `sql/README.md` are those of the SQL files."""

from __future__ import annotations

import pytest

from tests import star_schema
from tests.star_schema import README, written


def test_the_star_schema_in_the_readme_is_what_the_sql_says() -> None:
    text = README.read_text("utf-8")
    assert text == written(text), "run `python -m tests.star_schema`"


def test_a_fact_that_no_diagram_shows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(star_schema.SUBJECTS, "Tickets", ())
    with pytest.raises(ValueError, match="fct_ticket"):
        star_schema.diagrams()
