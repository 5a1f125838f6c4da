"""Dagster's own webserver and daemon on the project, driven as the UI drives them: by GraphQL."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml

from cw_pipeline.dev.dagster_yaml import prepare_dagster_yaml
from cw_pipeline.simulator import CLIENT_ID
from tests import processes
from tests.story.neighbour import NAME as NEIGHBOUR
from tests.story.neighbour import neighbour
from tests.story.test_alerts import receiving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cw_pipeline.simulator import Simulator, Tenant
    from tests.story.test_alerts import Receiver

TICKETS, COMPANIES = ["connectwise", "service_tickets"], ["connectwise", "company_companies"]
MONTHS = ["2026-05-01", "2026-06-01", "2026-07-01"]

RUNS = """
query Runs($tag: String!, $value: String!) {
  runsOrError(filter: {tags: [{key: $tag, value: $value}]}) {
    ... on Runs { results { id status tags { key value } assetSelection { path }
                            assetMaterializations { assetKey { path } partition } } } } }
"""
BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
REEXECUTE = """
mutation Again($params: ReexecutionParams!) {
  launchPipelineReexecution(reexecutionParams: $params) {
    __typename ... on LaunchRunSuccess { run { id } } ... on PythonError { message } } }
"""
PARTITIONS = """
query Months($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode { assetPartitionStatuses {
      ... on TimePartitionStatuses { ranges { status startKey endKey } } } } } }
"""
LOADED = "query { workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"
CHECKS = """
query Checks($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { assetChecksOrError {
    ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } } } } }
"""
SWITCHED = """
query { schedulesOrError(repositorySelector: {repositoryName: "__repository__",
                                              repositoryLocationName: "cw_pipeline"}) {
  ... on Schedules { results { name scheduleState { id status } } } } }
"""
OFF = """
mutation Off($id: String!) { stopRunningSchedule(id: $id) { __typename } }
"""


@dataclass
class Dagster:
    """A running `dagster dev`."""

    url: str
    log: Path

    def ask(self, query: str, **variables: Any) -> Any:
        """The answer to a GraphQL question."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        (told,) = answer["data"].values()
        return told

    def runs(self, tag: str, value: str) -> list[dict[str, Any]]:
        """The runs with a tag, latest first."""
        found: list[dict[str, Any]] = self.ask(RUNS, tag=tag, value=value)["results"]
        return found

    def finished(self, tag: str, value: str) -> dict[str, Any] | None:
        """The first run with a tag, once it has ended."""
        runs = self.runs(tag, value)
        return runs[-1] if runs and runs[-1]["status"] in ("SUCCESS", "FAILURE") else None

    def eventually(self, look: Callable[[], Any], seconds: float = 200) -> Any:
        """What `look` finds, as soon as it finds something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(OSError):
                if found := look():
                    return found
            time.sleep(0.3)
        pytest.fail(f"nothing came of it in {seconds} s:\n{self.log.read_text()[-4000:]}")


@contextmanager
def dagster(
    home: Path, *others: Path, config: dict[str, Any] | None = None, **settings: str
) -> Iterator[Dagster]:
    """`dagster dev` on the project's workspace, as a user starts it, and on others beside it."""
    if not (home / "dagster.yaml").exists():
        configure(home, config)
    port, log = processes.free_port(), home / "dagster.log"
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", "-w", "workspace.yaml"]
    command += [word for each in others for word in ("-w", str(each))]
    command += ["-p", str(port), "-h", "127.0.0.1"]
    environment = {f"CW_{name.upper()}": value for name, value in settings.items()}
    with processes.running(command, log, **environment, DAGSTER_HOME=str(home)):
        yield Dagster(f"http://127.0.0.1:{port}", log)


def configure(home: Path, config: dict[str, Any] | None = None, runs: str | None = None) -> None:
    """Writes the dagster.yaml of a user who wants runs to start soon; `runs` are kept there."""
    prepare_dagster_yaml(home, runs)
    made = {**yaml.safe_load((home / "dagster.yaml").read_text("utf-8")), **(config or {})}
    made["run_coordinator"]["config"] = {"dequeue_interval_seconds": 1}
    (home / "dagster.yaml").write_text(yaml.safe_dump(made), "utf-8")


