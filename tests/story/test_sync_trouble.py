"""What passes by itself is waited out; what does not is named, and costs nothing but its own."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import (
    EntityBusy,
    PipelineError,
    SourceDenied,
    SourceForbidden,
    SourceMissing,
    TooManyRejects,
    WarehouseError,
)
from cw_pipeline.simulator import Fault, Simulator, Tenant
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entity
from cw_pipeline.warehouse import open_store
from tests.story.conftest import Story

if TYPE_CHECKING:
    from pathlib import Path

TICKETS, BOARDS, SURVEYS = "service/tickets", "service/boards", "service/surveys"
PATH = "/service/tickets"


@pytest.fixture
def story(story: Story, tenant: Tenant) -> Story:
    story.options |= {"page_size": 10}
    past = tenant.now() - timedelta(hours=1)
    for own in range(1, 46):
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}"}, stamp=past)
    for own in (1, 2):
        tenant.put("/service/boards", {"id": own, "name": f"board {own}"}, stamp=past)
    return story


def summaries(story: Story) -> dict[int, str]:
    return {own: row["summary"] for own, row in story.table(TICKETS).items()}


def truth(tenant: Tenant) -> dict[int, str]:
    return {own: record["summary"] for own, record in tenant.records(PATH).items()}


@pytest.mark.parametrize("kind", ["500", "503", "drop", "reset", "truncated", "html", "timeout500"])
def test_what_passes_by_itself_is_asked_again_and_loses_nothing(
    story: Story, tenant: Tenant, kind: Any
) -> None:
    fault = Fault(kind, PATH, at=(1, 3, 5))
    story.simulator.faults.add(fault)
    report = story.one(TICKETS)
    assert fault.fired == 3
    assert report.retries >= 3
    assert report.dead_letters == 0
    assert summaries(story) == truth(tenant)


@pytest.mark.parametrize("as_date", [False, True])
def test_a_429_pauses_as_long_as_it_says(dsn: str, tenant: Tenant, as_date: bool) -> None:  # noqa: FBT001
    tenant.put(PATH, {"id": 1, "summary": "a"})
    with Simulator(
        tenant, requests_per_minute=1, rate_window=2, retry_after_as_date=as_date
    ) as simulator:
        report = Story(dsn, simulator, tenant).one(TICKETS)
    assert report.throttled_seconds > 0.5
    refused = [seen for seen in simulator.requests if seen.status == 429]
    assert 1 <= len(refused) <= 4  # it waits, it does not hammer


def test_an_answer_that_stays_broken_fails_the_entity_and_is_never_taken_for_the_end(
    story: Story, tenant: Tenant
) -> None:
    story.simulator.faults.add(Fault("500", None, at=range(3, 9999)))
    reports = story.sync(TICKETS)
    assert reports[TICKETS].failure is not None
    assert story.checkpoint(TICKETS)["watermark"] is None
    assert story.rows("select * from cw_sync.dead_letter") == []
    (run,) = story.rows("select * from cw_sync.run")
    assert run["status"] == "failed"
    assert "500" in run["error"]
    story.simulator.faults.clear()
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_wrong_keys_stop_everything_at_once_and_say_which_setting(story: Story) -> None:
    with pytest.raises(SourceDenied, match="CW_PRIVATE_KEY"):
        story.sync(TICKETS, BOARDS, private_key="wrong")
    denied = [seen for seen in story.simulator.requests if seen.status == 401]
    assert 1 <= len(denied) <= 4  # what was in flight, and no second try


def test_a_list_that_is_forbidden_is_named_and_the_others_go_on(
    story: Story, tenant: Tenant
) -> None:
    story.simulator.role.forbid("/service/boards")
    reports = story.sync(BOARDS, TICKETS)
    assert isinstance(reports[BOARDS].failure, SourceForbidden)
    assert "/service/boards" in str(reports[BOARDS].failure)
    assert summaries(story) == truth(tenant)
    (seen,) = story.rows("select * from cw_sync.capability where entity = %s", BOARDS)
    assert seen["readable"] is False
    story.simulator.role.allow("/service/boards")
    story.one(BOARDS)
    (seen,) = story.rows("select * from cw_sync.capability where entity = %s", BOARDS)
    assert seen["readable"] is True


def test_the_night_the_codebase_moves_is_survived(story: Story, tenant: Tenant) -> None:
    with story.engine() as engine:
        assert sync_entity(CATALOG[BOARDS], engine, SyncRequest()).failure is None
        story.simulator.codebase = "v2026_1/"
        engine.source._base_at -= 3600  # it was found an hour ago
        assert sync_entity(CATALOG[TICKETS], engine, SyncRequest()).failure is None
    assert summaries(story) == truth(tenant)


def test_a_list_that_is_not_there_is_never_taken_for_empty(dsn: str, tenant: Tenant) -> None:
    with Simulator(tenant, paths=["/service/boards"]) as simulator:
        story = Story(dsn, simulator, tenant)
        report = story.sync(TICKETS)[TICKETS]
    assert isinstance(report.failure, SourceMissing)
    assert story.checkpoint(TICKETS)["watermark"] is None


def test_a_company_that_is_not_known_is_named_once_and_stops_the_run(story: Story) -> None:
    with pytest.raises(SourceDenied, match="CW_COMPANY='nobody' is not known"):
        story.sync(TICKETS, BOARDS, company="nobody")


def test_a_warehouse_that_cannot_be_reached_is_named_before_anything_is_read(
    story: Story,
) -> None:
    dsn = "postgresql://someone:hidden-word@127.0.0.1:1/nowhere"
    with pytest.raises(WarehouseError, match="CW_WAREHOUSE_DSN") as failure:
        story.sync(TICKETS, warehouse_dsn=dsn)
    assert "hidden-word" not in str(failure.value)
    assert story.simulator.requests == []


@pytest.mark.parametrize(
    "dsn",
    ["not a url with hidden-word", "postgresql://u:hidden-word@host:port/db", "host=x hidden-word"],
)
def test_a_warehouse_address_that_makes_no_sense_is_named_without_its_password(
    story: Story, dsn: str
) -> None:
    with pytest.raises(PipelineError, match="CW_WAREHOUSE_DSN") as failure:
        story.sync(TICKETS, warehouse_dsn=dsn)
    assert "hidden-word" not in str(failure.value)


def test_a_newer_warehouse_is_left_alone(story: Story) -> None:
    story.rows("update cw_sync.migration set version_num = '9999_later' returning 1")
    with pytest.raises(WarehouseError, match="9999_later"):
        story.sync(TICKETS)
    assert story.simulator.requests == []


def test_a_second_runner_of_an_entity_says_who_holds_it_and_leaves(
    story: Story, tenant: Tenant
) -> None:
    with story.engine() as engine, open_store(engine.database, CATALOG[TICKETS], "refresh"):
        reports = story.sync(TICKETS, BOARDS)
    assert isinstance(reports[TICKETS].failure, EntityBusy)
    assert "cw_pipeline" in str(reports[TICKETS].failure)
    assert reports[BOARDS].failure is None
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_a_warehouse_that_drops_the_connection_fails_the_entity_and_loses_nothing(
    story: Story, tenant: Tenant
) -> None:
    asked: list[int] = []

    def cut(_path: str, _asked: Any) -> None:
        asked.append(1)
        if len(asked) == 4:
            with psycopg.connect(story.dsn) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where pid <> pg_backend_pid() and datname = current_database()"
                    " and usename = session_user"
                )

    story.simulator.before_page(cut)
    story.sync(TICKETS)
    story.simulator._page_watchers.clear()
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_a_record_that_does_not_fit_is_kept_whole_while_the_others_are_loaded(
    story: Story, tenant: Tenant
) -> None:
    fault = Fault("wrong_type", PATH, ids=(3, 40), field="summary", value={"not": "text"})
    story.simulator.faults.add(fault)
    report = story.one(TICKETS)
    assert (report.rows_inserted, report.dead_letters) == (43, 2)
    letters = story.rows("select * from cw_sync.open_dead_letter order by record_id")
    assert [letter["record_id"] for letter in letters] == [3, 40]
    assert "summary" in letters[0]["detail"]
    story.simulator.faults.clear()
    for own in (3, 40):
        tenant.edit(PATH, own, status={"id": 1, "name": "New"})
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)
    assert story.rows("select * from cw_sync.open_dead_letter") == []


def test_a_record_whose_new_copy_does_not_fit_keeps_its_old_one_and_is_not_forgotten(
    story: Story, tenant: Tenant
) -> None:
    story.one(TICKETS)
    tenant.edit(PATH, 3, summary={"not": "text"})
    story.one(TICKETS)
    story.one(TICKETS)
    assert summaries(story)[3] == "ticket 3"
    (letter,) = story.rows("select * from cw_sync.open_dead_letter")
    assert letter["attempts"] >= 2


def test_too_many_rejects_stop_the_pass_before_its_watermark_moves(
    story: Story, tenant: Tenant
) -> None:
    story.simulator.faults.add(Fault("wrong_type", PATH, field="summary", value=[1]))
    for _ in range(2):
        report = story.sync(TICKETS, min_rejects=5)[TICKETS]
        assert isinstance(report.failure, TooManyRejects)
        assert story.checkpoint(TICKETS)["watermark"] is None
    story.simulator.faults.clear()
    story.one(TICKETS)
    assert summaries(story) == truth(tenant)


def test_old_dead_letters_do_not_stop_a_healthy_pass(story: Story, tenant: Tenant) -> None:
    wrong = Fault("wrong_type", PATH, ids=range(1, 8), field="summary", value=[1])
    story.simulator.faults.add(wrong)
    story.one(TICKETS, min_rejects=10)
    story.rows("update cw_sync.dead_letter set retry_at = now() - interval '1 hour' returning id")
    tenant.advance(3600)
    tenant.edit(PATH, 40, summary="edited")
    story.one(TICKETS, min_rejects=5)
    assert summaries(story)[40] == "edited"


def test_unknown_fields_nuls_and_nulls_lose_nothing(story: Story) -> None:
    story.simulator.faults.add(
        Fault("unknown_field", PATH, ids=(1, 12), field="futureField", value={"a": [1]}),
        Fault("nul", PATH, ids=(2,), field="contactName"),
        Fault("explicit_null", PATH, ids=(3,), field="siteName"),
    )
    report = story.one(TICKETS)
    assert report.dead_letters == 0
    rows = story.table(TICKETS)
    assert len(rows) == 45
    assert rows[1]["_extra"] == rows[12]["_extra"] == {"futureField": {"a": [1]}}
    assert rows[2]["contact_name"] == "after"
    drift = {(d["column"], d["change"]) for d in story.rows("select * from cw_sync.column_drift")}
    assert drift == {("futureField", "unknown field"), ("contactName", "nul stripped")}


def test_the_private_key_is_in_no_log_no_error_and_no_table(
    story: Story, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "a-very-private-key"
    story.simulator.keys.private = secret
    story.simulator.faults.add(
        Fault("500", PATH, at=(2, 3)), Fault("wrong_type", PATH, ids=(5,), field="summary", value=1)
    )
    shown = [repr(story.settings(private_key=secret)), repr(tmp_path)]
    shown += [repr(story.sync(TICKETS, private_key=secret))]
    story.simulator.keys.private = "changed at the source"
    with pytest.raises(SourceDenied) as failure:
        story.sync(TICKETS, private_key=secret)
    shown += [repr(failure.value), str(failure.value), caplog.text]
    for table in ("run", "dead_letter", "capability", "column_drift", "checkpoint"):
        shown.append(repr(story.rows(f"select * from cw_sync.{table}")))  # noqa: S608
    assert not any(secret in text for text in shown)


def test_a_pause_is_kept_by_every_thread(story: Story, tenant: Tenant) -> None:
    story.simulator.faults.add(Fault("429", PATH, at=(2,), retry_after=2))
    started = time.monotonic()
    story.one(TICKETS)
    assert time.monotonic() - started >= 2
    refused = next(seen.at for seen in story.simulator.requests if seen.status == 429)
    later = [seen.at for seen in story.simulator.requests if seen.at > refused]
    assert min(later) >= refused + timedelta(seconds=1)  # whole seconds
    assert summaries(story) == truth(tenant)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_proxy_is_not_asked_for_this_machine(
    story: Story, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    boards = tenant.collection("/service/boards")
    site = story.simulator.url.replace("127.0.0.1", host)
    assert story.one("service/boards", site=site).rows_read == len(boards)
