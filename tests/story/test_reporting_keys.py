"""Facts and dimensions fit together, and Dagster says so of each fact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.story import test_dagster
from tests.story.test_dagster import checks

if TYPE_CHECKING:
    from tests.story.test_dagster import Stage

stage = test_dagster.stage


def test_a_key_without_its_row_in_the_dimension_is_an_error_of_that_fact(stage: Stage) -> None:
    stage.run()
    kept = checks(stage.run("reporting_keys"), "keys")
    assert set(kept.values()) == {True}
    assert len(kept) > 15
    stage.story.rows(
        "insert into reporting.fct_agreement_month (agreement_id, company_id, currency_id)"
        " values (999, -1, -1) returning agreement_id"
    )
    result = stage.run("reporting_keys")
    (broken,) = [each for each in result.get_asset_check_evaluations() if not each.passed]
    assert broken.asset_key.path == ["reporting", "fct_agreement_month"]
    assert broken.severity.value == "ERROR"
    assert broken.metadata["agreement_id"].value == 1
