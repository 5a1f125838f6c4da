"""A fact is one column, wherever a version of ConnectWise keeps it in its records."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline import composition
from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import SQL
from cw_pipeline.simulator import Simulator, seed_tenant
from cw_pipeline.simulator.role import Quirk
from cw_pipeline.simulator.tenant import UNSTAMPED
from cw_pipeline.sync.reconcile import reconcile_all
from cw_pipeline.warehouse.promotions import promote, unknown_fields
from tests.story.conftest import Story
from tests.unit.mangled import reading_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.simulator import Tenant

TICKETS = "service/tickets"
PATH = "/service/tickets"
TYPES = "company/entityTypes"
TYPES_PATH = "/company/entityTypes"
OLD, NEW = "2019-01-17T09:21:03Z", "2024-05-06T07:08:09Z"
THEN = datetime(2019, 1, 17, 9, 21, 3, tzinfo=UTC)


@pytest.fixture(params=["cc", ""], ids=["compiled", "python"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    with reading_by(request.param):
        yield


def put(tenant: Tenant, own: int, info: dict[str, Any] | None = None, **fields: Any) -> None:
    tenant.put(PATH, {"id": own, **fields, "_info": info or {}})


@pytest.mark.usefixtures("way")
def test_a_fact_at_the_top_level_or_in_info_lands_in_one_column(
    story: Story, tenant: Tenant
) -> None:
    put(tenant, 1, dateEntered=OLD, enteredBy="Alice")
    put(tenant, 2, {"dateEntered": OLD, "enteredBy": "Alice"})
    put(tenant, 3, {"dateEntered": OLD}, dateEntered=OLD, enteredBy="Alice")
    put(tenant, 4, {"dateEntered": None, "enteredBy": "Alice"}, dateEntered=OLD, enteredBy=None)
    put(tenant, 5, {"dateEntered": OLD, "enteredBy": "Alice"}, dateEntered=NEW, enteredBy="Bob")
    tenant.put("/time/entries", {"id": 1, "_info": {"dateEntered": OLD, "enteredBy": "Alice"}})
    story.sync(TICKETS, "time/entries")
    rows = story.table(TICKETS)
    assert {
        own: (row["date_entered"], row["entered_by"]) for own, row in rows.items()
    } == dict.fromkeys(range(1, 6), (THEN, "Alice"))
    assert {own: row["_extra"] for own, row in rows.items() if row["_extra"]} == {
        5: {"dateEntered": NEW.replace("Z", "+00:00"), "enteredBy": "Bob"}
    }
    (entry,) = story.table("time/entries").values()
    assert (entry["date_entered"], entry["entered_by"], entry["_extra"]) == (THEN, "Alice", None)
    with composition.warehouse(story.settings()) as database:
        assert {d.change for d in unknown_fields(database)} == {
            "differs from _info.dateEntered",
            "differs from _info.enteredBy",
        }
        with pytest.raises(
            ConfigError, match=r"has a column already: service_tickets\.date_entered"
        ):
            promote(database, CATALOG[TICKETS], "dateEntered")


def test_what_came_before_the_catalog_knew_the_place_is_moved_by_the_upgrade(
    story: Story, tenant: Tenant
) -> None:
    put(tenant, 1, dateEntered=OLD, mood="good")
    put(tenant, 2, {"dateEntered": OLD})
    story.one(TICKETS)
    entered = {"dateEntered": OLD}
    upgrade = (SQL / "migrations" / "versions" / "0015_places.sql").read_text()
    with psycopg.connect(story.dsn) as connection:
        connection.execute(
            "update connectwise.service_tickets set date_entered = null, _extra = case id"
            " when 1 then %s::jsonb else %s::jsonb end",
            [json.dumps({"mood": "good", **entered}), json.dumps({"_info": entered})],
        )
        connection.execute(upgrade.encode())
    rows = story.table(TICKETS)
    assert [row["date_entered"] for row in rows.values()] == [THEN, THEN]
    assert [rows[1]["_extra"], rows[2]["_extra"]] == [{"mood": "good"}, None]


def test_a_list_whose_records_carry_a_stamp_nobody_documents_is_read_by_window(
    story: Story, tenant: Tenant
) -> None:
    past = datetime(2024, 1, 1, tzinfo=UTC)
    for own in range(1, 31):
        tenant.put(TYPES_PATH, {"id": own, "name": f"type {own}"}, stamp=past)
    assert story.one(TYPES).rows_read == 30
    assert story.table(TYPES)[1]["last_updated"] == past
    tenant.edit(TYPES_PATH, 7, name="edited")
    report = story.one(TYPES)
    assert (report.rows_read, report.rows_updated, report.warnings) == (1, 1, [])
    tenant.delete(TYPES_PATH, 9)
    with story.engine() as engine:
        (audit,) = reconcile_all([CATALOG[TYPES]], engine)
    assert (audit.deleted, 9 in story.table(TYPES)) == (1, False)


def test_such_a_list_that_ignores_the_window_is_read_whole_for_good(
    story: Story, tenant: Tenant
) -> None:
    past = datetime(2024, 1, 1, tzinfo=UTC)
    for own in range(1, 4):
        tenant.put(TYPES_PATH, {"id": own, "name": f"type {own}"}, stamp=past)
    story.one(TYPES)
    story.simulator.quirks[TYPES_PATH] = Quirk(ignores_updated=True)
    (warning,) = story.one(TYPES).warnings
    assert "read whole from now on" in warning
    assert (story.one(TYPES).rows_read, story.one(TYPES).warnings) == (3, [])


def test_such_a_list_of_which_a_record_has_no_stamp_is_read_whole(
    story: Story, tenant: Tenant
) -> None:
    tenant.put(TYPES_PATH, {"id": 1, "name": "stamped"})
    tenant.put(TYPES_PATH, {"id": 2, "name": "not"}, stamp=UNSTAMPED)
    story.one(TYPES)
    assert story.table(TYPES)[2]["last_updated"] is None
    tenant.edit(TYPES_PATH, 2, touch=False, name="changed")
    assert story.one(TYPES).rows_updated == 1


def test_a_queue_is_read_whole_whatever_its_records_carry(story: Story, tenant: Tenant) -> None:
    queue = CATALOG["finance/accounting/unpostedinvoices"]
    past = datetime(2024, 1, 1, tzinfo=UTC)
    for own in range(1, 31):
        tenant.put(queue.path, {"id": own}, stamp=past)
    story.one(queue.name)
    tenant.delete(queue.path, 9)
    report = story.one(queue.name)
    assert (report.rows_read, report.rows_deleted) == (29, 1)
    assert 9 not in story.table(queue.name)


def test_a_server_of_2019_fills_the_same_columns_as_todays(dsn: str) -> None:
    """Whole records of every list that has these facts, from a server at the customer's own."""
    names = ["service/tickets", "company/companies", "finance/invoices", "procurement/catalog"]
    tenant = seed_tenant(tickets=30)
    with Simulator(tenant, on_premise=True) as old:
        answers = Story(dsn, old, tenant)
        answers.sync(*names)
        assert old.count_by_path()["/service/tickets"]
        for name in names:
            rows = answers.table(name)
            records = tenant.records(CATALOG[name].path)
            assert rows.keys() == records.keys()
            for own, row in rows.items():
                info = records[own]["_info"]
                assert row["date_entered"] == datetime.fromisoformat(info["dateEntered"])
                assert (row["entered_by"], row["_extra"]) == (info["enteredBy"], None)
