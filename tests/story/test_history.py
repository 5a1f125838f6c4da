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


def history(story: Story, entity: str = TICKETS) -> list[dict[str, Any]]:
    return story.rows(
        "select record_id, parent_id, column_name, value, valid_from, valid_to from cw_sync.history"
        " where entity = %s order by history_id",
        entity,
    )


def stamp(story: Story, own: int) -> Any:
    return story.table(TICKETS)[own]["last_updated"]


def test_a_first_load_and_unchanged_columns_keep_nothing(story: Story, tenant: Tenant) -> None:
    for own in range(1, 30):
        tenant.put(PATH, {"id": own, "summary": "a", "status": {"id": 1, "name": "New"}})
    story.one(TICKETS)
    tenant.advance(600)
    tenant.edit(PATH, 7, summary="b")
    story.one(TICKETS)
    assert history(story) == []


def test_each_value_is_kept_with_when_it_held(story: Story, tenant: Tenant) -> None:
    tenant.put(PATH, {"id": 1, "status": {"id": 1, "name": "New"}, "closedFlag": False})
    story.one(TICKETS)
    stamps = []
    for status in (2, 3):
        tenant.advance(600)
        tenant.edit(PATH, 1, status={"id": status, "name": "x"})
        story.one(TICKETS)
        stamps.append(stamp(story, 1))
    kept = [(row["value"], row["valid_from"], row["valid_to"]) for row in history(story)]
    assert kept == [("1", None, stamps[0]), ("2", stamps[0], stamps[1])]


def test_several_columns_of_one_change_and_a_value_that_goes_away(
    story: Story, tenant: Tenant
) -> None:
    owner = {"id": 9, "identifier": "x", "name": "X"}
    tenant.put(PATH, {"id": 1, "owner": owner, "closedFlag": True, "priority": {"id": 4}})
    story.one(TICKETS)
    tenant.advance(60)
    tenant.edit(PATH, 1, owner=None, closedFlag=False)
    story.one(TICKETS)
    tenant.advance(60)
    tenant.edit(PATH, 1, owner=owner)
    story.one(TICKETS)
    kept = [(row["column_name"], row["value"]) for row in history(story)]
    assert sorted(kept[:2]) == [("closed_flag", "true"), ("owner_id", "9")]
    assert kept[2:] == [("owner_id", None)]


def test_a_change_that_did_not_move_the_stamp_ends_when_it_was_seen(
    story: Story, tenant: Tenant
) -> None:
    past = tenant.now() - timedelta(seconds=30)
    tenant.put(PATH, {"id": 1, "status": {"id": 1, "name": "New"}}, stamp=past)
    story.one(TICKETS)
    tenant.edit(PATH, 1, touch=False, status={"id": 2, "name": "x"})
    story.one(TICKETS, SyncRequest(full=True))
    (kept,) = history(story)
    assert kept["valid_to"] > past + timedelta(seconds=30)


def test_children_are_told_apart_by_their_parent(story: Story, tenant: Tenant) -> None:
    for parent in (1, 2):
        tenant.put("/finance/agreements", {"id": parent, "name": f"a{parent}"})
        own = f"/finance/agreements/{parent}/additions"
        tenant.put(own, {"id": 5, "quantity": 1.0, "extPrice": 10.0})
    story.sync("finance/agreements", ADDITIONS)
    tenant.advance(600)
    tenant.edit("/finance/agreements/2/additions", 5, extPrice=30.0, quantity=3.0)
    tenant.edit("/finance/agreements", 2, name="b")
    story.sync("finance/agreements", ADDITIONS)
    kept = {
        (row["parent_id"], row["column_name"]): row["value"] for row in history(story, ADDITIONS)
    }
    assert kept == {(2, "ext_price"): "10.0", (2, "quantity"): "1.0"}


def test_a_column_chosen_by_setting_is_kept_too(story: Story, tenant: Tenant) -> None:
    options = {"history_columns": "service_tickets.severity"}
    tenant.put(PATH, {"id": 1, "severity": "Low"})
    story.one(TICKETS, **options)
    tenant.advance(60)
    tenant.edit(PATH, 1, severity="High")
    story.one(TICKETS, **options)
    (kept,) = history(story)
    assert (kept["column_name"], kept["value"]) == ("severity", "Low")


def test_who_migrates_without_the_setting_leaves_what_is_chosen(story: Story) -> None:
    def chosen() -> bool:
        asked = "select 1 from cw_sync.history_column where column_name = 'severity'"
        return bool(story.rows(asked))

    migrate(story.dsn, "connectwise", [], "service/tickets.severity")
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


def test_values_and_the_page_that_replaced_them_are_one_fact(story: Story, tenant: Tenant) -> None:
    tenant.put(PATH, {"id": 1, "status": {"id": 1, "name": "New"}})
    story.one(TICKETS)
    tenant.advance(60)
    tenant.edit(PATH, 1, status={"id": 2, "name": "x"})
    # The page's transaction fails at its very end.
    _run(
        story,
        "create function cw_sync.refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'refused'; end $$",
        "create trigger refuse before update on cw_sync.checkpoint"
        " execute function cw_sync.refuse()",
    )
    assert story.sync(TICKETS)[TICKETS].failure is not None
    assert history(story) == []
    _run(story, "drop trigger refuse on cw_sync.checkpoint")
    story.one(TICKETS)
    assert len(history(story)) == 1


def _run(story: Story, *statements: str) -> None:
    with psycopg.connect(story.dsn) as connection:
        for statement in statements:
            connection.execute(statement.encode())
