"""What cannot be loaded is kept whole with its reason, and comes back by itself when it can."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import stamina

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import TooManyRejects
from cw_pipeline.simulator import UNSTAMPED, Fault, Quirk
from cw_pipeline.simulator.answers import Refusal, broken, no_endpoint
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.sync.reconcile import reconcile_all
from cw_pipeline.sync.replay import replay
from cw_pipeline.warehouse.dead_letters import discard, events

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cw_pipeline.simulator import Tenant
    from cw_pipeline.simulator.query import ListRequest
    from tests.story.conftest import Story

TICKETS = "service/tickets"
PATH = "/service/tickets"
NOTES = "service/tickets/notes"
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2, cap=True):
        yield


def letters(story: Story) -> list[dict[str, Any]]:
    return story.rows("select * from cw_sync.dead_letter order by id")


def only(story: Story) -> dict[str, Any]:
    (letter,) = letters(story)
    return letter


def history(story: Story, letter_id: int) -> list[str]:
    with psycopg.connect(story.dsn) as connection:
        return [event.what for event in events(connection, letter_id)]


def come_due(story: Story) -> None:
    with psycopg.connect(story.dsn) as connection:
        connection.execute("update cw_sync.dead_letter set retry_at = now() - interval '1 second'")


def replayed(story: Story, ids: Sequence[int] | None = None) -> dict[int, str]:
    with story.engine() as engine:
        return dict(replay(engine, ids))


def wait(letter: dict[str, Any]) -> timedelta:
    found: timedelta = letter["retry_at"] - letter["last_seen"]
    return found


def test_a_value_that_does_not_convert_keeps_the_record_whole_with_field_and_reason(
    story: Story, tenant: Tenant
) -> None:
    for own in (1, 2, 3):
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}"})
    tenant.edit(PATH, 2, budgetHours="a lot", board={"id": "seven"}, extra={"kept": [1.50]})
    report = story.one(TICKETS)
    assert set(story.table(TICKETS)) == {1, 3}
    letter = only(story)
    assert (letter["entity"], letter["record_id"]) == (TICKETS, 2)
    assert letter["reason"] == "does not convert"
    assert "budgetHours: expected a number, got str a lot" in letter["detail"]
    assert "board.id: expected an integer, got str seven" in letter["detail"]
    assert letter["request"].startswith("GET /service/tickets?")
    kept = {name: value for name, value in tenant.get(PATH, 2).items() if name != "_info"}
    assert {name: letter["payload"][name] for name in kept} == kept
    assert (report.rows_read, report.rows_inserted, report.dead_letters) == (3, 2, 1)


def test_the_good_row_of_before_stays_until_a_good_copy_comes(story: Story, tenant: Tenant) -> None:
    tenant.put(PATH, {"id": 1, "summary": "good", "budgetHours": 2})
    story.one(TICKETS)
    tenant.edit(PATH, 1, summary="worse", budgetHours="a lot")
    story.one(TICKETS)
    assert story.table(TICKETS)[1]["summary"] == "good"
    tenant.edit(PATH, 1, summary="mended", budgetHours=3)
    story.one(TICKETS)
    assert story.table(TICKETS)[1]["summary"] == "mended"
    letter = only(story)
    assert letter["resolution"] == "a good copy was loaded"
    assert history(story, letter["id"]) == ["buried", "resolved"]


def test_unknown_fields_nuls_digits_and_dates_are_loaded_and_not_rejected(
    story: Story, tenant: Tenant
) -> None:
    story.simulator.faults.add(Fault("nul", ids={1}, field="summary"))
    tenant.put(
        PATH,
        {
            "id": 1,
            "summary": "before",
            "budgetHours": 0.1,
            "requiredDate": "2025-03-01T00:00:00Z",
            "dateResolved": "2025-03-01T23:30:00Z",
            "screenSize": {"wide": [1, 2.50]},
            "customFields": [{"id": 9007199254740993, "caption": "x", "value": 5}],
        },
    )
    story.one(TICKETS)
    row = story.table(TICKETS)[1]
    assert row["summary"] == "beforeafter"
    assert row["budget_hours"] == Decimal("0.1")
    assert row["required_date"] in (date(2025, 3, 1), datetime(2025, 3, 1, tzinfo=UTC))
    assert row["date_resolved"] == datetime(2025, 3, 1, 23, 30, tzinfo=UTC)
    assert row["_extra"] == {"screenSize": {"wide": [1, 2.5]}}
    (element,) = story.rows("select * from connectwise.service_tickets__custom_fields")
    assert element["id"] == 9007199254740993
    drift = {(d["column"], d["change"]) for d in story.rows("select * from cw_sync.column_drift")}
    assert {("summary", "nul stripped"), ("screenSize", "unknown field")} <= drift
    assert letters(story) == []


def test_a_record_without_an_id_is_kept_by_what_it_says(story: Story, tenant: Tenant) -> None:
    for own in (1, 2, 3):
        tenant.put(PATH, {"id": own, "summary": "good" if own != 2 else "no id"})
    fault = Fault("wrong_type", ids={2}, field="id", value=[])
    story.simulator.faults.add(fault)
    story.one(TICKETS)
    letter = only(story)
    assert (letter["record_id"], letter["payload"]["summary"]) == (None, "no id")
    story.one(TICKETS)
    assert only(story)["attempts"] == 2


def test_a_page_of_records_without_ids_stops_neither_its_list_nor_the_children_of_others(
    story: Story, tenant: Tenant
) -> None:
    for own in range(1, 6):
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}"})
        tenant.put(f"{PATH}/{own}/notes", {"id": 10 * own})
    nameless = [
        Fault("wrong_type", PATH, ids={1, 3, 4}, field="id", value=[]),
        Fault("wrong_type", f"{PATH}/2/notes", ids={20}, field="id", value=[]),
    ]
    story.simulator.faults.add(*nameless)
    report = story.one(TICKETS, page_size=1)
    assert set(story.table(TICKETS)) == {2, 5}
    assert (report.rows_read, report.dead_letters, len(letters(story))) == (5, 3, 3)
    assert report.pages == 6, "those without an id too; that at the beginning is asked for again"
    tenant.advance(3600)
    tenant.edit(PATH, 3, summary="all that is new")
    story.one(TICKETS)
    assert len(letters(story)) == 4
    story.one(NOTES)
    assert set(story.table(NOTES)) == {50}, "those of parents that are stored"
    with story.engine(page_size=1) as engine:
        (audit,) = reconcile_all([CATALOG[TICKETS]], engine)
    assert (audit.failure, audit.proven) == (None, False)
    assert "without an id" in audit.detail
    for no_forward_only in (False, True):  # refused behind an id; the same page again
        story.simulator.quirks[PATH] = Quirk(
            refuses_conditions=True, no_forward_only=no_forward_only
        )
        with story.engine(page_size=1) as engine:
            outcomes = {outcome for _, outcome in replay(engine, None)}
        assert outcomes == {"rejected again"}, "whether the parent is there cannot be found out"
        story.simulator.faults.clear()


def test_a_dead_letter_is_tried_again_with_growing_spacing_and_not_before(
    story: Story, tenant: Tenant
) -> None:
    tenant.put(PATH, {"id": 1, "budgetHours": "a lot"}, stamp=tenant.now() - 60 * MINUTE)
    story.one(TICKETS)
    assert wait(only(story)) == 5 * MINUTE
    tenant.advance(7200)  # out of the overlap
    story.one(TICKETS)
    story.one(TICKETS)
    assert only(story)["attempts"] == 1  # not due
    waits = []
    for _ in range(10):
        come_due(story)
        story.one(TICKETS)
        waits.append(wait(only(story)) / MINUTE)
    assert waits[:4] == [10, 20, 40, 80]
    assert waits == sorted(waits)
    assert waits[-1] == 24 * 60  # once a day at least
    assert history(story, only(story)["id"])[0] == "buried"


def test_what_was_mended_without_a_trace_comes_back_when_its_letter_is_due(
    story: Story, tenant: Tenant
) -> None:
    past = tenant.now() - 60 * MINUTE
    tenant.put(PATH, {"id": 1, "summary": "x", "budgetHours": "a lot"}, stamp=past)
    story.one(TICKETS)
    tenant.advance(7200)
    tenant.edit(PATH, 1, touch=False, budgetHours=5)
    story.one(TICKETS)
    assert story.table(TICKETS) == {}
    come_due(story)
    report = story.one(TICKETS)
    assert story.table(TICKETS)[1]["budget_hours"] == 5
    assert (report.rows_read, report.rows_inserted) == (1, 1)
    assert only(story)["resolution"] == "a good copy was loaded"


def test_a_poisoned_record_comes_back_when_its_letter_is_due(story: Story, tenant: Tenant) -> None:
    for own in range(1, 6):
        tenant.put(PATH, {"id": own, "summary": "x"}, stamp=tenant.now() - 60 * MINUTE)
    story.simulator.faults.add(Fault("poison", ids={3}))
    story.one(TICKETS, page_size=4)
    tenant.advance(7200)
    come_due(story)
    story.one(TICKETS, page_size=4)
    assert only(story)["attempts"] == 2
    story.simulator.faults.clear()
    come_due(story)
    story.one(TICKETS, page_size=4)
    assert set(story.table(TICKETS)) == {1, 2, 3, 4, 5}
    letter = only(story)
    assert letter["resolved_at"] is not None
    first, *between, last = history(story, letter["id"])
    assert (first, {*between}, last) == ("buried", {"tried again"}, "resolved")


def test_a_letter_whose_record_is_gone_is_closed_and_says_so(story: Story, tenant: Tenant) -> None:
    tenant.put(PATH, {"id": 1, "budgetHours": "a lot"})
    story.one(TICKETS)
    tenant.delete(PATH, 1)
    come_due(story)
    story.one(TICKETS)
    assert only(story)["resolution"] == "the source no longer has the record"


def test_old_letters_never_keep_a_pass_from_what_is_new(story: Story, tenant: Tenant) -> None:
    tenant.put(PATH, {"id": 1, "budgetHours": "a lot"}, stamp=tenant.now() - 60 * MINUTE)
    story.one(TICKETS)
    tenant.advance(7200)
    tenant.put(PATH, {"id": 2, "summary": "new"})
    come_due(story)

    def break_down(_: str, question: ListRequest) -> None:
        if question.conditions.startswith("id in (1)"):
            raise Refusal(broken())

    story.simulator.before_page(break_down)
    report = story.one(TICKETS)
    assert set(story.table(TICKETS)) == {2}
    assert "could not be tried again" in report.warnings[0]
    assert only(story)["attempts"] == 2


def test_replay_tells_what_came_of_each_letter(story: Story, tenant: Tenant) -> None:
    for own in (1, 2, 3):
        tenant.put(PATH, {"id": own, "budgetHours": "a lot"})
    story.one(TICKETS)
    ids = {letter["record_id"]: letter["id"] for letter in letters(story)}
    tenant.edit(PATH, 1, touch=False, budgetHours=1)
    tenant.delete(PATH, 3)
    assert replayed(story, [ids[1], ids[2], 999]) == {
        ids[1]: "loaded",
        ids[2]: "rejected again",
        999: "not open",
    }
    assert replayed(story) == {ids[2]: "rejected again", ids[3]: "gone at the source"}
    assert set(story.table(TICKETS)) == {1}
    (run, *_) = story.rows("select * from cw_sync.run where kind = 'replay' order by run_id")
    assert (run["status"], run["rows_read"], run["rows_inserted"]) == ("done", 2, 1)
    assert run["dead_letters"] == 1


def test_replay_of_a_childs_letter_asks_below_its_own_parent(story: Story, tenant: Tenant) -> None:
    for parent in (1, 2):
        tenant.put(PATH, {"id": parent})
        tenant.put(f"{PATH}/{parent}/notes", {"id": 7, "text": "good"})
    tenant.put(f"{PATH}/2/notes", {"id": 7, "detailDescriptionFlag": "perhaps"})
    story.sync(TICKETS, NOTES)
    letter = only(story)
    assert (letter["record_id"], letter["parent_id"]) == (7, 2)
    tenant.put(f"{PATH}/2/notes", {"id": 7, "text": "mended"})
    assert replayed(story) == {letter["id"]: "loaded"}
    found = story.rows("select parent_id, text from connectwise.service_tickets_notes order by 1")
    assert [tuple(row.values()) for row in found] == [(1, "good"), (2, "mended")]
    assert only(story)["resolved_at"] is not None


def test_a_letter_whose_parent_is_gone_is_closed_and_keeps_no_other_from_its_turn(
    story: Story, tenant: Tenant
) -> None:
    for parent in (1, 2, 3):
        tenant.put(PATH, {"id": parent})
        tenant.put(f"{PATH}/{parent}/notes", {"id": 7, "detailDescriptionFlag": "perhaps"})
    tenant.put(PATH, {"id": 4})
    tenant.put(f"{PATH}/4/notes", {"id": 8})
    tenant.put(f"{PATH}/4/notes", {"id": 9})
    nameless = Fault("wrong_type", f"{PATH}/4/notes", ids={8}, field="id", value=[])
    story.simulator.faults.add(nameless)
    story.sync(TICKETS, NOTES)
    tenant.delete(PATH, 1)
    tenant.delete(PATH, 4)
    tenant.put(f"{PATH}/3/notes", {"id": 7, "text": "mended"})

    def hide(path: str, _: ListRequest) -> None:
        if path == f"{PATH}/2/notes":
            raise Refusal(no_endpoint())

    story.simulator.before_page(hide)
    come_due(story)
    story.one(NOTES, children_max_age_hours=24)
    closed = {letter["parent_id"]: letter["resolution"] for letter in letters(story)}
    assert closed == {
        1: "its parent is gone at the source",
        2: None,  # a 404 alone says nothing: its parent is there
        3: "a good copy was loaded",
        4: "its parent is gone at the source",
    }


def test_a_letter_without_an_id_is_closed_once_its_list_was_read_whole_without_it(
    story: Story, tenant: Tenant
) -> None:
    codes, notes = "/service/codes", f"{PATH}/2/notes"
    for path in (PATH, codes, notes):
        for own in (1, 2):
            tenant.put(path, {"id": own}, stamp=UNSTAMPED if path == codes else None)
        fault = Fault("wrong_type", path, ids={1}, field="id", value=[])
        story.simulator.faults.add(fault)

    def still_open(*names: str, full: bool = False) -> set[str]:
        story.sync(*names, plan=SyncRequest(full=full), children_max_age_hours=1e-6)
        return {each["entity"] for each in letters(story) if each["resolution"] is None}

    everything = (TICKETS, "service/codes", NOTES)
    assert still_open(*everything) == {*everything}
    assert still_open(*everything) == {*everything}, "it is there"
    story.simulator.faults.clear()
    tenant.advance(7200)
    assert still_open(*everything) == {TICKETS}, "a window says nothing of what lies before it"
    assert still_open(TICKETS, full=True) == set()
    closed = {each["resolution"] for each in letters(story)}
    assert closed == {"the source no longer has the record"}


def test_a_letter_of_a_list_without_ids_is_closed_once_two_whole_reads_have_not_brought_it(
    story: Story, tenant: Tenant
) -> None:
    """Pages by offset leave a record out when one before it goes between them."""
    top, parents = "system/workflows/triggers/options", "company/contacts"
    below = f"{parents}/portalSecurity"
    tenant.put(f"/{parents}", {"id": 7})
    wrong = {
        f"/{top}": ("customField", {"id": "seven"}),
        f"/{parents}/7/portalSecurity": ("enabled", "perhaps"),
    }
    for path, (field, value) in wrong.items():
        for own in (1, 2):
            tenant.put(path, {"id": own})
        for name, bad in ((field, value), ("id", [])):  # else the simulator shows an id
            story.simulator.faults.add(Fault("wrong_type", path, ids={1}, field=name, value=bad))

    def still_open() -> int:
        story.sync(parents, top, below, plan=SyncRequest(full=True))
        assert {each["record_id"] for each in letters(story)} == {None}
        return sum(each["resolution"] is None for each in letters(story))

    assert [still_open(), still_open()] == [2, 2]
    story.simulator.faults.clear()
    assert [still_open(), still_open()] == [2, 0]


def test_a_letter_two_levels_down_whose_parent_is_not_stored_waits(
    story: Story, tenant: Tenant
) -> None:
    path = "/procurement/pricingschedules"
    breaks = "procurement/pricingschedules/details/breaks"
    tenant.put(path, {"id": 1, "name": "list prices"})
    tenant.put(f"{path}/1/details", {"id": 5})
    tenant.put(f"{path}/1/details/5/breaks", {"id": 51, "amount": "ten"})
    with story.engine(entities=breaks) as engine:
        list(reconcile_all([CATALOG[breaks]], engine))
    letter = only(story)
    (outcome,) = replayed(story).values()
    assert outcome.startswith("failed: what procurement/pricingschedules/details 5 is below")
    tenant.put(f"{path}/1/details/5/breaks", {"id": 51, "amount": 10})
    story.sync(path[1:], f"{path[1:]}/details")
    assert replayed(story) == {letter["id"]: "loaded"}


def test_replay_loads_a_kept_payload_that_has_no_id_to_ask_for(
    story: Story, tenant: Tenant
) -> None:
    tenant.put(PATH, {"id": 1})
    story.one(TICKETS)
    kept = json.dumps(
        {"id": 5, "summary": "kept", "_info": {"lastUpdated": "2025-01-01T00:00:00Z"}}
    )
    with psycopg.connect(story.dsn) as connection:
        connection.execute(
            "insert into cw_sync.dead_letter (tenant, entity, payload, reason)"
            " values ('connectwise', 'service/tickets', %s, 'no id')",
            [kept],
        )
    assert list(replayed(story).values()) == ["loaded"]
    assert story.table(TICKETS)[5]["summary"] == "kept"
    assert only(story)["resolution"] == "its payload was loaded"


def test_a_discarded_letter_is_closed_for_good_with_its_reason(
    story: Story, tenant: Tenant
) -> None:
    tenant.put(PATH, {"id": 1, "budgetHours": "a lot"}, stamp=tenant.now() - 60 * MINUTE)
    tenant.put(PATH, {"id": 2}, stamp=tenant.now() - 60 * MINUTE)
    story.one(TICKETS)
    with psycopg.connect(story.dsn) as connection:
        assert discard(connection, "connectwise", only(story)["id"], "test data")
        assert not discard(connection, "connectwise", only(story)["id"], "twice")
    letter = only(story)
    assert letter["resolution"] == "discarded: test data"
    assert history(story, letter["id"]) == ["buried", "resolved"]
    tenant.advance(7200)
    story.one(TICKETS)
    assert len(letters(story)) == 1
    tenant.edit(PATH, 1, budgetHours="even more")  # it is bad in a new way: that is news
    story.one(TICKETS)
    assert [letter["resolved_at"] is None for letter in letters(story)] == [False, True]


def test_a_discarded_letter_stays_closed_where_its_record_is_all_that_the_list_has(
    story: Story, tenant: Tenant
) -> None:
    tenant.put(PATH, {"id": 1, "budgetHours": "a lot"}, stamp=tenant.now() - 60 * MINUTE)
    story.one(TICKETS)
    with psycopg.connect(story.dsn) as connection:
        assert discard(connection, "connectwise", only(story)["id"], "test data")
    tenant.advance(7200)
    for _ in range(2):
        assert story.one(TICKETS).dead_letters == 0
    assert only(story)["resolution"] == "discarded: test data"


def test_too_many_rejects_stop_the_pass_before_the_watermark_moves(
    story: Story, tenant: Tenant
) -> None:
    for own in range(1, 21):
        tenant.put(PATH, {"id": own, "summary": "x"}, stamp=tenant.now() - 60 * MINUTE)
    story.one(TICKETS)
    before = story.checkpoint(TICKETS)["watermark"]
    tenant.advance(3600)
    for own in range(1, 21):
        tenant.edit(PATH, own, summary="edited")
    story.simulator.faults.add(Fault("wrong_type", path=PATH, field="summary"))
    report = story.sync(TICKETS, min_rejects=5, page_size=4)[TICKETS]
    assert isinstance(report.failure, TooManyRejects)
    assert "dead-letters list" in str(report.failure)
    assert story.checkpoint(TICKETS)["watermark"] == before
    run = story.rows("select * from cw_sync.run order by run_id desc limit 1")[0]
    assert (run["status"], run["dead_letters"]) == ("failed", 8)
    story.simulator.faults.clear()
    report = story.one(TICKETS, min_rejects=5, page_size=4)
    assert {row["summary"] for row in story.table(TICKETS).values()} == {"edited"}
    assert all(letter["resolved_at"] for letter in letters(story))


def test_a_few_rejects_in_a_large_pass_do_not_stop_it(story: Story, tenant: Tenant) -> None:
    for own in range(1, 101):
        tenant.put(PATH, {"id": own, "budgetHours": "a lot" if own % 20 == 0 else 1})
    story.one(TICKETS, min_rejects=0, max_reject_fraction=0.05)
    assert len(story.table(TICKETS)) == 95
    assert len(letters(story)) == 5


def test_letters_that_stay_bad_never_stop_a_pass_that_is_healthy(
    story: Story, tenant: Tenant
) -> None:
    """They were judged when they were new; trying them again is not the pass going wrong."""
    for own in range(1, 9):
        tenant.put(PATH, {"id": own, "budgetHours": "a lot"}, stamp=tenant.now() - 60 * MINUTE)
    story.one(TICKETS)
    tenant.advance(7200)
    come_due(story)
    report = story.one(TICKETS, min_rejects=5)
    assert report.dead_letters == 8
