"""Hints become rows: what a callback names is read at once, and nothing else follows from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.callbacks import CALLBACK_TYPES, callback_types
from cw_pipeline.cli.live import tenants_of
from cw_pipeline.errors import ConfigError, SourceMissing, WarehouseError
from cw_pipeline.live.drain import Drain, Drained
from cw_pipeline.live.hints import Hint, add_up_runs, due_hints, put_hints, remove_hints
from cw_pipeline.live.registrations import Registration, callback_url, plan
from cw_pipeline.live.worker import LiveTenant, hinted_lists
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.simulator import Fault
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entity
from tests.story.conftest import HASTY
from tests.story.test_live_worker import being_live

if TYPE_CHECKING:
    from pathlib import Path

    from tests.story.conftest import Story

TICKETS, PROJECT_TICKETS = "service/tickets", "project/tickets"


def put(
    story: Story, *ids: int, type_: str = "ticket", action: str = "updated", **more: Any
) -> None:
    """Stores hints, as the receiver does."""
    with psycopg.connect(story.dsn) as connection:
        put_hints(connection, [Hint("connectwise", type_, each, action, **more) for each in ids])


def drain(story: Story, *names: str, times: int = 1) -> Drained:
    """Reads what is due, so often; what waits is made due before each time."""
    entities = [CATALOG[name] for name in names or (TICKETS, PROJECT_TICKETS)]
    with story.engine(entities=",".join(each.name for each in entities)) as engine:
        draining = Drain(engine, hinted_lists(entities))
        for _ in range(times):
            with engine.database.connection() as connection:
                connection.execute("update cw_sync.hint set due_at = now()")
            drained = draining.drain()
    return drained


def hints(story: Story) -> list[int]:
    """The ids that are still to be read."""
    return [row["record_id"] for row in story.rows("select record_id from cw_sync.hint")]


@pytest.fixture
def loaded(story: Story) -> Story:
    """Tickets 1 to 30, of which 21 to 30 are of projects, all synced."""
    for at in range(1, 31):
        path = "/service/tickets" if at <= 20 else "/project/tickets"
        story.tenant.put(path, {"id": at, "summary": f"Ticket {at}"})
    story.sync(TICKETS, PROJECT_TICKETS)
    story.tenant.advance(60)
    story.simulator.requests.clear()
    return story


def test_a_list_that_fails_is_said_once_and_again_when_it_does_no_more(loaded: Story) -> None:
    said: list[str] = []
    settings = loaded.settings(entities=f"{TICKETS},{PROJECT_TICKETS}")
    with Pipeline(settings, policy=HASTY) as pipeline:
        tenant = LiveTenant(pipeline, said.append)
        tenant.connect()
        loaded.simulator.faults.add(Fault("503", TICKETS))
        for _ in range(3):
            tenant._read([TICKETS, PROJECT_TICKETS])
        (line,) = said
        assert line.startswith(f"{TICKETS}: ConnectWise answered 503; failing since 20")
        assert "; the next refresh tries again; if" in line
        loaded.simulator.faults.clear()
        loaded.simulator.role.forbid("/service/tickets")
        tenant._read([TICKETS])
        assert said[1].startswith(f"{TICKETS}: the API member's security role needs")
        loaded.simulator.role.allow("/service/tickets")
        tenant._read([TICKETS])
        tenant._read([TICKETS])
    assert len(said) == 3
    assert said[2].startswith(f"{TICKETS}: well again; it had failed since 20")


def test_a_tick_reads_at_once_what_live_has_failed_to_read(loaded: Story) -> None:
    """Or Dagster would show it as well for up to two hours."""
    asked = [TICKETS, PROJECT_TICKETS]
    with being_live(loaded), Pipeline(loaded.settings(), policy=HASTY) as tick:
        assert tick.find_changes(*asked, beside_live=True).kept_by_live == 2
        loaded.simulator.faults.add(Fault("503", TICKETS))
        (failed,) = tick.sync(TICKETS)
        assert failed.failure is not None
        assert tick.find_changes(*asked, beside_live=True).changed == (TICKETS,)
        loaded.simulator.faults.clear()
        (read,) = tick.sync(TICKETS)
        assert read.failure is None
        assert tick.find_changes(*asked, beside_live=True).kept_by_live == 2


def test_an_outage_is_said_once_though_every_duty_suffers_from_it(loaded: Story) -> None:
    said: list[str] = []
    with Pipeline(loaded.settings()) as pipeline:
        tenant = LiveTenant(pipeline, said.append)
        for tries in range(3):
            for duty in ("read_due_lists", "_publish"):
                tenant.note_outcome(duty, WarehouseError(f"cannot be reached ({tries} s)"))
        assert [line.partition(";")[0] for line in said] == ["cannot be reached (0 s)"]
        for duty in ("read_due_lists", "_publish", "_add_up_runs"):
            tenant.note_outcome(duty, None)
    assert [line.partition(" since")[0] for line in said[1:]] == ["well again; it had failed"]


def test_each_list_is_named_that_the_tenant_does_not_have(loaded: Story) -> None:
    said: list[str] = []
    with Pipeline(loaded.settings()) as pipeline:
        tenant = LiveTenant(pipeline, said.append)
        for error in (SourceMissing("404", 404), SourceMissing("404", 404), None):
            for name in (TICKETS, PROJECT_TICKETS):
                tenant.note_outcome(name, error)
    gone, back = "ConnectWise answered 404", "well again"
    heads = [line.partition(";")[0] for line in said]
    assert heads == [f"{n}: {what}" for what in (gone, back) for n in (TICKETS, PROJECT_TICKETS)]


def test_what_a_hint_names_is_read_and_no_watermark_moves(loaded: Story) -> None:
    before = loaded.checkpoint(TICKETS)
    loaded.tenant.edit("/service/tickets", 7, summary="Edited")
    put(loaded, 7)
    drained = drain(loaded)
    assert loaded.table(TICKETS)[7]["summary"] == "Edited"
    assert drained.changed == {TICKETS}
    assert hints(loaded) == []
    assert loaded.checkpoint(TICKETS)["watermark"] == before["watermark"]
    assert loaded.simulator.count_by_path()["/service/tickets"] == 1


def test_a_ticket_of_a_project_is_found_in_its_own_list(loaded: Story) -> None:
    loaded.tenant.edit("/project/tickets", 25, summary="Edited")
    put(loaded, 25)
    drain(loaded)
    assert loaded.table(PROJECT_TICKETS)[25]["summary"] == "Edited"


def test_a_storm_of_hints_costs_few_requests(loaded: Story) -> None:
    for at in range(1, 21):
        loaded.tenant.edit("/service/tickets", at, summary="Imported")
    put(loaded, *range(1, 21))
    put(loaded, *range(1, 21))
    drain(loaded)
    assert {row["summary"] for row in loaded.table(TICKETS).values()} == {"Imported"}
    assert loaded.simulator.count_by_path()["/service/tickets"] == 1


def test_ten_thousand_hints_keep_to_the_budget_and_a_pass_comes_through(story: Story) -> None:
    ids = range(1, 2001)
    for at in ids:
        story.tenant.put("/service/tickets", {"id": at, "summary": "Imported"})
    for _ in range(5):
        put(story, *ids)
    with story.engine(entities=TICKETS, requests_per_minute=900) as engine:
        draining = Drain(engine, hinted_lists([CATALOG[TICKETS]]))
        draining.drain()
        assert sync_entity(CATALOG[TICKETS], engine, SyncRequest()).failure is None
        draining.drain()
    assert hints(story) == []
    assert len(story.table(TICKETS)) == len(ids)
    assert len(story.simulator.requests) < 50  # of the 900 of a minute


def test_a_hint_older_than_the_row_costs_no_request(loaded: Story) -> None:
    put(loaded, 7, stamp=datetime(2001, 1, 1, tzinfo=UTC))
    drain(loaded)
    assert hints(loaded) == []
    assert loaded.simulator.count_by_path()["/service/tickets"] == 0


def test_an_answer_older_than_its_hint_is_asked_again(loaded: Story) -> None:
    loaded.tenant.edit("/service/tickets", 7, summary="Late", visible_after=30)
    put(loaded, 7, stamp=loaded.tenant.now())
    drain(loaded)
    assert hints(loaded) == [7]
    loaded.tenant.advance(31)
    drain(loaded)
    assert (loaded.table(TICKETS)[7]["summary"], hints(loaded)) == ("Late", [])


def test_an_answer_that_stays_older_is_left_to_a_pass(loaded: Story) -> None:
    put(loaded, 7, stamp=loaded.tenant.now() + timedelta(days=1))
    drain(loaded, times=5)
    assert hints(loaded) == []


def test_updated_but_absent_deletes_nothing(loaded: Story) -> None:
    loaded.tenant.delete("/service/tickets", 7)
    put(loaded, 7)
    drain(loaded, times=5)
    assert 7 in loaded.table(TICKETS)
    assert hints(loaded) == []


def test_deleted_and_absent_twice_is_a_soft_delete(loaded: Story) -> None:
    loaded.tenant.delete("/service/tickets", 7)
    put(loaded, 7, action="deleted")
    drain(loaded)
    assert 7 not in loaded.table(TICKETS)
    assert 7 in loaded.table(TICKETS, deleted=True)
    assert loaded.simulator.count_by_path()["/service/tickets"] == 2


def test_deleted_but_present_is_read_like_any_other(loaded: Story) -> None:
    loaded.tenant.edit("/service/tickets", 7, summary="Restored")
    put(loaded, 7, action="deleted")
    drain(loaded)
    assert loaded.table(TICKETS)[7]["summary"] == "Restored"


def test_more_deletes_than_the_guard_allows_are_left_to_a_reconcile(loaded: Story) -> None:
    for at in range(1, 11):
        loaded.tenant.delete("/service/tickets", at)
    put(loaded, *range(1, 11), action="deleted")
    drain(loaded)
    assert len(loaded.table(TICKETS)) == 20
    assert loaded.rows("select * from cw_sync.delete_candidate") == []


def test_a_hint_that_comes_again_while_its_record_is_read_stays(loaded: Story) -> None:
    put(loaded, 7)
    with psycopg.connect(loaded.dsn) as connection:
        read = due_hints(connection, "connectwise", 10)
        put_hints(connection, [Hint("connectwise", "ticket", 7, "updated")])
        remove_hints(connection, "connectwise", read)
    assert hints(loaded) == [7]


def test_a_list_that_the_role_may_not_read_keeps_its_hints_and_its_rows(loaded: Story) -> None:
    loaded.simulator.role.forbid("/service/tickets")
    put(loaded, 7, action="deleted")
    drain(loaded, TICKETS)
    assert hints(loaded) == [7]
    assert 7 in loaded.table(TICKETS)


def test_what_hangs_on_a_record_is_due_though_the_records_stamp_did_not_move(story: Story) -> None:
    notes = "service/tickets/notes"
    for at in (1, 2):
        story.tenant.put("/service/tickets", {"id": at, "summary": "x"})
    story.sync(TICKETS, notes)
    story.sync(notes)
    story.tenant.put("/service/tickets/1/notes", {"id": 5, "text": "Called back"})
    story.simulator.requests.clear()
    put(story, 1)
    drain(story, TICKETS, notes)
    with story.engine(entities=f"{TICKETS},{notes}") as engine:
        assert sync_entity(CATALOG[notes], engine, SyncRequest()).failure is None
    assert [row["text"] for row in story.table(notes).values()] == ["Called back"]


def test_sites_alone_are_read_when_a_callback_names_one(story: Story) -> None:
    sites = "company/companies/sites"
    story.tenant.put("/company/companies", {"id": 1, "name": "Client"})
    story.sync("company/companies")
    put(story, 1, type_="company")  # as the receiver has it
    assert drain(story, sites).named == {"company/companies"}
    assert hints(story) == []


def test_what_was_drained_counts_whatever_comes_after_it(loaded: Story) -> None:
    loaded.tenant.edit("/service/tickets", 7, summary="Edited")
    put(loaded, 7)
    put(loaded, 11, type_="site")
    lists = hinted_lists([CATALOG[TICKETS], CATALOG["company/companies/sites"]])
    drained = Drained()
    with loaded.engine(entities=TICKETS) as engine:
        with psycopg.connect(loaded.dsn) as connection:
            connection.execute("drop table if exists connectwise.company_companies_sites cascade")
        with pytest.raises(WarehouseError):
            Drain(engine, lists).drain(drained)
    assert drained.changed == {TICKETS}


@pytest.mark.parametrize("at_once", [True, False])
def test_a_site_of_a_company_that_is_gone_does_not_bring_it_back(
    loaded: Story, *, at_once: bool
) -> None:
    gone = Hint("connectwise", "company", 1, "deleted", datetime(2026, 1, 1, tzinfo=UTC))
    both = [gone, Hint("connectwise", "company", 1, "updated")]
    with psycopg.connect(loaded.dsn) as connection:
        for some in [both] if at_once else [[each] for each in both]:
            put_hints(connection, some)
        (found,) = due_hints(connection, "connectwise", 10)
    assert (found.action, found.stamp) == (gone.action, gone.stamp)


def test_a_site_that_is_gone_has_the_sites_of_its_company_read_again(story: Story) -> None:
    companies, sites = "company/companies", "company/companies/sites"
    for at in (1, 2):
        story.tenant.put("/company/companies", {"id": at, "name": f"Company {at}"})
        story.tenant.put(f"/company/companies/{at}/sites", {"id": at + 10, "name": "Main"})
    story.sync(companies, sites)
    story.tenant.delete("/company/companies/1/sites", 11)
    put(story, 11, type_="site", action="deleted")
    put(story, 99, type_="site", action="deleted")
    assert drain(story, companies, sites).named == {companies}
    assert hints(story) == []
    with story.engine(entities=f"{companies},{sites}") as engine:
        story.simulator.requests.clear()
        assert sync_entity(CATALOG[sites], engine, SyncRequest()).failure is None
    assert set(story.table(sites)) == {12}


def test_hints_that_went_well_do_not_hide_a_pass_that_failed(loaded: Story) -> None:
    loaded.rows(
        "update cw_sync.run set status = 'failed', error = 'x' where entity = %s returning 1",
        TICKETS,
    )
    put(loaded, 7)
    drain(loaded)
    (freshness,) = loaded.rows("select * from cw_sync.freshness where entity = %s", TICKETS)
    assert freshness["last_status"] == "failed"


def test_reports_say_how_old_they_are_and_what_brought_the_newest(loaded: Story) -> None:
    with Pipeline(loaded.settings()) as pipeline:
        pipeline.publish()
        query = "select newest_by, last_hint_at from reporting.freshness where name = %s"
        assert loaded.rows(query, "fct_ticket_all") == [{"newest_by": "pass", "last_hint_at": None}]
        put(loaded, 7)
        drain(loaded)
        (found,) = loaded.rows(query, "fct_ticket_all")
        assert found["newest_by"] == "pass"  # the table does not show it yet
        pipeline.follow_sync([TICKETS])
        for name in ("fct_ticket_all", "dim_ticket"):
            (found,) = loaded.rows(query, name)
            assert found["newest_by"] == "hint"


def test_the_runs_of_a_minute_become_one_and_add_up(loaded: Story) -> None:
    for _ in range(3):
        put(loaded, 7)
        drain(loaded, TICKETS)
    query = "select requests, rows_read from cw_sync.run where kind = 'hint'"
    before = loaded.rows(query)
    with psycopg.connect(loaded.dsn) as connection:
        connection.execute(
            "update cw_sync.run set finished_at = date_trunc('minute', now()) - interval '30 s'"
        )
        add_up_runs(connection, "connectwise")
    (after,) = loaded.rows(query)
    assert len(before) == 3
    assert after == {name: sum(row[name] for row in before) for name in after}


URL = "https://hooks.example.com/callbacks/token?recordId="


def registered(id_: int, type_: str = "ticket", **fields: Any) -> Registration:
    known = {"level": "owner", "url": URL, "is_active": True}
    return Registration(id_, type_, **{**known, **fields})


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ([], [("add", None)]),
        ([registered(1)], []),
        ([registered(1, "Ticket", level="Owner")], []),
        ([registered(1, is_active=False)], [("repair", 1)]),
        ([registered(1, url=URL.replace("token", "old"))], [("repair", 1)]),
        ([registered(1, is_active=False), registered(2)], [("remove", 1)]),
        ([registered(1), registered(2, "invoice")], [("remove", 2)]),
        ([registered(1), registered(2, level="board")], [("remove", 2)]),
    ],
)
def test_a_plan_ends_in_one_right_registration_of_each_type(
    present: list[Registration], expected: list[tuple[str, int | None]]
) -> None:
    steps = plan(present, ["Ticket"], URL)
    assert [(step.action, step.id) for step in steps] == expected


def test_every_type_is_about_lists_that_can_be_synced() -> None:
    names = [name for lists in CALLBACK_TYPES.values() for name in lists]
    assert set(names) <= set(CATALOG)
    assert callback_types(["project/tickets"]) == {"Ticket": ("project/tickets",)}


@pytest.mark.parametrize(
    "url",
    ["hooks.example.com", "http://hooks.example.com", "ftp://x", "https://", "https://x/?a=1"],
)
def test_an_address_that_connectwise_cannot_send_to_is_named(story: Story, url: str) -> None:
    with pytest.raises(ConfigError, match="CW_CALLBACK_URL"):
        callback_url(story.settings(callback_url=url))


CALLED = "CW_CALLBACK_URL=https://hooks.example.com\nCW_SCHEMA="


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        ("CW_SCHEMA=acme", "CW_SCHEMA=acme", "schema of its own"),
        ("CW_SCHEMA=acme", "CW_SCHEMA=globex\nCW_WAREHOUSE_DSN=dbname=other", "different ware"),
        (
            f"{CALLED}acme\nCW_CA_FILE=a.pem",
            f"{CALLED}globex",
            "a.pem in .*first.env and not set in .*second.env",
        ),
        ("CW_SCHEMA=acme", "CW_SITE=", "are set, and CW_SITE is not"),
    ],
)
def test_tenants_that_cannot_share_a_process_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str, fault: str
) -> None:
    given = {
        "CW_SITE": "na.myconnectwise.net",
        "CW_COMPANY": "acme",
        "CW_PUBLIC_KEY": "p",
        "CW_PRIVATE_KEY": "p",
        "CW_CLIENT_ID": "c",
        "CW_WAREHOUSE_DSN": "dbname=warehouse",
    }
    for name in given:
        monkeypatch.delenv(name, raising=False)
    files = [tmp_path / "first.env", tmp_path / "second.env"]
    usual = "".join(f"{name}={value}\n" for name, value in given.items())
    for file, own in zip(files, (first, second), strict=True):
        file.write_text(f"{usual}{own}\n", "utf-8")
    with pytest.raises(ConfigError, match=fault):
        tenants_of(list(map(str, files)))
