"""What a record used to say is kept when a sync replaces it, and costs nothing when it is not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.errors import ConfigError
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.warehouse import migrate
from cw_pipeline.warehouse.history import parse_history_columns

if TYPE_CHECKING:
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS, PATH = "service/tickets", "/service/tickets"
ADDITIONS = "finance/agreements/additions"


def versions(story: Story, table: str = "service_tickets") -> list[dict[str, Any]]:
    order = "order by id, _next_from, _recorded_to"
    return story.rows(f"select * from connectwise.{table}__versions {order}")  # noqa: S608 - our own names


def stamp(story: Story, own: int) -> Any:
    return story.table(TICKETS)[own]["last_updated"]


def status(own: int) -> dict[str, Any]:
    return {"id": own, "name": "x"}


def test_a_first_load_and_unchanged_records_keep_nothing(story: Story, tenant: Tenant) -> None:
    for own in range(1, 30):
        tenant.put(PATH, {"id": own, "summary": "a", "status": status(1)})
    story.one(TICKETS)
    story.one(TICKETS, SyncRequest(full=True))
    assert versions(story) == []


def test_each_version_is_kept_with_when_it_was_valid(story: Story, tenant: Tenant) -> None:
    tenant.put(PATH, {"id": 1, "status": status(1), "closedFlag": False})
    story.one(TICKETS)
    stamps = []
    for own in (2, 3):
        tenant.advance(600)
        tenant.edit(PATH, 1, status=status(own))
        story.one(TICKETS)
        stamps.append(stamp(story, 1))
    first, second = stamps
    kept = [(row["status_id"], row["_valid_from"], row["_valid_to"]) for row in versions(story)]
    assert kept == [(1, None, first), (2, first, second)]
    assert [row["closed_flag"] for row in versions(story)] == [False, False]
    known = versions(story)[0]
    assert known["_known_to"] < known["_valid_to"], "read up to there when it was replaced"


def test_every_column_that_a_report_reads_is_kept(story: Story, tenant: Tenant) -> None:
    owner = {"id": 9, "identifier": "x", "name": "X"}
    tenant.put(PATH, {"id": 1, "owner": owner, "closedFlag": True, "summary": "was"})
    story.one(TICKETS)
    tenant.advance(60)
    tenant.edit(PATH, 1, owner=None, closedFlag=False, summary="is")
    story.one(TICKETS)
    (kept,) = versions(story)
    assert (kept["owner_id"], kept["closed_flag"], kept["summary"]) == (9, True, "was")


def test_a_change_that_did_not_move_the_stamp_ends_when_it_was_seen(
    story: Story, tenant: Tenant
) -> None:
    past = tenant.now() - timedelta(seconds=30)
    tenant.put(PATH, {"id": 1, "status": status(1)}, stamp=past)
    story.one(TICKETS)
    tenant.edit(PATH, 1, touch=False, status=status(2))
    story.one(TICKETS, SyncRequest(full=True))
    (kept,) = versions(story)
    assert kept["_valid_to"] > past + timedelta(seconds=30)


def test_children_are_told_apart_by_their_parent(story: Story, tenant: Tenant) -> None:
    for parent in (1, 2):
        tenant.put("/finance/agreements", {"id": parent, "name": f"a{parent}"})
        own = f"/finance/agreements/{parent}/additions"
        tenant.put(own, {"id": 5, "quantity": 1.0, "extPrice": 10.0})
    story.sync("finance/agreements", ADDITIONS)
    for parent, price in ((2, 30.0), (2, 40.0), (1, 50.0)):
        tenant.advance(600)
        tenant.edit(f"/finance/agreements/{parent}/additions", 5, extPrice=price)
        tenant.edit("/finance/agreements", parent, name=f"b{price}")
        story.sync("finance/agreements", ADDITIONS)
    kept = versions(story, "finance_agreements_additions")
    told = [(row["parent_id"], row["ext_price"], row["_valid_from"] is None) for row in kept]
    assert sorted(told) == [(1, 10, True), (2, 10, True), (2, 30, False)]


def test_a_deleted_record_ends_when_it_was_deleted_and_goes_on_when_it_is_back(
    story: Story, tenant: Tenant
) -> None:
    tenant.put(PATH, {"id": 1, "summary": "a"})
    tenant.put(PATH, {"id": 2, "summary": "stays"})
    story.one(TICKETS)
    _run(
        story,
        "update connectwise.service_tickets set _deleted_at = now(), _synced_at = now()"
        " where id = 1",
    )
    ((deleted,),) = _asked(
        story, "select _deleted_at from connectwise.service_tickets where id = 1"
    )
    tenant.advance(600)
    tenant.edit(PATH, 1, summary="b")
    story.one(TICKETS)
    (kept,) = versions(story)
    assert kept["summary"] == "a"
    assert kept["_valid_to"] == deleted
    assert kept["_next_from"] == stamp(story, 1) > deleted


def test_a_column_chosen_by_setting_is_kept_too(story: Story, tenant: Tenant) -> None:
    options = {"history_columns": "service_tickets.estimated_start_date,service/boards.*"}
    tenant.put(PATH, {"id": 1, "estimatedStartDate": "2025-03-01T00:00:00Z"})
    tenant.put("/service/boards", {"id": 7, "name": "Help", "signOffTemplate": {"id": 3}})
    story.sync(TICKETS, "service/boards", **options)
    tenant.advance(60)
    tenant.edit(PATH, 1, estimatedStartDate="2025-04-01T00:00:00Z")
    tenant.edit("/service/boards", 7, name="Desk")
    story.sync(TICKETS, "service/boards", **options)
    assert [f"{row['estimated_start_date']:%m}" for row in versions(story)] == ["03"]
    (board,) = versions(story, "service_boards")
    assert (board["name"], board["sign_off_template_id"]) == ("Help", 3)


def test_who_migrates_without_the_setting_leaves_what_is_chosen(story: Story) -> None:
    def chosen() -> bool:
        asked = "select 1 from cw_sync.history_column where column_name = 'estimated_start_date'"
        return bool(story.rows(asked))

    migrate(story.dsn, "connectwise", [], "service/tickets.estimated_start_date")
    migrate(story.dsn, "connectwise", [])
    assert chosen()
    migrate(story.dsn, "connectwise", [], "")
    assert not chosen()


def test_a_column_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="no plain column 'colour'"):
        parse_history_columns("service/tickets.colour")
    with pytest.raises(ConfigError, match="names no entity"):
        parse_history_columns("colour")
    assert "severity" in parse_history_columns(" service/tickets.severity , ")["service/tickets"]


def test_versions_and_the_page_that_replaced_them_are_one_fact(
    story: Story, tenant: Tenant
) -> None:
    tenant.put(PATH, {"id": 1, "status": status(1)})
    story.one(TICKETS)
    tenant.advance(60)
    tenant.edit(PATH, 1, status=status(2))
    # The page's transaction fails at its very end.
    _run(
        story,
        "create function cw_sync.refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'refused'; end $$",
        "create trigger refuse before update on cw_sync.checkpoint"
        " execute function cw_sync.refuse()",
    )
    assert story.sync(TICKETS)[TICKETS].failure is not None
    assert versions(story) == []
    _run(story, "drop trigger refuse on cw_sync.checkpoint")
    story.one(TICKETS)
    assert len(versions(story)) == 1


def test_what_was_kept_column_by_column_becomes_versions(story: Story, tenant: Tenant) -> None:
    """A warehouse of a version that kept each tracked column's values by themselves."""
    tenant.put(PATH, {"id": 1, "status": status(3), "owner": {"id": 9}, "summary": "now"})
    story.one(TICKETS)
    _run(
        story,
        "drop table connectwise.service_tickets__versions cascade",
        "insert into cw_sync.history (tenant, entity, record_id, column_name, value, valid_to)"
        " values ('connectwise', 'service/tickets', 1, 'status_id', '1', '2025-03-01'),"
        " ('connectwise', 'service/tickets', 1, 'owner_id', null, '2025-04-01'),"
        " ('connectwise', 'service/tickets', 1, 'status_id', '2', '2025-05-01')",
    )
    story.one(TICKETS)
    kept = [
        (row["status_id"], row["owner_id"], row["summary"], f"{row['_valid_to']:%m}")
        for row in versions(story)
    ]
    assert kept == [(1, None, "now", "03"), (2, None, "now", "04"), (2, 9, "now", "05")]
    assert story.rows("select count(*) as n from cw_sync.history")[0]["n"] == 3, "stays readable"


def _run(story: Story, *statements: str) -> None:
    with psycopg.connect(story.dsn) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _asked(story: Story, query: str) -> list[Any]:
    with psycopg.connect(story.dsn) as connection:
        return connection.execute(query.encode()).fetchall()
