"""Facts and dimensions fit together, and Dagster says so of each fact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.dagster.checks import report_key_checks
from cw_pipeline.dagster.tenant import TenantSetup
from tests.story import test_dagster
from tests.story.test_dagster import checks

if TYPE_CHECKING:
    import pytest

    from tests.story.test_dagster import Stage

stage = test_dagster.stage


ROW = (
    "insert into reporting.fct_agreement_month (agreement_id, company_id, currency_id)"
    " values (%s, -1, -1) returning agreement_id"
)


def test_a_key_without_its_row_in_the_dimension_is_an_error_of_that_fact(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run()
    kept = checks(stage.run("reporting_keys"), "keys")
    assert set(kept.values()) == {True}
    assert len(kept) > 15
    stage.story.rows(ROW, 999)
    result = stage.run("reporting_keys")
    (broken,) = [each for each in result.get_asset_check_evaluations() if not each.passed]
    assert broken.asset_key.path == ["reporting", "fct_agreement_month"]
    assert broken.severity.value == "ERROR"
    assert broken.metadata["agreement_id"].value == 1

    # Later it is said again only where other rows are lost.
    settings = stage.story.settings()
    tenant = TenantSetup(settings, stage.entities, lambda: settings)
    monkeypatch.setattr("cw_pipeline.dagster.checks.moment", lambda _: "a minute later")
    assert report_key_checks(stage.instance, tenant) == 0
    stage.story.rows(ROW, 998)
    assert report_key_checks(stage.instance, tenant) == 1
