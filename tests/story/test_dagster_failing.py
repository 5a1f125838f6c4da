"""What Dagster shows at 3 a.m. of a list that fails, read from its own events."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import dagster as dg

from cw_pipeline.dagster import ConnectWiseTenant, build_connectwise_definitions
from cw_pipeline.dagster.asset_specs import SYNC_OK
from cw_pipeline.dagster.checks import report_again
from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.simulator import CLIENT_ID, Fault
from tests.story.test_alerts import receiving
from tests.story.test_dagster import BOARDS, TICKETS, key, tick
from tests.story.test_dagster import kept as kept  # noqa: PLC0414 - a fixture
from tests.story.test_dagster import stage as stage  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    import pytest

    from tests.story.test_dagster import Stage

MOMENT = r"20\d\d-\d\d-\d\d \d\d:\d\d UTC"


def told(result: dg.ExecuteInProcessResult, name: str = TICKETS) -> tuple[str, dict[str, Any]]:
    """What the check of a list says in a sentence, and what it has behind that."""
    (found,) = [
        each
        for each in result.get_asset_check_evaluations()
        if (each.asset_key, each.check_name) == (key(name), SYNC_OK)
    ]
    return found.description or "", {k: v.value for k, v in found.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the run says of the step that failed."""
    (event,) = [each for each in result.all_events if each.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return data.description or ""


def test_a_list_that_fails_says_what_since_when_how_often_and_what_to_do(stage: Stage) -> None:
    assert stage.run(mode="incremental").success
    stage.story.simulator.faults.add(Fault("503", TICKETS), Fault("html", BOARDS))
    first = stage.run(mode="incremental")
    sentence, behind = told(first)
    assert re.fullmatch(
        rf"ConnectWise answered 503; failing since {MOMENT}, in this run, \d+ requests in this one;"
        rf" its data is complete through {MOMENT}; the next refresh tries again; if .*support",
        sentence,
    )
    assert behind["failed_runs"] == 1
    assert behind["request"].startswith("GET /service/tickets?pageSize=")
    assert "lastUpdated >= [" in behind["request"]
    assert behind["message"].startswith(behind["request"])
    assert told(first, BOARDS)[0].startswith("an answer that is not JSON; failing since ")
    assert failure(first).startswith("2 of 4 entities failed. service/")
    assert "GET " not in failure(first)
    assert "%" not in f"{failure(first)} {behind}"

    sentence, again = told(stage.run(mode="incremental"))
    assert "in 2 runs on end" in sentence
    assert again["failing_since"] == behind["failing_since"]

    stage.story.simulator.faults.clear()
    assert told(stage.run(mode="incremental"))[0] == ""
    stage.story.simulator.faults.add(Fault("503", TICKETS))
    assert "in this run" in told(stage.run(mode="incremental"))[0]  # it counts anew

    # Lists that others read since: only what was well is said once more.
    for name in (TICKETS, BOARDS):
        stage.instance.report_runless_asset_event(dg.AssetMaterialization(key(name)))
    results = [dg.AssetCheckKey(key(name), SYNC_OK) for name in (TICKETS, BOARDS)]
    assert report_again(stage.instance, results) == 1
    assert report_again(stage.instance, results) == 0


def test_a_list_that_the_role_may_not_read_names_the_right(stage: Stage) -> None:
    stage.story.simulator.role.forbid("/service/tickets")
    result = stage.run(mode="incremental")
    sentence, _ = told(result)
    needed = (
        "the API member's security role needs Service Desk > Service Tickets, Inquire: All (403)"
    )
    assert sentence.startswith(f"{needed}; failing since ")
    assert needed in failure(result)


def test_what_ends_a_run_before_its_lists_is_counted_for_each_of_them(stage: Stage) -> None:
    stage.options["private_key"] = "not-the-key-0815"
    for runs in ("in this run", "in 2 runs on end"):
        result = stage.run(mode="incremental")
        for name in (TICKETS, BOARDS):
            sentence, behind = told(result, name)
            assert "CW_PRIVATE_KEY" in sentence
            assert runs in sentence
            assert "not-the-key-0815" not in f"{sentence} {behind} {failure(result)}"


def test_the_next_tick_reads_a_list_again_that_failed_though_nothing_changed(kept: Stage) -> None:
    # Now: after a tick Dagster may look up an instance of its own that is gone.
    job = definitions(kept.story.settings(), kept.entities).resolve_job_def("refresh")
    for _ in range(2):
        kept.run(mode="incremental")
    kept.story.simulator.role.forbid("/service/boards")
    kept.run("refresh", BOARDS, mode="incremental")
    kept.story.simulator.role.allow("/service/boards")
    (request,) = tick(kept).run_requests or ()
    assert request.asset_selection == [key(BOARDS)]
    # A run that dies before it comes to its checks leaves them planned, and takes nothing back.
    check = dg.AssetCheckKey(key(BOARDS), SYNC_OK)
    died = kept.instance.create_run_for_job(job, asset_selection={key(BOARDS)})
    kept.instance.report_run_failed(died, "its process is gone")
    latest = kept.instance.event_log_storage.get_latest_asset_check_execution_by_key([check])
    assert latest[check].status.value == "PLANNED"
    (request,) = tick(kept).run_requests or ()
    assert request.asset_selection == [key(BOARDS)]


def test_no_secret_of_a_tenant_made_in_code_goes_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its definitions are loaded without secrets, so the alert has to look them up."""
    secrets = {"PRIVATE_KEY": "key-of-acme-4711", "WAREHOUSE_DSN": stage.story.dsn}
    for name, value in secrets.items():
        monkeypatch.setenv(f"HOST_{name}", value)
    with receiving() as receiver:
        tenant = ConnectWiseTenant(
            site=stage.story.simulator.url,
            company="demo",
            public_key="public",
            private_key=dg.EnvVar("HOST_PRIVATE_KEY"),
            client_id=CLIENT_ID,
            warehouse_dsn=dg.EnvVar("HOST_WAREHOUSE_DSN"),
            schema_name="acme",
            entities=TICKETS,
            options={"alert_urls": receiver.url},
        )
        made = build_connectwise_definitions(tenant)
        job = made.resolve_job_def("acme_promises")
        died = stage.instance.create_run_for_job(job, tags=job.run_tags)
        stage.instance.report_run_failed(died, "; ".join(secrets.values()))
        context = dg.build_sensor_context(instance=stage.instance, definitions=made)
        made.resolve_sensor_def("acme_alerts").evaluate_tick(context)
        (text,) = receiver.texts
    assert "***; ***" in text
    assert not any(secret in text for secret in secrets.values())
