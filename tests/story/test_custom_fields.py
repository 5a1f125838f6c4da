"""Custom fields as a report wants them: typed, one column each, under names that stay."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.reporting import READER, entities, grant_reader, publish
from cw_pipeline.reporting.custom_fields import PUBLISH_LOCK, refresh_custom_views
from cw_pipeline.warehouse import migrate
from tests.integration.others import as_admin, end_later, new_readers, reading

if TYPE_CHECKING:
    from cw_pipeline.simulator import Tenant
    from tests.conftest import Server
    from tests.story.conftest import Story

TICKETS = "service/tickets"
DEFINITIONS = "system/userDefinedFields"
WARRANTY, SEATS, VIP, REGION = 12, 13, 14, 15
CAPTIONS = {
    WARRANTY: ("Warranty End", "Date"),
    SEATS: ("Seats", "Number"),
    VIP: ("VIP?", "Checkbox"),
    REGION: ("Région", "Text"),
}


@pytest.fixture
def story(story: Story, tenant: Tenant) -> Story:
    for own, (caption, type_) in CAPTIONS.items():
        define(tenant, own, caption, type_)
    return story


def define(tenant: Tenant, own: int, caption: str, type_: str, pod: int = 1) -> None:
    told = {"screenId": "service_tickets_custom_fields", "podId": pod}
    record = {"id": own, "caption": caption, "fieldTypeIdentifier": type_, **told}
    tenant.put("/system/userDefinedFields", record)


def ticket(tenant: Tenant, own: int, values: dict[int, Any], **named: tuple[str, str]) -> None:
    """A ticket that lists these fields; None: listed without a value."""
    captions = CAPTIONS | {int(key[1:]): told for key, told in named.items()}
    fields = []
    for field, value in values.items():
        caption, type_ = captions[field]
        empty = {"id": field, "caption": caption, "type": type_, "entryMethod": "EntryField"}
        fields.append(empty if value is None else {**empty, "value": value})
    record = {"id": own, "summary": f"ticket {own}", "customFields": fields}
    tenant.put("/service/tickets", record)


def refreshed(story: Story) -> None:
    """A sync, at the end of which the views follow."""
    story.sync(TICKETS, DEFINITIONS)


def wide(story: Story) -> dict[int, dict[str, Any]]:
    rows = story.rows("select * from connectwise.service_tickets__custom order by id")
    return {row.pop("id"): row for row in rows}


def test_the_reporting_schema_shows_them_to_who_may_see_nothing_else(
    story: Story, tenant: Tenant, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    ticket(tenant, 1, {SEATS: 2.5})
    refreshed(story)
    migrate(story.dsn, "connectwise", entities())
    assert "cf_service_tickets" in publish(story.dsn, "connectwise")
    assert publish(story.dsn, "connectwise") == []
    ticket(tenant, 2, {SEATS: 3, 16: "low"}, _16=("Risk", "Text"))
    refreshed(story)
    shown = story.rows("select id, cf_13_seats, cf_16_risk from reporting.cf_service_tickets")
    assert shown == [
        {"id": 1, "cf_13_seats": Decimal("2.5"), "cf_16_risk": None},
        {"id": 2, "cf_13_seats": Decimal(3), "cf_16_risk": "low"},
    ]
    assert publish(story.dsn, "connectwise") == []
    view = "reporting.cf_service_tickets"
    with psycopg.connect(story.dsn) as connection:
        connection.execute(
            f"drop view {view}; create materialized view {view} as select 1".encode()
        )
    ticket(tenant, 3, {17: "yes"}, _17=("Signed", "Text"))
    refreshed(story)
    assert wide(story)[3]["cf_17_signed"] == "yes", "what is somebody else's keeps nothing back"
    assert "reporting does not show custom fields that are new: run `migrate`" in caplog.text
    (us,) = story.rows("select current_user as name")
    theirs = "alter schema reporting owner to current_user"
    usable = f'grant all on schema reporting to "{us["name"]}"'
    as_admin(server, story.dsn, f"drop materialized view {view}", theirs, usable)
    ticket(tenant, 4, {17: "no"}, _17=("Signed", "Text"))
    refreshed(story)
    assert "as its owner (it belongs to " in caplog.text
    assert story.rows(f"select to_regclass('{view}') as it") == [{"it": None}]
    as_admin(server, story.dsn, f'alter schema reporting owner to "{us["name"]}"')
    ticket(tenant, 5, {17: "no"}, _17=("Signed", "Text"))
    refreshed(story)
    assert len(story.rows(f"select cf_17_signed from {view}")) == 5, "it is tried again"  # noqa: S608


def test_a_new_field_takes_no_privilege_away_and_waits_for_no_reader_for_long(
    story: Story, tenant: Tenant
) -> None:
    ticket(tenant, 1, {SEATS: 2.5})
    refreshed(story)
    migrate(story.dsn, "connectwise", entities())
    publish(story.dsn, "connectwise")
    views = ("connectwise.service_tickets__custom", "reporting.cf_service_tickets")
    state = (
        "select relname, relacl::text as acl, reloptions from pg_class"
        " where relname in ('service_tickets__custom', 'cf_service_tickets') order by relname"
    )
    with psycopg.connect(story.dsn) as connection:
        for view in views:
            connection.execute(f"grant select on {view} to public".encode())
            connection.execute(f"alter view {view} set (security_barrier)".encode())
    before = story.rows(state)
    assert all(row["reloptions"] for row in before)
    ticket(tenant, 2, {SEATS: 3, 16: "low"}, _16=("Risk", "Text"))
    with reading(story.dsn, views[0]) as reader:
        thread = end_later(reader, 4)
        with new_readers(story.dsn, views[0]) as took:
            refreshed(story)
        thread.join()
    assert max(took) < 1.5
    ticket(tenant, 3, {17: "yes"}, _17=("Signed", "Text"))
    with psycopg.connect(story.dsn) as publication:  # somebody's, that lasts
        publication.execute("select pg_advisory_xact_lock(%s)", [PUBLISH_LOCK])
        thread = end_later(publication, 2)
        with new_readers(story.dsn, views[0]) as took:
            refreshed(story)
        thread.join()
    assert max(took) < 1.5
    assert "cf_17_signed" in story.rows(f"select * from {views[1]}")[0]  # noqa: S608
    publish(story.dsn, "connectwise")
    assert "cf_16_risk" in story.rows(f"select * from {views[1]}")[0]  # noqa: S608
    assert story.rows(state) == before


def test_each_field_is_a_typed_column_named_from_id_and_caption(
    story: Story, tenant: Tenant
) -> None:
    day = "2026-03-31T00:00:00Z"
    ticket(tenant, 1, {WARRANTY: day, SEATS: 2.5, VIP: True, REGION: "Nord"})
    ticket(tenant, 2, {WARRANTY: None, SEATS: None, VIP: False, REGION: ""})
    refreshed(story)
    assert wide(story) == {
        1: {
            "unfit_values": None,
            "cf_12_warranty_end": date(2026, 3, 31),
            "cf_13_seats": Decimal("2.5"),
            "cf_14_vip": True,
            "cf_15_region": "Nord",
        },
        2: {
            "unfit_values": None,
            "cf_12_warranty_end": None,
            "cf_13_seats": None,
            "cf_14_vip": False,
            "cf_15_region": "",
        },
    }


def test_values_that_are_not_of_their_fields_type_are_shown_as_they_came(
    story: Story, tenant: Tenant
) -> None:
    ticket(tenant, 1, {WARRANTY: "soon", SEATS: "12", VIP: "false", REGION: 7})
    ticket(tenant, 2, {WARRANTY: "2026-02-30T00:00:00Z", SEATS: "many", VIP: "maybe"})
    ticket(tenant, 3, {WARRANTY: "2026-03-31T23:00:00Z", SEATS: ""})
    refreshed(story)
    rows = wide(story)
    assert rows[1]["unfit_values"] == {"cf_12_warranty_end": "soon"}
    assert (rows[1]["cf_13_seats"], rows[1]["cf_14_vip"], rows[1]["cf_15_region"]) == (
        12,
        False,
        "7",
    )
    assert rows[2]["unfit_values"] == {
        "cf_12_warranty_end": "2026-02-30T00:00:00Z",
        "cf_13_seats": "many",
        "cf_14_vip": "maybe",
    }
    assert rows[3]["cf_12_warranty_end"] == date(2026, 3, 31)
    assert rows[3]["unfit_values"] == {"cf_12_warranty_end": "2026-03-31T23:00:00Z"}
    typed = story.rows(
        "select value_text, value_number, value_date, value_flag"
        " from connectwise.service_tickets__custom_fields_typed"
        " where parent_id = 1 order by field_id"
    )
    assert [tuple(row.values()) for row in typed] == [
        ("soon", None, None, None),
        ("12", Decimal(12), None, None),
        ("false", None, None, False),
        ("7", None, None, None),
    ]


def test_a_renamed_caption_changes_the_comment_and_no_column(story: Story, tenant: Tenant) -> None:
    ticket(tenant, 1, {WARRANTY: "2026-03-31T00:00:00Z"})
    refreshed(story)
    with psycopg.connect(story.dsn) as connection:
        connection.execute(
            "create view public.mine as"
            " select id, cf_12_warranty_end from connectwise.service_tickets__custom"
        )
    define(tenant, WARRANTY, "Covered until", "Date")
    refreshed(story)
    (row,) = story.rows(
        "select col_description(attrelid, attnum) as said from pg_attribute"
        " where attrelid = 'connectwise.service_tickets__custom'::regclass"
        " and attname = 'cf_12_warranty_end'"
    )
    assert row["said"] == "Covered until (Date)"
    assert story.rows("select * from public.mine")[0]["cf_12_warranty_end"] == date(2026, 3, 31)


def test_a_field_without_a_definition_or_without_a_value_yet_has_its_column(
    story: Story, tenant: Tenant
) -> None:
    ticket(tenant, 1, {VIP: True, 99: "x"}, f99=("Only here", "Text"))
    define(tenant, 16, "Nobody Has It", "Text")
    define(tenant, 17, "Of Another Screen", "Text", pod=2)
    refreshed(story)
    (row,) = wide(story).values()
    assert row["cf_99_only_here"] == "x"
    assert row["cf_16_nobody_has_it"] is None
    assert "cf_17_of_another_screen" not in row


def test_a_field_whose_type_changes_gets_a_second_column_and_the_first_stays(
    story: Story, tenant: Tenant
) -> None:
    ticket(tenant, 1, {REGION: "7"})
    refreshed(story)
    define(tenant, REGION, "Région", "Number")
    ticket(tenant, 2, {REGION: 8})
    refreshed(story)
    rows = wide(story)
    assert [(r["cf_15_region"], r["cf_15_region_number"]) for r in rows.values()] == [
        ("7", Decimal(7)),
        ("8", Decimal(8)),
    ]
    assert [r["unfit_values"] for r in rows.values()] == [None, None]


def test_views_are_looked_at_again_only_when_something_was_written(
    story: Story, tenant: Tenant
) -> None:
    ticket(tenant, 1, {VIP: True})
    refreshed(story)
    scans = "select scanned_at from cw_sync.custom_field_scan where entity = 'service/tickets'"
    before = story.rows(scans)
    tenant.advance(3600)
    refreshed(story)
    assert story.rows(scans) == before
    assert refresh_custom_views(story.dsn, "connectwise") == []
    ticket(tenant, 2, {VIP: True, 77: 5}, f77=("New", "Number"))
    refreshed(story)
    assert story.rows(scans) != before
    assert wide(story)[2]["cf_77_new"] == 5


def test_rows_of_a_deleted_record_are_not_shown(story: Story, tenant: Tenant) -> None:
    ticket(tenant, 1, {VIP: True})
    ticket(tenant, 2, {VIP: True})
    refreshed(story)
    with psycopg.connect(story.dsn) as connection:
        connection.execute(
            "update connectwise.service_tickets__custom_fields set _deleted_at = now()"
            " where parent_id = 2"
        )
    assert list(wide(story)) == [1]


def columns(story: Story) -> list[str]:
    (row,) = story.rows("select * from connectwise.service_tickets__custom where id = 1")
    mine = ("cf_12_", "cf_13_", "cf_14_", "cf_15_")
    return [name for name in row if name.startswith("cf_") and not name.startswith(mine)]


def renamed(story: Story, tenant: Tenant, own: int, caption: str, type_: str, value: Any) -> None:
    """A field that its screen now calls otherwise, or that has another type."""
    define(tenant, own, caption, type_)
    ticket(tenant, 1, {own: value}, **{f"f{own}": (caption, type_)})
    tenant.advance(60)
    refreshed(story)


def test_a_name_is_given_once_whatever_becomes_of_the_field(story: Story, tenant: Tenant) -> None:
    renamed(story, tenant, 50, "Warranty Date", "Text", "soon")
    renamed(story, tenant, 50, "Warranty", "Date", "2026-03-31")
    assert columns(story) == ["cf_50_warranty_date", "cf_50_warranty_date_2"]
    renamed(story, tenant, 50, "Warranty Date", "Text", "later")
    renamed(story, tenant, 50, "Warranty Date 2", "Date", "2026-04-30")
    assert columns(story) == ["cf_50_warranty_date", "cf_50_warranty_date_2"]
    (row,) = story.rows("select * from connectwise.service_tickets__custom where id = 1")
    assert row["cf_50_warranty_date_2"] == date(2026, 4, 30)


CAPTION_PAIRS = (
    ("Größe", "Grosse"),
    ("Seats", "SEATS"),
    ("x" * 63, "x" * 64),
    ("x" * 200 + "a", "x" * 200 + "b"),
    ("名前", "住所"),
    ("", "---"),
    ('"; drop table x; --', "%s %(a)s {} {{}}"),
)


def test_fields_may_have_any_captions_and_swap_them(story: Story, tenant: Tenant) -> None:
    pairs = dict(enumerate(CAPTION_PAIRS, 50))
    fields = [(2 * at + which, pair[which]) for at, pair in pairs.items() for which in (0, 1)]
    swapped = [(own, pairs[own // 2][1 - own % 2]) for own, _ in fields]
    for captions in (fields, swapped):
        told = {f"f{own}": (caption, "Text") for own, caption in captions}
        ticket(tenant, 1, {own: str(own) for own, _ in captions}, **told)
        tenant.advance(60)
        refreshed(story)
        migrate(story.dsn, "connectwise", entities())
        publish(story.dsn, "connectwise")
        (row,) = story.rows("select * from reporting.cf_service_tickets")
        names = {own: name for own, _ in fields for name in row if name.startswith(f"cf_{own}")}
        assert {name: row[name] for name in names.values()} == {
            names[own]: str(own) for own, _ in fields
        }
        assert (names[102], names[103]) == ("cf_102_seats", "cf_103_seats")
        assert all(len(name) <= 63 for name in row)
        for own, caption in captions:
            assert (
                described(story, "reporting.cf_service_tickets", names[own]) == f"{caption} (Text)"
            )


def described(story: Story, view: str, column: str) -> str:
    (row,) = story.rows(
        "select col_description(attrelid, attnum) as said from pg_attribute"
        " where attrelid = %s::regclass and attname = %s",
        view,
        column,
    )
    said: str = row["said"]
    return said


def test_a_field_that_is_deleted_and_made_again_gets_a_column_of_its_own(
    story: Story, tenant: Tenant
) -> None:
    ticket(tenant, 1, {SEATS: 5})
    refreshed(story)
    tenant.delete("/system/userDefinedFields", SEATS)
    define(tenant, 60, "Seats", "Number")
    ticket(tenant, 1, {60: 7}, f60=("Seats", "Number"))
    tenant.advance(60)
    refreshed(story)
    (row,) = story.rows("select * from connectwise.service_tickets__custom where id = 1")
    assert (row["cf_13_seats"], row["cf_60_seats"]) == (None, 7)


def test_more_fields_than_a_view_has_columns_stop_no_sync(story: Story, tenant: Tenant) -> None:
    many = [
        {"id": own, "caption": f"Field {own}", "type": "Text", "value": "x"}
        for own in range(1000, 2700)
    ]
    tenant.put("/service/tickets", {"id": 1, "customFields": many})
    refreshed(story)
    assert len(columns(story)) == 1500
    (row,) = story.rows(
        "select count(*) as n from connectwise.service_tickets__custom_fields_typed"
    )
    assert row["n"] == 1700


ODD_VALUES: dict[int, list[Any]] = {
    SEATS: ["1" * 140_000, "1e999", "." + "1" * 20_000, "-", "NaN", "Infinity", True, {"a": [1]}],
    WARRANTY: ["0000-01-01", "2026-02-29", "x" * 300_000, "2026-01-01T00:00:00." + "1" * 500, 5],
    VIP: ["x" * 300_000, [], 1, "TRUE"],
}


def test_no_value_breaks_a_view_and_readers_read_every_one(
    story: Story, tenant: Tenant, server: Server
) -> None:
    odd = [(field, value) for field, values in ODD_VALUES.items() for value in values]
    for own, (field, value) in enumerate(odd, 1):
        ticket(tenant, own, {field: value})
    refreshed(story)
    migrate(story.dsn, "connectwise", entities())
    publish(story.dsn, "connectwise")
    rows = wide(story)
    assert len(rows) == len(odd)
    assert [*rows[1]["unfit_values"]] == ["cf_13_seats"]
    assert rows[2]["cf_13_seats"] == Decimal("1e999")
    with psycopg.connect(story.dsn, autocommit=True) as connection:
        if not connection.execute("select from pg_roles where rolname = %s", [READER]).rowcount:
            server.create_role(READER)
        server.execute("grant {} to {}", READER, connection.info.user)
        connection.execute("revoke execute on all functions in schema cw_sync from public")
        grant_reader(story.dsn, "connectwise")
        connection.execute(f"set role {READER}")
        seen = connection.execute("select * from reporting.cf_service_tickets").fetchall()
    assert len(seen) == len(odd)
