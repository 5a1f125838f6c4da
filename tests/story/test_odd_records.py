"""A record that Postgres or Python refuses costs itself alone, and says which field it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from msgspec import Raw

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import TooManyRejects
from cw_pipeline.sync.reconcile import reconcile_all
from cw_pipeline.sync.replay import replay
from tests.unit.mangled import reading_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS = "service/tickets"
PATH = "/service/tickets"
GOOD = range(1000, 1010)
HUGE = b"1e200000"
UNHELD = "a number of at most 4,000 digits"
BEYOND = "a number that Postgres holds"


def custom(value: bytes) -> dict[str, Any]:
    return {"customFields": [{"id": 7, "caption": "x", "type": "Text", "value": Raw(value)}]}


def nested(levels: int) -> Raw:
    return Raw(b"[" * levels + b"]" * levels)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a custom field's number beyond numeric": (custom(HUGE), f"customFields.value: {UNHELD}"),
    "an unknown field's": ({"future": {"deep": [Raw(HUGE)]}}, f"future.deep: {UNHELD}"),
    "a fraction of too many digits": ({"future": Raw(b"0." + b"1" * 20_000)}, f"future: {UNHELD}"),
    "a number that no Decimal holds": ({"future": Raw(b"1e" + b"9" * 30)}, f"future: {UNHELD}"),
    "not a number": ({"future": Raw(b"NaN")}, f"future: {UNHELD}"),
    "infinite": (custom(b"-Infinity"), f"customFields.value: {UNHELD}"),
    "a column's fraction of too many digits": (
        {"budgetHours": Raw(b"0." + b"1" * 20_000)},
        f"budgetHours: {BEYOND}",
    ),
    "a column's number as text": ({"budgetHours": "1" * 140_000}, f"budgetHours: {BEYOND}"),
    "an integer of 5,000 digits": ({"future": Raw(b"9" * 5000)}, f"future: {UNHELD}"),
    "an instant before the year 1": (
        {"_info": {"dateEntered": "0001-01-01T00:00:00+14:00"}},
        "_info.dateEntered: years 1 to 9999 in UTC",
    ),
    "an instant of the year 10,000": (
        {"_info": {"dateEntered": "9999-12-31T23:59:59-14:00"}},
        "_info.dateEntered: years 1 to 9999 in UTC",
    ),
    "nested 900 levels": ({"future": nested(900)}, "future: nested deeper"),
    "nested 500 levels in a custom field": (
        custom(b"[" * 500 + b"]" * 500),
        "customFields: nested",
    ),
    "nested 20,000 levels": ({"board": {"x": nested(20_000)}}, "board: nested deeper"),
    "a key of objects": (
        {"future": Raw(b'{"a":' * 5000 + b"1" + b"}" * 5000)},
        "future: nested deeper",
    ),
}
TAKEN: dict[str, dict[str, Any]] = {
    "an integer of 4,000 digits": {"future": Raw(b"9" * 4000)},
    "100,000 keys": {"future": {f"key {at}": at for at in range(100_000)}},
    "2,000 unknown fields": {f"future{at}": at for at in range(2000)},
    "an unknown field of a long name": {"a long name " * 1000: 1},
    "half a surrogate": {"summary": Raw(b'"cut \\ud83d"')},
    "half a surrogate in a custom field": custom(b'"cut \\ude00"'),
    "a text of a megabyte": {"summary": "x" * 1_000_000},
    "the first moment of the calendar": {"_info": {"dateEntered": "0001-01-01T00:00:00Z"}},
    "the last one": {"_info": {"dateEntered": "9999-12-31T23:59:59.999999Z"}},
    "exponents": custom(b"1.5e300"),
}


@pytest.fixture(params=["cc", ""], ids=["compiled", "python"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    with reading_by(request.param):
        yield


def put_good(tenant: Tenant) -> None:
    for own in GOOD:
        tenant.put(PATH, {"id": own, "summary": f"good {own}"})


def letters(story: Story) -> dict[int, dict[str, Any]]:
    return {row["record_id"]: row for row in story.rows("select * from cw_sync.dead_letter")}


@pytest.mark.usefixtures("way")
def test_every_odd_record_is_a_row_or_a_dead_letter_that_names_its_field(
    story: Story, tenant: Tenant
) -> None:
    put_good(tenant)
    for own, (fields, _) in enumerate(REFUSED.values(), 1):
        tenant.put(PATH, {"id": own, "summary": "refused", **fields})
    for own, fields in enumerate(TAKEN.values(), 2000):
        tenant.put(PATH, {"id": own, **fields})
    report = story.one(TICKETS)
    found = letters(story)
    assert [*found] == [*range(1, len(REFUSED) + 1)]
    for own, (name, (_, expected)) in enumerate(REFUSED.items(), 1):
        field, _, why = expected.partition(": ")
        assert field in found[own]["detail"], name
        assert why in found[own]["detail"], name
        assert found[own]["payload"]["summary"] == "refused", name
    rows = story.table(TICKETS)
    assert set(rows) == {*GOOD, *range(2000, 2000 + len(TAKEN))}
    assert (report.dead_letters, report.rows_inserted) == (len(REFUSED), len(rows))
    assert story.checkpoint(TICKETS)["watermark"] is not None
    cut = rows[2000 + [*TAKEN].index("half a surrogate")]
    assert cut["summary"] == "cut \ufffd"
    drift = {(d["column"], d["change"]) for d in story.rows("select * from cw_sync.column_drift")}
    assert ("summary", "half surrogate replaced") in drift
    assert "nul stripped" not in {change for _, change in drift}
    assert len(drift) < 250  # keys that are data are no columns
    assert story.one(TICKETS).rows_updated == 0


@pytest.mark.usefixtures("way")
def test_a_record_that_is_no_json_costs_itself_alone_though_its_text_holds_nuls(
    story: Story, tenant: Tenant
) -> None:
    put_good(tenant)
    tenant.put(PATH, {"id": 1, "summary": Raw(b'"a\x00b"')})
    report = story.one(TICKETS, page_size=4)
    assert (set(story.table(TICKETS)), report.dead_letters) == ({*GOOD}, 1)
    assert "a\ufffdb" in letters(story)[1]["detail"]


@pytest.mark.usefixtures("way")
def test_fields_whose_names_differ_in_nuls_alone_are_kept_apart(
    story: Story, tenant: Tenant
) -> None:
    for own, names in enumerate((("summary", "summary\0"), ("summary\0", "summary")), 1):
        tenant.put(PATH, {"id": own, **{name: name for name in names}})
    tenant.put(PATH, {"id": 3, "future": Raw(b'{"\\ud83d": 1, "\\ud83e": 2}')})
    tenant.put(PATH, {"id": 4, "id\0": 77})
    story.one(TICKETS)
    rows = story.table(TICKETS)
    assert {own: (row["summary"], row["_extra"]) for own, row in rows.items()} == {
        1: ("summary", {"summary\ufffd": "summary"}),
        2: ("summary", {"summary\ufffd": "summary"}),
        3: (None, {"future": {"\ufffd": 1, "\ufffd\ufffd": 2}}),
        4: (None, {"id\ufffd": 77}),
    }


HUGE_TEXT = "".join(chr(0x4E00 + at * 7919 % 20_000) for at in range(20_000))
"""Of so many different letters that compression does not make it fit onto a page of an index."""


def refusing(story: Story, *statements: str) -> None:
    """The warehouse as its owner has changed it, after a sync has made the tables."""
    story.one(TICKETS)
    with psycopg.connect(story.dsn) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_what_the_database_refuses_narrows_down_to_the_record(story: Story, tenant: Tenant) -> None:
    refusing(
        story,
        "create index mine on connectwise.service_tickets (summary)",
        "alter table connectwise.service_tickets add check (budget_hours < 1000)",
        "create function public.no() returns trigger language plpgsql as"
        " $$begin if new.id = 3 then raise 'not three'; end if; return new; end$$",
        "create trigger no before insert on connectwise.service_tickets"
        " for each row execute function public.no()",
    )
    put_good(tenant)
    tenant.put(PATH, {"id": 1, "summary": HUGE_TEXT})
    tenant.put(PATH, {"id": 2, "summary": "x", "budgetHours": 1000})
    tenant.put(PATH, {"id": 3, "summary": "x"})
    tenant.put(PATH, {"id": 4, "budgetHours": "many"})
    report = story.one(TICKETS)
    assert set(story.table(TICKETS)) == {*GOOD}
    found = letters(story)
    assert {own: letter["reason"] for own, letter in found.items()} == {
        **dict.fromkeys((1, 2, 3), "refused by the warehouse"),
        4: "does not convert",
    }
    assert "index row" in found[1]["detail"]
    assert "service_tickets_budget_hours_check" in found[2]["detail"]
    assert "not three" in found[3]["detail"]
    assert found[1]["payload"]["summary"] == HUGE_TEXT
    assert found[2]["request"].startswith("GET /service/tickets?")
    assert (report.rows_read, report.rows_inserted, report.dead_letters) == (14, 10, 4)
    with story.engine() as engine:
        outcomes = dict(replay(engine, None))
        assert {outcomes[letter["id"]] for letter in found.values()} == {"rejected again"}
        (audit,) = reconcile_all([CATALOG[TICKETS]], engine)
    assert not audit.proven
    assert "kept as dead letters" in audit.detail


def test_a_good_row_of_before_stays_when_its_new_values_are_refused(
    story: Story, tenant: Tenant
) -> None:
    put_good(tenant)
    refusing(story, "alter table connectwise.service_tickets add check (summary <> 'bad')")
    tenant.edit(PATH, 1000, summary="bad")
    tenant.edit(PATH, 1001, summary="better")
    report = story.one(TICKETS)
    rows = story.table(TICKETS)
    assert (rows[1000]["summary"], rows[1001]["summary"]) == ("good 1000", "better")
    assert (report.rows_updated, report.dead_letters) == (1, 1)
    tenant.edit(PATH, 1000, summary="mended")
    story.one(TICKETS)
    assert story.table(TICKETS)[1000]["summary"] == "mended"
    assert letters(story)[1000]["resolution"] == "a good copy was loaded"


def test_a_warehouse_that_refuses_everything_stops_the_pass_early(
    story: Story, tenant: Tenant
) -> None:
    refusing(story, "alter table connectwise.service_tickets add check (id < 0)")
    for own in range(1, 201):
        tenant.put(PATH, {"id": own})
    before = story.checkpoint(TICKETS)["watermark"]
    report = story.sync(TICKETS, min_rejects=5)[TICKETS]
    assert isinstance(report.failure, TooManyRejects)
    assert len(letters(story)) < 10
    assert story.checkpoint(TICKETS)["watermark"] == before


def test_odd_records_of_an_entity_with_private_columns_say_nothing_private(
    story: Story, tenant: Tenant
) -> None:
    put_good(tenant)
    secret = b'"secret"'
    tenant.put(PATH, {"id": 1, "summary": "x", "future": Raw(b"[" * 900 + secret + b"]" * 900)})
    tenant.put(PATH, {"id": 2, "summary": "secret", **custom(HUGE)})
    tenant.put(PATH, {"id": 3, "summary": Raw(b'"secret \\ud83d"'), "contactName": "secret"})
    story.one(TICKETS, drop_columns="service_tickets.summary,service_tickets.contact_name")
    assert set(story.table(TICKETS)) == {3, *GOOD}
    found = letters(story)
    assert set(found) == {1, 2}
    assert "future: nested deeper" in found[1]["detail"]
    assert UNHELD in found[2]["detail"]
    assert "secret" not in str(story.rows("select * from cw_sync.dead_letter"))
    assert "secret" not in str(story.table(TICKETS))
