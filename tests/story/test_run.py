"""A fault of the program in one entity costs that entity its run, and no other one anything."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise.query import Query
from cw_pipeline.reports_api.sync import sync_report
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities, sync_entity
from cw_pipeline.sync.reconcile import reconcile_all, reread_all
from cw_pipeline.sync.replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cw_pipeline.connectwise import ConnectWise
    from cw_pipeline.connectwise.query import Request
    from cw_pipeline.simulator import Simulator, Tenant
    from cw_pipeline.sync.context import SyncContext
    from tests.story.conftest import Story

NUMBERS = {
    "company/companies": "annualRevenue",
    "expense/entries": "amount",
    "procurement/products": "quantity",
    "project/projects": "actualHours",
    "service/tickets": "budgetHours",
}
"""Five lists, and a field of each that is a number."""
LISTS = [CATALOG[name] for name in NUMBERS]
BROKEN = "project/projects"  # neither the first of them nor the last
OTHERS = {name for name in NUMBERS if name != BROKEN}
REPORTS = ("Company", "Contact", "Service", "ServiceNote", "Time")
TICKETS = "service/tickets"


@pytest.fixture
def story(story: Story, tenant: Tenant) -> Story:
    for name in NUMBERS:
        for own in (1, 2, 3):
            tenant.put(f"/{name}", {"id": own})
    tenant.advance(3600)
    return story


def fail_when_asked(
    source: ConnectWise,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    fault: BaseException,
    after: int,
) -> None:
    """Makes a client raise `fault` for each question to the list at `path` but the first few."""
    ask = source.ask
    asked = iter(range(after))

    def broken(question: Query | Request, *args: Any, **options: Any) -> Any:
        is_it = isinstance(question, Query) and question.path == path
        if is_it and next(asked, None) is None:
            raise fault
        return ask(question, *args, **options)

    monkeypatch.setattr(source, "ask", broken)


@contextmanager
def broken_engine(
    story: Story,
    path: str = f"/{BROKEN}",
    fault: BaseException | None = None,
    *,
    after: int = 0,
    **options: Any,
) -> Iterator[SyncContext]:
    """An engine with a fault that nobody foresaw: reading one path raises a KeyError."""
    with story.engine(**options) as engine, pytest.MonkeyPatch.context() as monkeypatch:
        fail_when_asked(engine.source, monkeypatch, path, fault or KeyError("planted"), after)
        yield engine


def assert_one_failed(story: Story, kind: str, broken: str, others: set[str]) -> None:
    """Each of the others has a run of its own that is done; the broken one's row says why not."""
    runs = {
        run["entity"]: run for run in story.rows("select * from cw_sync.run where kind = %s", kind)
    }
    assert {name for name, run in runs.items() if run["status"] == "done"} == others
    assert runs.keys() == {broken, *others}
    assert runs[broken]["status"] == "failed"
    assert runs[broken]["finished_at"] is not None
    assert "KeyError: 'planted'" in runs[broken]["error"]


