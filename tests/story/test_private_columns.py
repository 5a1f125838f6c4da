"""What is private is nowhere in the warehouse: not in rows, arrays, `_extra` or dead letters."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import ConfigError
from cw_pipeline.simulator import Fault
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.transform.mask import MaskingRules

if TYPE_CHECKING:
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

CONTACTS = "company/contacts"
PATH = "/company/contacts"
SECRET = "ann@example.com"
KEY = "a long secret"
HASHED = hmac.new(KEY.encode(), SECRET.encode(), hashlib.sha256).hexdigest()
PRIVATE = {
    "hash_columns": "company_contacts__communication_items.value, company/contacts.nick*",
    "drop_columns": "company_contacts.birth_day,company_contacts.*_extra_mail,*.last_name",
    "hash_key": KEY,
}


@pytest.fixture
def story(story: Story, tenant: Tenant) -> Story:
    put(tenant, 1)
    return story


def put(tenant: Tenant, own: int, **fields: Any) -> None:
    told = {
        "firstName": "Ann",
        "lastName": SECRET,
        "nickName": SECRET,
        "birthDay": "1990-02-03T00:00:00Z",
        "anExtraMail": SECRET,
        "communicationItems": [{"id": 1, "type": {"id": 1, "name": "Email"}, "value": SECRET}],
    }
    tenant.put(PATH, {"id": own, **told, **fields})


def everything(story: Story) -> str:
    """Every row of every table of the warehouse, as text."""
    tables = story.rows(
        "select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables"
        " where schemaname in ('connectwise', 'cw_sync')"
    )
    with psycopg.connect(story.dsn) as connection:
        found = [
            connection.execute(b"select t::text from " + table["name"].encode() + b" t").fetchall()
            for table in tables
        ]
    return str(found)


def test_private_values_are_hashed_or_dropped_before_they_are_stored(
    story: Story, tenant: Tenant
) -> None:
    put(tenant, 3, firstName={"not": "text"})
    report = story.one(CONTACTS, **PRIVATE)
    assert (report.rows_inserted, report.dead_letters) == (1, 1)
    row = story.table(CONTACTS)[1]
    assert (row["first_name"], row["last_name"], row["birth_day"]) == ("Ann", None, None)
    assert (row["nick_name"], row["_extra"]) == (HASHED, None)
    (item,) = story.rows("select * from connectwise.company_contacts__communication_items")
    assert (item["value"], item["type_name"]) == (HASHED, "Email")
    stored = everything(story)
    assert SECRET not in stored
    assert "1990-02-03" not in stored


def test_names_with_nuls_in_them_are_hidden_as_what_they_are_stored_under(
    story: Story, tenant: Tenant
) -> None:
    items = [{"id": 1, "value\0": SECRET}]
    fields = {"nick\0Name": SECRET, "lastName\0": SECRET, "\0communicationItems": items}
    tenant.put(PATH, {"id": 2, **fields})
    assert story.one(CONTACTS, **PRIVATE).dead_letters == 0
    assert story.table(CONTACTS)[2]["nick_name"] == HASHED
    assert SECRET not in everything(story)


def test_a_broken_answer_is_not_quoted(story: Story) -> None:
    story.simulator.faults.add(Fault("truncated", path=PATH))
    story.sync(CONTACTS, **PRIVATE)
    assert "Ann" not in everything(story)


def test_an_unchanged_record_stays_unchanged_and_a_changed_value_is_seen(
    story: Story, tenant: Tenant
) -> None:
    story.one(CONTACTS, **PRIVATE)
    again = story.one(CONTACTS, plan=SyncRequest(full=True), **PRIVATE)
    assert (again.rows_unchanged, again.rows_updated) == (1, 0)
    tenant.edit(PATH, 1, nickName="new@example.com")
    assert story.one(CONTACTS, **PRIVATE).rows_updated == 1
    assert story.table(CONTACTS)[1]["nick_name"] not in (HASHED, "new@example.com")


def test_what_was_stored_before_it_was_private_is_hidden_at_the_next_start(
    story: Story, tenant: Tenant
) -> None:
    put(tenant, 3, firstName={"not": "text"})
    story.one(CONTACTS)
    assert SECRET in everything(story)
    with story.engine(entities=CONTACTS, **PRIVATE):
        stored = everything(story)
    assert SECRET not in stored
    assert story.table(CONTACTS)[1]["nick_name"] == HASHED
    report = story.one(CONTACTS, plan=SyncRequest(full=True), **PRIVATE)
    assert report.rows_read == 2
    assert story.table(CONTACTS)[1]["nick_name"] == HASHED


def test_reports_of_a_past_moment_that_cannot_be_made_anew_are_named(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    story.one(CONTACTS)
    with psycopg.connect(story.dsn) as connection:
        connection.execute("create schema reporting_asof")
        connection.execute(
            "create table reporting_asof.as_of as select now() as as_of, now() as made_at"
        )
    story.one(CONTACTS)
    assert "reporting_asof" not in caplog.text
    story.one(CONTACTS, **PRIVATE)
    assert "reporting_asof may show values that are private since it was filled" in caplog.text


def test_columns_say_that_they_are_private_as_long_as_they_are(story: Story) -> None:
    comments = (
        "select attname, col_description(attrelid, attnum) as said from pg_attribute"
        " where attrelid = 'connectwise.company_contacts'::regclass"
        " and attname in ('last_name', 'nick_name') order by attname"
    )
    story.one(CONTACTS, **PRIVATE)
    assert [row["said"] for row in story.rows(comments)] == [
        "Never stored: CW_DROP_COLUMNS",
        "Hashed (HMAC-SHA256) before it is stored",
    ]
    told = MaskingRules.of(PRIVATE["hash_columns"], PRIVATE["drop_columns"], KEY)
    assert told is not None
    assert told.columns(CATALOG[CONTACTS])["company_contacts", "nick_name"] == "hashed"
    story.one(CONTACTS, plan=SyncRequest(full=True))
    assert [row["said"] for row in story.rows(comments)] == [None, None]
    assert story.table(CONTACTS)[1]["last_name"] == SECRET


@pytest.mark.parametrize(
    ("hashed", "dropped", "key", "why"),
    [
        ("company_contacts.email", None, None, "needs CW_HASH_KEY"),
        ("company_contact.email", None, "k", "CW_HASH_COLUMNS: 'company_contact.email' names no"),
        (None, "email", None, "CW_DROP_COLUMNS: 'email' names no table and column"),
        ("company_contacts.inactive_flag", None, "k", "is boolean, which holds no hash"),
    ],
)
def test_a_setting_that_cannot_be_obeyed_is_refused_by_name(
    hashed: str | None, dropped: str | None, key: str | None, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        _ = (made := MaskingRules.of(hashed, dropped, key)) and made.columns(CATALOG[CONTACTS])


def test_ids_and_change_stamps_are_never_private() -> None:
    everything_dropped = MaskingRules.of(None, "company_contacts.*", None)
    assert everything_dropped is not None
    veil = everything_dropped.mask_of(CATALOG[CONTACTS])
    assert veil is not None
    record = {"id": 1, "firstName": "x", "_info": {"lastUpdated": "2026-01-01T00:00:00Z"}}
    assert veil.record(record) == {"id": 1, "_info": {"lastUpdated": "2026-01-01T00:00:00Z"}}
