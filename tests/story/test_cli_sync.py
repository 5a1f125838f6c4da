"""A day with the command line: real exit codes, real PostgreSQL, a ConnectWise that misbehaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.simulator import Fault
from cw_pipeline.warehouse import Database, open_store
from tests.statements import Statements

if TYPE_CHECKING:
    from cw_pipeline.simulator import Simulator, Tenant
    from tests.story.conftest import Shell

IDLE_STATEMENTS = 16  # beside what opens each connection
"""Sent to the warehouse by an idle sync of one list, with the reporting schema published."""

MORE = ("time/entries", "service/priorities", "company/companies", "finance/accountingPackages")
"""Other lists, read by window and whole, of which the last has no rows."""

pytestmark = pytest.mark.usefixtures("few_records")

TICKETS, BOARDS, TYPES = "service/tickets", "service/boards", "service/boards/types"
PATH = "/service/tickets"


def test_a_sync_says_what_it_did_and_the_next_one_only_what_changed(
    shell: Shell, tenant: Tenant
) -> None:
    code, out, _ = shell.run("sync")
    assert code == 0
    assert "✓ service/tickets: 30 new" in out
    assert "3 entities up to date" in out
    assert "32 read, 32 new, 0 changed, 0 deleted" in out
    tenant.edit("/service/tickets", 7, summary="Now it is another")
    code, out, err = shell.run("sync")
    assert code == 0
    assert "✓ service/tickets: 1 changed" in out
    assert "service/boards" not in out
    assert err == ""  # cron mails what is on stderr
    assert out.splitlines()[0].startswith("demo@127.0.0.1")


def test_entities_may_be_named_by_glob_and_by_table(shell: Shell) -> None:
    found = shell.json("sync", "service/board*s", "service_tickets")
    named = {each["entity"] for each in found["entities"]}
    assert {TICKETS, BOARDS} <= named
    assert all(each["failure"] is None for each in found["entities"])


def test_chosen_reports_and_what_is_attached_are_synced_along(
    shell: Shell, simulator: Simulator, tenant: Tenant
) -> None:
    shell.monkeypatch.setenv("CW_ENTITIES", BOARDS)
    shell.monkeypatch.setenv("CW_REPORTS", "Service")
    shell.monkeypatch.setenv("CW_DOCUMENTS", "Company")
    code, out, _ = shell.run("sync")
    assert (code, "3 entities up to date in" in out) == (0, True)
    assert "✓ system/reports/Service: 30 new" in out
    told = {each["entity"] for each in shell.json("status")["entities"]}
    assert told >= {BOARDS, "company/companies/attachedDocuments", "system/reports/Service"}
    tenant.edit("/service/tickets", 3, summary="told by the report")
    assert "1 changed" in shell.run("sync", "system/reports/Service")[1]
    told = shell.rows("select summary from connectwise.report_service where sr_service_rec_id = 3")
    assert told == [("told by the report",)]
    simulator.role.forbid("/system/reports/Service")
    code, out, err = shell.run("sync")
    assert code == 1
    assert "2 of 3 entities up to date" in out
    assert "System > API Reports" in err


def test_a_child_may_be_synced_before_its_parent(shell: Shell) -> None:
    assert shell.run("sync", "time/entries", "company/companies/notes")[0] == 0


def test_a_forbidden_list_is_named_with_the_right_it_needs_and_the_others_are_kept(
    shell: Shell, simulator: Simulator
) -> None:
    simulator.role.forbid("/service/tickets")
    code, out, err = shell.run("sync")
    assert code == 1
    assert "2 of 3 entities up to date" in out
    assert err.count("service/tickets") == 1
    assert "✗ service/tickets: the API member's security role needs Service Desk" in err
    assert shell.rows("select name from connectwise.service_boards") == [("Help Desk",)]


def test_refused_keys_stop_everything_at_once_and_name_the_settings(
    shell: Shell, simulator: Simulator
) -> None:
    shell.monkeypatch.setenv("CW_PRIVATE_KEY", "of-another-member")
    code, _, err = shell.run("sync")
    assert code == 2
    assert "CW_PRIVATE_KEY" in err
    assert "of-another-member" not in err
    assert "Traceback" not in err
    assert len([seen for seen in simulator.requests if seen.status == 401]) <= 3


def test_another_tenants_rows_never_get_into_the_same_schema(
    shell: Shell, simulator: Simulator
) -> None:
    assert shell.run("sync")[0] == 0
    simulator.keys.company = "rival"
    shell.monkeypatch.setenv("CW_COMPANY", "rival")
    code, _, err = shell.run("sync")
    assert code == 2
    assert "holds the ConnectWise tenant demo@127.0.0.1" in err
    assert "CW_SCHEMA" in err


def test_a_backfill_reads_a_span_again_and_leaves_the_watermark(
    shell: Shell, tenant: Tenant
) -> None:
    shell.run("sync")
    before = shell.rows("select watermark from cw_sync.checkpoint where entity = 'service/tickets'")
    tenant.put("/service/tickets", {"id": 99, "summary": "Old"}, stamp="2025-06-05T00:00:00Z")
    span = ("--since", "2025-06-01", "--until", "2025-07-01")
    code, out, _ = shell.run("backfill", TICKETS, *span)
    assert (code, "1 read, 1 new" in out) == (0, True)
    after = shell.rows("select watermark from cw_sync.checkpoint where entity = 'service/tickets'")
    assert after == before


def test_status_answers_while_the_tenant_is_out(shell: Shell) -> None:
    shell.run("sync")
    shell.monkeypatch.setenv("CW_SITE", "http://127.0.0.1:9")
    code, out, _ = shell.run("status")
    assert code == 0
    assert "service/tickets" in out
    assert "3 entities, 32 rows, complete through" in out
    entities = {each["entity"]: each for each in shell.json("status")["entities"]}
    assert entities[TICKETS]["rows"] == 30
    assert entities[TICKETS]["last_run"]["status"] == "done"
    assert entities[TICKETS]["age"] < 60


def test_a_list_that_is_no_longer_wanted_leaves_status_and_its_rows_stay(
    shell: Shell, tenant: Tenant
) -> None:
    shell.run("sync", BOARDS)
    tenant.advance(3600)
    shell.run("sync", TICKETS)
    shell.monkeypatch.setenv("CW_ENTITIES", TICKETS)
    told = shell.json("status")
    assert [each["entity"] for each in told["entities"]] == [TICKETS]
    assert told["not_kept_up"] == [BOARDS]
    out = shell.run("status")[1]
    through = told["entities"][0]["complete_through"][:16].replace("T", " ")
    assert f"1 entity, 30 rows, complete through {through} UTC; 0 open dead letters" in out
    assert "1 entity not named by CW_ENTITIES: service/boards. The rows stay" in out
    fresh = "select entity from cw_sync.freshness order by entity"
    assert shell.rows(fresh) == [(BOARDS,), (TICKETS,)]  # until anything is done
    shell.run("sync")
    assert shell.rows(fresh) == [(TICKETS,)]
    shell.monkeypatch.setenv("CW_ENTITIES", f"{BOARDS},{TICKETS}")
    shell.run("migrate")
    assert shell.rows(fresh) == [(BOARDS,), (TICKETS,)]
    shell.monkeypatch.setenv("CW_ENTITIES", TICKETS)
    shell.run("migrate")
    named = "select entities, missing_entities from reporting.freshness where name = 'dim_board'"
    assert shell.rows(named) == [(None, [BOARDS])]
    assert shell.rows("select name from connectwise.service_boards") == [("Help Desk",)]


def test_reports_that_are_published_follow_a_sync(shell: Shell) -> None:
    shell.run("migrate")
    shown = "select count(*) from reporting.fct_ticket"
    assert shell.rows(shown) == [(0,)]
    shell.run("sync", TICKETS)
    assert shell.rows(shown) == [(30,)]


def test_status_waits_for_neither_dagster_nor_pandas(shell: Shell) -> None:
    shell.run("migrate")
    program = (
        "import sys; from cw_pipeline.cli import main; code = main(['status']);"
        " sys.exit(code or bool({'dagster', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_dead_letter_is_listed_shown_tried_again_and_closed(
    shell: Shell, simulator: Simulator
) -> None:
    wrong = Fault("wrong_type", "/service/tickets", ids=(7, 8), field="estimatedStartDate")
    simulator.faults.all.append(wrong)
    code, out, _ = shell.run("sync", TICKETS)
    assert code == 0
    assert "dead-letters list" in out
    letters = shell.json("dead-letters", "list")
    assert [letter["record_id"] for letter in letters] == [7, 8]
    first, second = (str(letter["id"]) for letter in letters)
    code, out, _ = shell.run("dead-letters", "show", first)
    assert code == 0
    assert "Ticket 7" in out
    assert shell.run("dead-letters", "replay", first)[0] == 1
    simulator.faults.all.clear()
    discarded = shell.json("dead-letters", "discard", second, "--why", "a test")
    assert discarded == {"id": int(second), "discarded": True}
    assert shell.json("dead-letters", "replay") == [{"id": int(first), "outcome": "loaded"}]
    assert shell.run("dead-letters", "list")[1] == "No open dead letters.\n"
    assert shell.rows("select count(*) from connectwise.service_tickets") == [(29,)]
    assert shell.run("dead-letters", "show", "12345")[0] == 1


def test_a_sync_beside_another_one_leaves_the_work_to_it_and_is_no_failure(shell: Shell) -> None:
    shell.run("migrate")
    with Database(shell.dsn, "connectwise") as other, ExitStack() as stack:
        for name in (TICKETS, BOARDS):
            stack.enter_context(open_store(other, CATALOG[name], "refresh"))
        code, out, err = shell.run("sync", BOARDS, TICKETS)
        assert (code, err) == (0, "")  # cron writes no mail
        (line,) = [line for line in out.splitlines() if "another" in line]
        assert line.startswith("All 2 entities are left to another sync. ")
        assert "has it (since" in line
        assert "0 of 2 entities up to date" in out
        code, out, err = shell.run("sync", TICKETS, BOARDS, TYPES)
        assert (code, err) == (0, "")
        assert "2 of 3 entities are left to another sync. " in out
        # What the other does not do is one.
        code, _, err = shell.run("sync", TICKETS, "--full")
        assert code == 1
        (line,) = err.splitlines()
        assert line.count(TICKETS) == 1  # not the name twice


def test_reconcile_proves_and_marks_what_is_gone(shell: Shell, tenant: Tenant) -> None:
    shell.run("sync")
    tenant.delete("/service/tickets", 7)
    code, out, err = shell.run("reconcile")
    assert (code, err) == (0, "")
    assert "✓ service/tickets: 1 no longer listed, 1 deleted" in out
    assert "3 of 3 entities proven equal, 31 rows; 0 repaired, 1 marked deleted" in out


def test_reconcile_fails_rather_than_delete_a_lot_until_it_is_told_to(
    shell: Shell, tenant: Tenant
) -> None:
    shell.run("sync")
    for at in range(1, 11):
        tenant.delete("/service/tickets", at)
    assert shell.run("reconcile", TICKETS)[0] == 1
    assert "were kept by the guard" in shell.run("status")[1]
    told = shell.json("reconcile", "--list-deletes")["candidates"]
    assert [row["record_id"] for row in told] == list(range(1, 11))
    assert "10 of 30 is more than CW_MAX_DELETE_FRACTION" in told[0]["reason"]
    assert "missed since" in shell.run("reconcile", "--list-deletes", TICKETS)[1]
    assert shell.run("reconcile", TICKETS, "--apply-deletes")[0] == 0
    assert "No rows are kept" in shell.run("reconcile", "--list-deletes")[1]
    live = "select count(*) from connectwise.service_tickets where _deleted_at is null"
    assert shell.rows(live) == [(20,)]


def test_status_names_the_lists_whose_records_change_without_a_stamp_and_what_helps(
    shell: Shell, tenant: Tenant
) -> None:
    shell.run("sync")
    shell.monkeypatch.setenv("CW_REREAD_NIGHTS", "1")
    assert (
        "service/tickets: 30 records read again, 0 had changed"
        in shell.run("reconcile", "--reread")[1]
    )
    assert "in the last two weeks" not in shell.run("status")[1]
    tenant.edit("/service/tickets", 3, touch=False, summary="silently")
    audits = shell.json("reconcile", "--reread", TICKETS, BOARDS)["audits"]  # as they ended
    assert {audit["entity"]: audit["drift"] for audit in audits} == {BOARDS: 0, TICKETS: 1}
    told = shell.run("status")[1]
    assert "! service/tickets: 1 of 60 records read again in the last two weeks" in told
    assert "CW_REREAD_NIGHTS" in told
    assert "! service/boards" not in told


def test_status_sounds_the_alarm_of_a_count_that_rows_do_not_explain_until_it_is_mended(
    shell: Shell, tenant: Tenant
) -> None:
    shell.run("sync")
    assert "/count said" not in shell.run("status")[1]
    tenant.delete("/service/tickets", 1)
    tenant.put("/service/tickets", {"id": 31})
    shell.run("sync")
    told = shell.run("status")[1]
    assert "! service/tickets: /count said 30 at" in told
    assert "when the table had 31 rows. `reconcile service/tickets` finds which" in told
    shell.run("reconcile", TICKETS)
    assert "/count said" not in shell.run("status")[1]
    tickets = next(e for e in shell.json("status")["entities"] if e["entity"] == TICKETS)
    assert tickets["rows"] == 30  # though no sync has looked since


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP])  # SIGTERM: test_outage.py
def test_an_interrupted_sync_keeps_what_was_read_and_the_next_one_goes_on(
    shell: Shell, simulator: Simulator, tenant: Tenant, how: signal.Signals
) -> None:
    for at in range(31, 301):
        tenant.put("/service/tickets", {"id": at})
    shell.monkeypatch.setenv("CW_PAGE_SIZE", "5")
    simulator.latency = 0.5
    running = shell.start("sync", TICKETS)
    deadline = time.monotonic() + 60
    while not _loaded(shell) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(how)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "what was read until now is kept" in err
    assert "Traceback" not in err
    kept = len(_loaded(shell))
    assert 0 < kept < 200  # it did not read on to the end
    told = shell.json("status")["entities"]
    assert [(each["rows"], each["last_run"]["status"]) for each in told] == [(kept, "interrupted")]
    assert f"! {TICKETS}: refresh interrupted" in shell.run("status")[1]
    simulator.latency = 0
    code, out, _ = shell.run("sync", TICKETS)
    assert code == 0
    assert f"{300 - kept} new" in out
    assert len(_loaded(shell)) == 300


def test_a_killed_sync_is_interrupted_and_one_that_goes_on_is_not(
    shell: Shell, simulator: Simulator, tenant: Tenant
) -> None:
    for at in range(31, 301):
        tenant.put("/service/tickets", {"id": at})
    shell.monkeypatch.setenv("CW_PAGE_SIZE", "5")
    simulator.latency = 0.5
    running = shell.start("sync", TICKETS)
    try:
        deadline = time.monotonic() + 60
        while not _loaded(shell) and time.monotonic() < deadline:
            time.sleep(0.05)
        (told,) = shell.json("status")["entities"]
        assert told["last_run"]["status"] == "started"
    finally:
        running.kill()
        running.communicate(timeout=60)
    (told,) = shell.json("status")["entities"]
    assert told["last_run"]["status"] == "interrupted"
    assert told["rows"] == len(_loaded(shell)) > 0
    out = shell.run("status")[1]
    assert "was killed or lost its machine. What was read is kept" in out
    assert "0 read" not in out


def _loaded(shell: Shell) -> list[tuple[Any, ...]]:
    return shell.rows("select id from connectwise.service_tickets")


def test_a_sync_with_nothing_to_do_asks_the_warehouse_little(
    shell: Shell, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One list, and what each further one adds: its lease, one read, one write and its own rows."""
    tenant.put(PATH, {"id": 1, "summary": "one"})
    tenant.advance(3600)  # else each window begins before it
    assert shell.run("migrate")[0] == 0
    for _ in range(2):
        assert shell.run("sync", TICKETS, *MORE)[0] == 0
    before = shell.rows(_COMPLETE)
    tenant.advance(60)  # watermarks are whole seconds, and a sync may take less than one
    sent = _sent_by_sync(shell, monkeypatch, IDLE_STATEMENTS, TICKETS)
    assert len(sent) <= IDLE_STATEMENTS, sent
    asked = [each for each in sent if "rolconnlimit" in each]
    assert len(asked) == 1, "connections are shared out once: what follows a sync needs only one"
    assert shell.rows(_COMPLETE) > before, "a table that nothing changed is as fresh as its list"
    tenant.advance(60)
    most = IDLE_STATEMENTS + 4 * len(MORE)
    several = _sent_by_sync(shell, monkeypatch, most, TICKETS, *MORE)
    assert len(several) <= most, several


def _sent_by_sync(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, most: int, *lists: str
) -> list[str]:
    """The statements that a sync with nothing to do sends.

    Without the one that opens a connection: how many threads meet in the warehouse, and so need one
    each, is chance. On a machine that is slow just now, looks at progress and renewals of leases,
    sent by the clock, come to them: then it is tried again.
    """
    for _ in range(3):
        with Statements(shell.dsn) as statements, monkeypatch.context() as settings:
            settings.setenv("CW_WAREHOUSE_DSN", statements.dsn)
            code, said, _ = shell.run("sync", *lists)
        assert (code, "0 new, 0 changed" in said) == (0, True), said
        sent = [each for each in statements.sent if "pg_backend_pid() =" not in each]
        if len(sent) <= most:
            break
    return [f"{at}: {' '.join(each.split())[:90]}" for at, each in enumerate(sent)]


_COMPLETE = "select complete_through from cw_sync.publication where name = 'kpi_data_readiness'"
