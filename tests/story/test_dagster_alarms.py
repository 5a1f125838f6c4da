"""The checks that only warn: counts that do not add up, and changes that no stamp betrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from tests.story.test_dagster import TICKETS, checks, key
from tests.story.test_dagster import stage as stage  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from tests.story.test_dagster import Stage


def counted(stage: Stage) -> tuple[str, str]:
    """How the check `count` of tickets stands, and what it says."""
    check = dg.AssetCheckKey(key(TICKETS), "count")
    latest = stage.instance.event_log_storage.get_latest_asset_check_execution_by_key([check])
    event = latest[check].event
    assert event is not None
    assert event.dagster_event is not None
    found = event.dagster_event.asset_check_evaluation_data
    return latest[check].status.value, found.description or ""


def test_a_refresh_warns_of_a_count_that_its_rows_do_not_explain(stage: Stage) -> None:
    stage.run(mode="incremental")
    assert counted(stage)[0] == "SUCCEEDED"
    stage.story.tenant.delete("/service/tickets", 5)
    for own in (6, 7):
        stage.story.tenant.put("/service/tickets", {"id": own})
    assert stage.run("refresh", TICKETS, mode="incremental").success
    outcome, explained = counted(stage)
    assert outcome == "FAILED"
    assert "/count said 6" in explained
    assert "7" in explained
    assert checks(stage.run("promises"), "count")["service_tickets"] is False


def test_a_re_read_warns_of_lists_whose_records_change_without_a_stamp(stage: Stage) -> None:
    stage.run(mode="incremental")
    stage.story.tenant.edit("/service/tickets", 2, touch=False, summary="unseen")
    result = stage.run("reread", config={"connectwise__reread": {"config": {"nights": 1}}})
    assert result.success
    assert checks(result, "drift") == {
        "service_tickets": False,
        "service_boards": True,
        "company_companies": True,
    }
    (told,) = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert told.severity is dg.AssetCheckSeverity.WARN
    assert "1 of 5 records" in (told.description or "")