def assert_traced(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """The log names the entity and has the traceback: the fault is one to be mended."""
    (record,) = (r for r in caplog.records if r.levelno == logging.ERROR)
    assert name in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


def test_a_sync_brings_the_other_entities_up_to_date(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    with broken_engine(story) as engine:
        results = {r.entity: r for r in sync_entities(LISTS, engine, SyncRequest())}
    assert {name for name, result in results.items() if result.failure is None} == OTHERS
    assert "KeyError: 'planted'" in str(results[BROKEN].failure)
    assert_one_failed(story, "refresh", BROKEN, OTHERS)
    assert_traced(caplog, BROKEN)
    for name in OTHERS:
        assert set(story.table(name)) == {1, 2, 3}


@pytest.mark.parametrize(
    ("kind", "compare"), [("reconcile", reconcile_all), ("reread", reread_all)]
)
def test_a_proof_or_a_reread_compares_the_other_entities(
    story: Story, kind: str, compare: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    story.sync(*NUMBERS)
    with broken_engine(story) as engine:
        audits = {audit.entity: audit for audit in compare(LISTS, engine)}
    assert {name for name, audit in audits.items() if audit.failure is None} == OTHERS
    assert "KeyError: 'planted'" in audits[BROKEN].detail
    assert_one_failed(story, kind, BROKEN, OTHERS)
    stored = {audit["entity"]: audit for audit in story.rows("select * from cw_sync.audit")}
    assert stored.keys() == set(NUMBERS)
    assert not stored[BROKEN]["proven"]
    assert "KeyError: 'planted'" in stored[BROKEN]["detail"]
    assert {n for n in OTHERS if stored[n]["proven"]} == (OTHERS if kind == "reconcile" else set())
    assert any(BROKEN in record.getMessage() and record.exc_info for record in caplog.records)


def test_deletes_wait_while_it_cannot_be_found_out_whether_the_role_has_shrunk(
    story: Story, tenant: Tenant
) -> None:
    story.sync(*NUMBERS)
    tenant.delete(f"/{TICKETS}", 2)
    with broken_engine(story) as engine:
        audits = {audit.entity: audit for audit in reconcile_all(LISTS, engine)}
    assert (audits[TICKETS].deleted, audits[TICKETS].proven) == (0, False)
    assert f"may still read {BROKEN} (unexpected KeyError" in audits[TICKETS].detail
    with story.engine() as engine:
        audits = {audit.entity: audit for audit in reconcile_all(LISTS, engine)}
    assert (audits[TICKETS].deleted, audits[TICKETS].proven) == (1, True)


def test_a_replay_tries_the_other_entities_dead_letters(
    story: Story, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    for name, number in NUMBERS.items():
        tenant.edit(f"/{name}", 2, **{number: "a lot"})
    story.sync(*NUMBERS)
    for name, number in NUMBERS.items():
        tenant.edit(f"/{name}", 2, **{number: 2})
    entities = {row["id"]: row["entity"] for row in story.rows("select * from cw_sync.dead_letter")}
    with broken_engine(story) as engine:
        outcomes = {entities[own]: outcome for own, outcome in replay(engine, None)}
    assert {name for name, outcome in outcomes.items() if outcome == "loaded"} == OTHERS
    assert "failed: " in outcomes[BROKEN]
    assert "KeyError: 'planted'" in outcomes[BROKEN]
    assert_one_failed(story, "replay", BROKEN, OTHERS)
    assert_traced(caplog, BROKEN)


def test_the_other_reports_are_read(story: Story, caplog: pytest.LogCaptureFixture) -> None:
    with broken_engine(story, "/system/reports/Service") as engine:
        results = {r.entity: r for r in (sync_report(engine, name) for name in REPORTS)}
    broken = "system/reports/Service"
    others = {f"system/reports/{name}" for name in REPORTS} - {broken}
    assert {name for name, result in results.items() if result.failure is None} == others
    assert "KeyError: 'planted'" in str(results[broken].failure)
    assert_one_failed(story, "refresh", broken, others)
    assert_traced(caplog, broken)


def test_a_first_load_that_is_stopped_by_ctrl_c_accounts_for_what_it_has_loaded(
    story: Story, tenant: Tenant
) -> None:
    for own in range(4, 31):
        tenant.put(f"/{TICKETS}", {"id": own})
    stop = KeyboardInterrupt()
    with (
        broken_engine(story, f"/{TICKETS}", stop, after=2, page_size=5, concurrency=1) as engine,
        pytest.raises(KeyboardInterrupt),
    ):
        sync_entity(CATALOG[TICKETS], engine, SyncRequest())
    (run,) = story.rows("select * from cw_sync.run")
    assert (run["status"], run["error"]) == ("failed", "interrupted")
    assert run["finished_at"] is not None
    assert run["rows_inserted"] == len(story.table(TICKETS)) > 0


def test_a_sync_that_fails_on_its_way_says_how_many_rows_the_table_has(
    story: Story, tenant: Tenant
) -> None:
    for own in range(4, 31):
        tenant.put(f"/{TICKETS}", {"id": own})
    with broken_engine(story, f"/{TICKETS}", after=3, page_size=5, concurrency=1) as engine:
        result = sync_entity(CATALOG[TICKETS], engine, SyncRequest())
    assert result.failure is not None
    assert result.row_count == len(story.table(TICKETS)) > 0


def test_each_list_is_asked_in_its_version_which_its_run_records(
    story: Story, tenant: Tenant, simulator: Simulator
) -> None:
    tenant.put("/service/tickets", {"id": 1})
    tenant.put("/finance/agreements", {"id": 1})
    tenant.put("/finance/agreements/1/additions", {"id": 1})
    names = ("service/tickets", "finance/agreements", "finance/agreements/additions")
    story.sync(*names, api_version="2025.1,finance/*=2024.1")
    asked = {
        (seen.path.split("/")[1], seen.version)
        for seen in simulator.requests
        if not seen.path.startswith("/login")
    }
    assert asked == {("service", "2025.1"), ("finance", "2024.1")}
    runs = story.rows("select entity, api_version from cw_sync.run")
    assert {run["entity"]: run["api_version"] for run in runs} == dict(
        zip(names, ("2025.1", "2024.1", "2024.1"), strict=True)
    )