@pytest.fixture
def alerts() -> Iterator[Receiver]:
    """Somebody who is told what goes wrong."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def running(
    simulator: Simulator, tenant: Tenant, dsn: str, tmp_path: Path, alerts: Receiver
) -> Iterator[Dagster]:
    """Dagster over a small tenant that lets nobody read companies, and over its neighbour."""
    june = datetime(2026, 6, 10, tzinfo=UTC)
    for own in range(1, 6):
        tenant.put("/service/tickets", {"id": own, "summary": f"{own}"}, stamp=june)
    tenant.put("/company/companies", {"id": 1, "name": "Acme"}, stamp=june)
    simulator.role.forbid("/company/companies")
    settings = {
        "site": simulator.url,
        "company": "demo",
        "public_key": "public",
        "private_key": "private",
        "client_id": CLIENT_ID,
        "warehouse_dsn": dsn,
        "entities": "service/tickets,company/companies",
        "refresh_cron": "* * * * *",
        "alert_urls": alerts.url,
    }
    configure(tmp_path)  # or the neighbour, which starts first, would find another storage
    with neighbour(dsn, tmp_path) as other, dagster(tmp_path, other, **settings) as server:
        yield server


@pytest.mark.timeout(600)
def test_a_tick_a_backfill_and_what_failed_executed_again(
    running: Dagster, simulator: Simulator, dsn: str, alerts: Receiver
) -> None:
    running.eventually(lambda: _loaded(running) == {"cw_pipeline", NEIGHBOUR})
    asked = {
        "assetSelection": [{"path": TICKETS}, {"path": COMPANIES}],
        "partitionNames": MONTHS,
        "fromFailure": False,
    }
    backfill = running.ask(BACKFILL, params=asked)
    assert backfill["__typename"] == "LaunchBackfillSuccess", backfill
    theirs = running.ask(
        BACKFILL,
        params={
            "assetSelection": [{"path": [NEIGHBOUR, "company_companies"]}],
            "partitionNames": MONTHS[:1],
            "fromFailure": False,
        },
    )

    # The schedule is on by itself; its run keeps what succeeded and shows what failed.
    refresh = running.eventually(lambda: running.finished("cw/trigger", "refresh"))
    for schedule in running.ask(SWITCHED)["results"]:
        assert schedule["scheduleState"]["status"] == "RUNNING"
        if schedule["name"] == "refresh":
            running.ask(OFF, id=schedule["scheduleState"]["id"])
    assert refresh["status"] == "FAILURE"
    assert _tables(refresh) == {"service_tickets"}
    # The backfill may have begun meanwhile, which shows them as going on.
    running.eventually(lambda: _checks(running, COMPANIES)["sync_ok"] == "FAILED")
    running.eventually(lambda: _checks(running, TICKETS)["sync_ok"] == "SUCCEEDED")

    # One run for three months, that tells them apart.
    read = running.eventually(lambda: running.finished("dagster/backfill", backfill["backfillId"]))
    months = {m["partition"] for m in _of_lists(read)}
    assert (_tables(read), months) == ({"service_tickets"}, set(MONTHS))
    shown = running.ask(PARTITIONS, key={"path": COMPANIES})["assetPartitionStatuses"]["ranges"]
    assert {each["status"] for each in shown} == {"FAILED"}

    # What failed is told, by a tick of the sensor that is on because there is somebody to tell.
    running.eventually(lambda: any("sync_ok" in text for text in alerts.texts))

    # What failed is executed again, and nothing else.
    simulator.role.allow("/company/companies")
    params = {"parentRunId": refresh["id"], "strategy": "FROM_ASSET_FAILURE"}
    again = running.ask(REEXECUTE, params=params)
    assert again["__typename"] == "LaunchRunSuccess", again
    repeated = running.eventually(lambda: running.finished("dagster/parent_run_id", refresh["id"]))
    assert repeated["status"] == "SUCCESS", running.log.read_text()[-4000:]
    assert _tables(repeated) == {"company_companies"}
    assert _checks(running, COMPANIES)["sync_ok"] == "SUCCEEDED"

    # The neighbour was read with its own settings, into its own schema, in its own turn.
    run = running.eventually(lambda: running.finished("dagster/backfill", theirs["backfillId"]))
    assert run["status"] == "SUCCESS", running.log.read_text()[-4000:]
    assert {"key": "cw/backfill", "value": NEIGHBOUR} in run["tags"]
    assert {tuple(each["path"]) for each in run["assetSelection"]} == {
        (NEIGHBOUR, "company_companies")
    }
    with psycopg.connect(dsn) as warehouse:
        names = "select array_agg(name) from {}.company_companies"
        for schema, own in (("connectwise", "Acme"), (NEIGHBOUR, NEIGHBOUR)):
            (found,) = warehouse.execute(names.format(schema).encode()).fetchone() or ()
            assert found == [own]


def _loaded(running: Dagster) -> set[str]:
    entries = running.ask(LOADED)["locationEntries"]
    return {entry["name"] for entry in entries if entry["loadStatus"] == "LOADED"}


def _tables(run: dict[str, Any]) -> set[str]:
    return {each["assetKey"]["path"][-1] for each in _of_lists(run)}


def _of_lists(run: dict[str, Any]) -> list[dict[str, Any]]:
    """What a run loaded, without the tables and views of the reporting schema that follow."""
    found = run["assetMaterializations"]
    return [each for each in found if each["assetKey"]["path"][0] != "reporting"]


def _checks(running: Dagster, path: list[str]) -> dict[str, str]:
    node = running.ask(CHECKS, key={"path": path})
    return {
        check["name"]: (check["executionForLatestMaterialization"] or {}).get("status", "")
        for check in node["assetChecksOrError"]["checks"]
    }
