"""A field that ConnectWise adds is never lost, and becomes a column without asking again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline import composition
from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.naming import snake
from cw_pipeline.cli import main
from cw_pipeline.errors import ConfigError, EntityBusy, WarehouseError
from cw_pipeline.model import Column, Entity, Kind
from cw_pipeline.simulator import CLIENT_ID
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.warehouse import migrate, open_store
from cw_pipeline.warehouse.promotions import promote, unknown_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.simulator import Tenant
    from cw_pipeline.warehouse import Database
    from tests.story.conftest import Story

TICKETS = "service/tickets"
PATH = "/service/tickets"
ENTITY = CATALOG[TICKETS]


@pytest.fixture
def warehouse(story: Story) -> Iterator[Database]:
    with composition.warehouse(story.settings()) as open_:
        yield open_


def fill(tenant: Tenant, *values: Any, field: str = "mood") -> None:
    """A ticket for each value of the new field; None leaves it out."""
    for own, value in enumerate(values, 1):
        told = {} if value is None else {field: value}
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}", **told})


def column(story: Story, name: str) -> dict[int, Any]:
    return {own: row[name] for own, row in sorted(story.table(TICKETS).items())}


def test_a_new_field_becomes_a_column_with_every_value_and_no_request(
    story: Story, tenant: Tenant, warehouse: Database
) -> None:
    fill(tenant, "good", None, "bad", "good")
    story.one(TICKETS)
    assert [(d.entity, d.field) for d in unknown_fields(warehouse)] == [(TICKETS, "mood")]
    story.simulator.requests.clear()
    (made,) = promote(warehouse, ENTITY, "mood")
    assert (made.column, made.kind, made.rows) == ("mood", Kind.TEXT, 3)
    assert column(story, "mood") == {1: "good", 2: None, 3: "bad", 4: "good"}
    assert set(column(story, "_extra").values()) == {None}
    assert not story.simulator.requests
    assert unknown_fields(warehouse) == []


def test_after_a_promotion_syncs_fill_the_column_and_rewrite_an_unchanged_record_only_once(
    story: Story, tenant: Tenant, warehouse: Database
) -> None:
    fill(tenant, 1, 2, None)
    story.one(TICKETS)
    promote(warehouse, ENTITY, "mood")
    tenant.edit(PATH, 2, mood=7)
    first = story.one(TICKETS, plan=SyncRequest(full=True))
    assert first.rows_updated <= 3
    second = story.one(TICKETS, plan=SyncRequest(full=True))
    assert (second.rows_updated, second.rows_unchanged) == (0, 3)
    assert column(story, "mood") == {1: 1, 2: 7, 3: None}
    assert set(column(story, "_extra").values()) == {None}


NARROWEST: dict[str, tuple[Kind, tuple[Any, ...]]] = {
    "whole": (Kind.BIGINT, (1, 2**40)),
    "broken": (Kind.NUMERIC, (1, 2.5)),
    "priced": (Kind.NUMERIC, (1.0, 2.0)),
    "huge": (Kind.NUMERIC, (2**70, 1)),
    "flag": (Kind.BOOLEAN, (True, False)),
    "zipCode": (Kind.TEXT, ("00123", "7")),
    "noSuchDay": (Kind.TEXT, ("2025-03-01T00:00:00Z", "2025-02-30T00:00:00Z")),
    "list": (Kind.JSONB, ([1], [2])),
    "either": (Kind.JSONB, ({"a": 1}, "text")),
}


def test_the_type_is_the_narrowest_that_holds_all_stored_values_exactly(
    story: Story, tenant: Tenant, warehouse: Database
) -> None:
    for at in (0, 1):
        told = {field: values[at] for field, (_, values) in NARROWEST.items()}
        tenant.put(PATH, {"id": at + 1, "summary": "t", "mixed": ("12", 12)[at], **told})
    story.one(TICKETS)
    for field, (kind, values) in NARROWEST.items():
        (made,) = promote(warehouse, ENTITY, field)
        assert (field, made.kind) == (field, kind)
        assert tuple(column(story, made.column).values()) == values
    assert promote(warehouse, ENTITY, "mixed")[0].kind is Kind.TEXT
    before = story.table(TICKETS)
    story.one(TICKETS, plan=SyncRequest(full=True))
    after = story.table(TICKETS)
    ours = [*map(snake, NARROWEST), "mixed", "_extra"]
    assert [[row[name] for name in ours] for row in after.values()] == [
        [before[own][name] for name in ours] for own in after
    ]


def test_days_and_instants_become_dates_and_a_blank_beside_them_stays_in_extra(
    story: Story, tenant: Tenant, warehouse: Database
) -> None:
    days = ("2025-03-01T00:00:00Z", "", "2024-02-29T00:00:00Z")
    for own, day in enumerate(days, 1):
        stamps = {"dueDay": day, "seenAt": "2025-03-01T10:00:00Z"}
        tenant.put(PATH, {"id": own, "summary": "t", **stamps})
    story.one(TICKETS)
    kinds = [promote(warehouse, ENTITY, field)[0].kind for field in ("dueDay", "seenAt")]
    assert kinds == [Kind.DATE, Kind.TIMESTAMPTZ]
    before = column(story, "due_day"), column(story, "_extra")
    assert [str(day) for day in before[0].values()] == ["2025-03-01", "None", "2024-02-29"]
    assert before[1] == {1: None, 2: {"dueDay": ""}, 3: None}
    story.one(TICKETS, plan=SyncRequest(full=True))
    assert (column(story, "due_day"), column(story, "_extra")) == before


def test_a_new_reference_becomes_a_column_for_each_of_its_scalars(
    story: Story, tenant: Tenant, warehouse: Database
) -> None:
    fill(tenant, {"id": 4, "name": "Blue"}, {"id": 5}, field="team2")
    story.one(TICKETS)
    made = promote(warehouse, ENTITY, "team2")
    assert [(p.column, p.kind) for p in made] == [
        ("team2_id", Kind.BIGINT),
        ("team2_name", Kind.TEXT),
    ]
    assert column(story, "team2_id") == {1: 4, 2: 5}
    assert column(story, "team2_name") == {1: "Blue", 2: None}
    assert set(column(story, "_extra").values()) == {None}
    story.one(TICKETS, plan=SyncRequest(full=True))
    assert column(story, "team2_name") == {1: "Blue", 2: None}


def test_a_new_field_of_an_objects_array_becomes_a_column_of_the_arrays_table(
    story: Story, tenant: Tenant, warehouse: Database
) -> None:
    fields = [{"id": 1, "caption": "A", "type": "Text", "value": "x", "origin": "import"}]
    tenant.put(PATH, {"id": 1, "summary": "t", "customFields": fields})
    story.one(TICKETS)
    (made,) = promote(warehouse, ENTITY, "customFields.origin")
    assert (made.table, made.column) == ("service_tickets__custom_fields", "origin")
    tenant.edit(PATH, 1, summary="again")
    story.one(TICKETS)
    rows = story.rows("select origin, _extra from connectwise.service_tickets__custom_fields")
    assert rows == [{"origin": "import", "_extra": None}]


def test_a_type_that_does_not_hold_what_is_stored_is_refused_with_an_example(
    story: Story, tenant: Tenant, warehouse: Database
) -> None:
    fill(tenant, 1, "many")
    story.one(TICKETS)
    with pytest.raises(ConfigError, match=r'1 stored values are no bigint.*"many"'):
        promote(warehouse, ENTITY, "mood", Kind.BIGINT)
    with pytest.raises(ConfigError, match="say which"):
        promote(warehouse, ENTITY, "neverSeen")
    with pytest.raises(ConfigError, match=r"has a column already: service_tickets\.summary"):
        promote(warehouse, ENTITY, "summary")
    assert "mood" not in story.table(TICKETS)[1]


def test_a_promoted_column_widens_when_a_value_no_longer_fits(
    story: Story, tenant: Tenant, warehouse: Database
) -> None:
    fill(tenant, 1, 2)
    story.one(TICKETS)
    promote(warehouse, ENTITY, "mood")
    tenant.edit(PATH, 2, mood="very")
    assert story.one(TICKETS).dead_letters == 1
    promote(warehouse, ENTITY, "mood", Kind.TEXT)
    story.one(TICKETS)
    assert column(story, "mood") == {1: "1", 2: "very"}
    with pytest.raises(ConfigError, match="cannot hold all of that"):
        promote(warehouse, ENTITY, "mood", Kind.BIGINT)


def test_nothing_is_promoted_while_the_entity_is_being_read(
    story: Story, tenant: Tenant, warehouse: Database
) -> None:
    fill(tenant, 1)
    story.one(TICKETS)
    with (
        open_store(warehouse, ENTITY, "backfill"),
        pytest.raises(EntityBusy, match="Wait until that run ends"),
    ):
        promote(warehouse, ENTITY, "mood")


def upgraded(*columns: Column, without: tuple[str, ...] = ()) -> Entity:
    """The tickets as a later catalog may have them."""
    kept = tuple(column for column in ENTITY.columns if column.name not in without)
    return replace(ENTITY, columns=(*kept, *columns))


def test_a_catalog_that_has_learned_a_field_finds_its_values_in_extra(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, {"score": 3}, {"score": 4, "why": "x"})
    story.one(TICKETS)
    later = upgraded(Column("mood_score", ("mood", "score"), Kind.BIGINT))
    migrate(story.dsn, "connectwise", [later])
    assert column(story, "mood_score") == {1: 3, 2: 4}
    assert column(story, "_extra") == {1: None, 2: {"mood": {"why": "x"}}}


def test_a_catalog_that_widens_a_type_alters_it_in_place_and_the_views_on_it_stay(
    story: Story, tenant: Tenant
) -> None:
    tenant.put(PATH, {"id": 1, "summary": "t", "board": {"id": 5, "name": "B"}, "actualHours": 1.5})
    story.one(TICKETS)
    with psycopg.connect(story.dsn, autocommit=True) as connection:
        connection.execute(
            "create view public.low as select id, board_id from connectwise.service_tickets"
        )
        connection.execute("create view public.high as select * from public.low where board_id = 5")
        connection.execute("comment on view public.high is 'mine'")
        connection.execute("grant select on public.high to public")
    later = upgraded(
        Column("board_id", ("board", "id"), Kind.NUMERIC),
        Column("actual_hours", ("actualHours",), Kind.TEXT),
        without=("board_id", "actual_hours"),
    )
    migrate(story.dsn, "connectwise", [later])
    (row,) = story.table(TICKETS).values()
    assert (row["board_id"], type(row["board_id"]), row["actual_hours"]) == (5, Decimal, "1.5")
    (seen,) = story.rows(
        "select *, obj_description('public.high'::regclass) as told,"
        " has_table_privilege('public', 'public.high', 'select') as open from public.high"
    )
    assert seen == {"id": 1, "board_id": 5, "told": "mine", "open": True}


def test_a_catalog_that_narrows_a_type_is_refused_and_changes_nothing(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, None)
    story.one(TICKETS)
    later = upgraded(Column("summary", ("summary",), Kind.BIGINT), without=("summary",))
    with pytest.raises(WarehouseError, match=r"service_tickets\.summary is text, and bigint is"):
        migrate(story.dsn, "connectwise", [later])
    assert column(story, "summary") == {1: "ticket 1"}


def test_a_catalog_that_knows_a_promoted_field_by_now_keeps_the_columns_type(
    story: Story, tenant: Tenant, warehouse: Database
) -> None:
    fill(tenant, "1", 2)
    story.one(TICKETS)
    promote(warehouse, ENTITY, "mood")
    migrate(story.dsn, "connectwise", [upgraded(Column("mood", ("mood",), Kind.BIGINT))])
    assert column(story, "mood") == {1: "1", 2: "2"}


def test_the_command_lists_what_is_new_and_promotes_it(
    story: Story,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(tenant, 5)
    story.one(TICKETS)
    tenant_settings = {
        "SITE": story.simulator.url,
        "COMPANY": "demo",
        "PUBLIC_KEY": "public",
        "PRIVATE_KEY": "private",
        "CLIENT_ID": CLIENT_ID,
        "WAREHOUSE_DSN": story.dsn,
    }
    for name, value in tenant_settings.items():
        monkeypatch.setenv(f"CW_{name}", value)
    assert main(["columns", "list"]) == 0
    assert "mood" in capsys.readouterr().out
    assert main(["columns", "promote", TICKETS, "mood"]) == 0
    assert "service_tickets.mood (bigint): 1 row filled" in capsys.readouterr().out
    assert main(["columns", "promote", TICKETS, "summary"]) == 2
    assert main(["columns", "promote", "service/tickts", "mood"]) == 2
