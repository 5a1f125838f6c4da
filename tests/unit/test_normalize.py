"""Every record of a page becomes a row or a reject, and which way it was read never shows."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceBroken
from cw_pipeline.transform import PageReader, decode_ids
from tests.unit.mangled import reading_by
from tests.unit.sent import BIG, ENTITIES, Number, decimals, outside, page_of, pages, records
from tests.unit.unpacked import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.model import Batch

JUNK = "not a record of anything"


@pytest.fixture(params=["cc", ""], ids=["compiled", "python"], scope="module", autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every promise holds with a C compiler and without one."""
    with reading_by(request.param):
        yield


def batch_of(entity: str, *records: Any, normalizer: PageReader | None = None) -> Batch:
    entity_ = CATALOG[entity]
    return (normalizer or PageReader(entity_)).read_page(page_of(*records), **outside(entity))


def row_of(entity: str, record: Any, normalizer: PageReader | None = None) -> dict[str, Any]:
    batch = batch_of(entity, record, normalizer=normalizer)
    assert batch.rejects == ()
    (row,) = rows(batch, CATALOG[entity].row_columns, 0)
    return row


def elements_of(entity: str, batch: Batch, field: str) -> list[dict[str, Any]]:
    """The rows of an array of the batch's first record."""
    arrays = CATALOG[entity].arrays
    (at,) = [at for at, array in enumerate(arrays) if array.field == field]
    return rows(batch, arrays[at].row_columns, 0, at + 1)


def extra_of(entity: str, record: Any) -> Any:
    extra = row_of(entity, record)["_extra"]
    return None if extra is None else json.loads(extra, parse_float=Decimal)


def outcome(batch: Batch, at: int) -> tuple[Any, ...]:
    packed = [table.rows_of([*range(len(batch.ids))][at : at + 1]) for table in batch.tables]
    return batch.ids[at], batch.last_updated[at], batch.hashes[at], packed


def one_by_one(entity: str, some: list[Any], normalizer: PageReader) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for record in some:
        batch = batch_of(entity, record, normalizer=normalizer)
        rejected = [(reject.reason, reject.detail, reject.record) for reject in batch.rejects]
        found.append(outcome(batch, 0) if batch.ids else tuple(rejected))
    return found


@settings(max_examples=60, deadline=None)
@given(pages(odds=False))
def test_the_fast_and_the_exact_way_make_the_same_row_of_a_good_record(
    page: tuple[str, list[dict[str, Any]]],
) -> None:
    entity, some = page
    fast = batch_of(entity, *some)
    assert not fast.rejects
    exact = batch_of(entity, *some, JUNK)  # one record out of line sends the page the exact way
    assert len(exact.rejects) == 1
    lenient = batch_of(entity, *some, {"id": 0, "summary": "\ud800"})
    for at in range(len(some)):
        assert outcome(fast, at) == outcome(exact, at) == outcome(lenient, at)


FORECAST = {"id": None, "productRevenue": {"revenue": "0.0000"}, "futureField": ""}


@settings(max_examples=60, deadline=None)
@example(("sales/opportunities/forecast", [FORECAST]))
@given(pages(odds=True))
def test_a_records_row_does_not_depend_on_the_page_it_came_in(
    page: tuple[str, list[dict[str, Any]]],
) -> None:
    entity, some = page
    together = batch_of(entity, *some)
    assert together.read == len(some) == len(together.ids) + len(together.rejects)
    shared, again = PageReader(CATALOG[entity]), PageReader(CATALOG[entity])
    alone = one_by_one(entity, some, shared)
    assert alone == one_by_one(entity, some, shared)  # by now every field is learned
    assert alone == list(reversed(one_by_one(entity, some[::-1], again)))
    made = [outcome(together, at) for at in range(len(together.ids))]
    assert made == [each for each in alone if len(each) == 4]


@settings(max_examples=30, deadline=None)
@given(pages(odds=False), st.sampled_from(ENTITIES).flatmap(lambda e: records(e, odds=True)))
def test_what_was_learned_never_changes_the_hash_of_a_record_without_it(
    page: tuple[str, list[dict[str, Any]]], odd_one: dict[str, Any]
) -> None:
    entity, some = page
    normalizer = PageReader(CATALOG[entity])
    before = batch_of(entity, *some, normalizer=normalizer)
    batch_of(entity, odd_one, normalizer=normalizer)
    after = batch_of(entity, *some, normalizer=normalizer)
    assert list(before.hashes) == list(after.hashes)
    assert before.tables == after.tables


@settings(max_examples=30, deadline=None)
@given(decimals)
@example(Number("10.50"))
@example(Number("1234567890123456.78"))
@example(Number("0.00"))
def test_a_number_keeps_every_digit(digits: Number) -> None:
    row = row_of("time/entries", {"id": 1, "actualHours": digits})
    assert str(row["actual_hours"]) == str(Decimal(digits))


def test_a_record_without_an_id_is_the_same_wherever_in_its_list_it_stands() -> None:
    """Or a list that ignores paging would be read for ever: its pages would never look the same."""
    placed = [entity for entity in CATALOG.values() if not entity.has_id and not entity.parent]
    assert placed
    for entity in placed:
        arrays = {array.field: [{"id": 1}, {"id": 2}] for array in entity.arrays}
        body = page_of({"name": "a", **arrays}, {"name": "b", **arrays})
        here, there = (PageReader(entity).read_page(body, start=start) for start in (0, 2))
        assert list(here.hashes) == list(there.hashes)
        assert list(here.ids) == [0, 1]
        assert list(there.ids) == [2, 3]


@pytest.mark.parametrize("own", [1, 2**53 + 1, BIG])
def test_ids_are_exact_up_to_64_bits(own: int) -> None:
    assert row_of("service/tickets", {"id": own})["id"] == own


@pytest.mark.parametrize("own", [2**63, -(2**63) - 1, 10**30])
def test_an_id_beyond_64_bits_is_a_reject_that_the_warehouse_can_store(own: int) -> None:
    batch = batch_of("service/tickets", {"id": own}, {"id": 5})
    assert [reject.record_id for reject in batch.rejects] == [None]
    assert batch.cursor == 5
    assert str(own) in (batch.rejects[0].record or "")


@pytest.mark.parametrize("own", [None, "5", True, 1.5, {}, []])
def test_a_record_without_a_usable_id_is_kept_whole_as_a_reject(own: Any) -> None:
    batch = batch_of("service/tickets", {"id": own, "summary": "still here"})
    assert not batch.ids
    assert "still here" in (batch.rejects[0].record or "")
    assert batch.cursor is None


@pytest.mark.parametrize("spelling", ["2025-03-01", "2025-03-01T00:00:00Z"])
def test_a_business_date_stays_that_day(spelling: str) -> None:
    row = row_of("finance/agreements", {"id": 1, "startDate": spelling})
    assert row["start_date"] == date(2025, 3, 1)
    assert row["_extra"] is None


def test_a_time_of_day_on_a_business_date_is_kept_beside_the_day() -> None:
    record = {"id": 1, "startDate": "2025-03-01T04:00:00Z"}
    assert row_of("finance/agreements", record)["start_date"] == date(2025, 3, 1)
    assert extra_of("finance/agreements", record) == {"startDate": "2025-03-01T04:00:00Z"}


def test_a_date_with_an_offset_is_not_moved_to_another_day() -> None:
    row = row_of("finance/agreements", {"id": 1, "startDate": "2025-03-01T00:00:00+10:00"})
    assert row["start_date"] == date(2025, 3, 1)


def test_a_time_of_day_inside_an_array_does_not_break_the_load() -> None:
    item = {"id": 5, "recurringDateStart": "2025-03-01T04:00:00Z"}
    batch = batch_of("sales/opportunities/forecast", {"id": 1, "forecastItems": [item]})
    (row,) = elements_of("sales/opportunities/forecast", batch, "forecastItems")
    assert row["recurring_date_start"] == date(2025, 3, 1)


@pytest.mark.parametrize("sent", ["1e200000", "1e-200000", '"NaN"', '"Infinity"'])
def test_a_number_that_postgres_does_not_hold_rejects_its_record_and_no_other(sent: str) -> None:
    body = f'[{{"id": 1, "actualHours": {sent}}}, {{"id": 2, "actualHours": 1.50}}]'
    batch = PageReader(CATALOG["service/tickets"]).read_page(body.encode())
    assert (list(batch.ids), [reject.record_id for reject in batch.rejects]) == ([2], [1])


def test_an_instant_without_a_zone_is_read_as_utc() -> None:
    row = row_of("service/tickets", {"id": 1, "_info": {"lastUpdated": "2025-03-01T10:00:00"}})
    assert row["last_updated"] == datetime(2025, 3, 1, 10, tzinfo=UTC)


def test_an_explicit_null_is_the_same_as_an_absent_field() -> None:
    bare = {"id": 1, "summary": "a"}
    nulls = {**bare, "board": None, "futureField": None, "customFields": None, "_info": None}
    nulls["company"] = {"id": None, "name": None, "newKey": None}
    nulls["requiredDate"] = None
    first, second = batch_of("service/tickets", bare), batch_of("service/tickets", nulls)
    assert outcome(first, 0) == outcome(second, 0)


def test_an_empty_reference_is_one_whose_fields_are_null() -> None:
    row = row_of("service/tickets", {"id": 1, "board": {}, "company": {}})
    assert row["board_id"] is None
    assert row["company_name"] is None
    assert row["_extra"] is None


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        ({"futureField": Number("1.50")}, {"futureField": Decimal("1.50")}),
        ({"logoHref": "https://a/b.png"}, {"logoHref": "https://a/b.png"}),
        ({"status": {"id": 1, "Colour": "red"}}, {"status": {"Colour": "red"}}),
        ({"status": {"id": 1, "iconHref": "/i"}}, {"status": {"iconHref": "/i"}}),
        ({"_info": {"origin": "portal"}}, {"_info": {"origin": "portal"}}),
        ({"futureObject": {"a": [{"b": 1}]}}, {"futureObject": {"a": [{"b": 1}]}}),
        ({"futureArray": [1, None]}, {"futureArray": [1, None]}),
    ],
)
def test_a_field_that_the_catalog_does_not_know_is_in_extra(
    record: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert extra_of("service/tickets", {"id": 1, **record}) == kept


def test_an_unknown_field_inside_an_array_is_in_the_extra_of_its_row() -> None:
    field = {"id": 1, "caption": "a", "futureKey": {"deep": True}, "iconHref": "/i"}
    batch = batch_of("service/tickets", {"id": 1, "customFields": [field]})
    (row,) = elements_of("service/tickets", batch, "customFields")
    assert json.loads(row["_extra"]) == {"futureKey": {"deep": True}, "iconHref": "/i"}


def test_links_of_info_are_no_data_and_no_change() -> None:
    def linked(host: str) -> dict[str, Any]:
        board = {"id": 1, "_info": {"board_href": f"https://{host}/boards/1"}}
        info = {"notes_href": f"https://{host}/notes", "image_href": f"https://{host}/i?lm=1"}
        return {"id": 1, "board": board, "_info": info}

    old, new = linked("a/v2025_1"), linked("b/v2025_2")
    normalizer = PageReader(CATALOG["service/tickets"])
    first = batch_of("service/tickets", old, normalizer=normalizer)
    second = batch_of("service/tickets", new, normalizer=normalizer)
    assert outcome(first, 0) == outcome(second, 0)
    assert row_of("service/tickets", old)["_extra"] is None


def test_nuls_and_half_surrogates_are_taken_out_and_noted() -> None:
    record = {"id": 1, "summary": "a\x00b", "fut\x00ure": "c\x00", "contactName": "d\ud800"}
    batch = batch_of("service/tickets", record)
    row = row_of("service/tickets", record)
    assert row["summary"] == "ab"
    assert row["contact_name"].startswith("d")
    assert json.loads(row["_extra"]) == {"future": "c"}
    assert "summary" in {drift.column for drift in batch.drift if "stripped" in drift.change}
    assert not any("\x00" in f"{drift}" for drift in batch.drift)


def test_backslash_u0000_written_out_is_text_and_stays() -> None:
    assert row_of("service/tickets", {"id": 1, "summary": r"\u0000"})["summary"] == r"\u0000"


def test_fields_without_end_do_not_fill_the_memory_and_are_not_lost() -> None:
    normalizer = PageReader(CATALOG["service/tickets"])
    for at in range(400):
        batch_of("service/tickets", {"id": 1, f"field{at}": at}, normalizer=normalizer)
    wide = {f"field{at}": at for at in range(400)}
    row = row_of("service/tickets", {"id": 1, **wide}, normalizer)
    assert json.loads(row["_extra"]) == wide
    assert len(normalizer._record_shape.learned) <= 200


def test_drift_is_told_once_for_each_new_field_of_a_page() -> None:
    some = [{"id": own, "futureField": own} for own in range(1, 50)]
    batch = batch_of("service/tickets", *some)
    assert [(d.column, d.change) for d in batch.drift] == [("futureField", "unknown field")]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'[{"id": 1}', b"<html>", b"null", b'[{"id": 1}] x', b"\xff\xfe"]
)
def test_a_body_that_is_no_list_is_broken_and_never_empty(body: bytes) -> None:
    with pytest.raises(SourceBroken):
        PageReader(CATALOG["service/tickets"]).read_page(body)
    with pytest.raises((SourceBroken, ValueError)):
        decode_ids(body)


def test_bytes_that_are_no_utf8_make_the_page_broken() -> None:
    with pytest.raises(SourceBroken):
        PageReader(CATALOG["service/tickets"]).read_page(b'[{"id": 1, "summary": "\xff"}]')


def test_ids_that_are_asked_for_are_all_there_or_the_answer_is_broken() -> None:
    assert decode_ids(b'[{"id": 2}, {"id": 1, "_info": {}}]') == [2, 1]
    for body in (b'{"message": "busy"}', b'[{"name": "a"}]', b'[{"id": null}]', b"[5]"):
        with pytest.raises(SourceBroken):
            decode_ids(body)


def test_one_bad_value_costs_its_record_only_and_names_the_field() -> None:
    good = {"id": 1, "summary": "a"}
    bad = {"id": 2, "board": {"id": "seven"}, "summary": ["x"]}
    batch = batch_of("service/tickets", good, bad)
    assert list(batch.ids) == [1]
    (reject,) = batch.rejects
    assert reject.record_id == 2
    assert "board.id" in reject.detail
    assert "summary" in reject.detail
    assert json.loads(reject.record or "") == bad
    assert batch.cursor == 2


def test_an_absurd_exponent_is_refused_at_once() -> None:
    batch = batch_of("service/tickets", {"id": 1, "board": {"id": Number("1e999999999")}})
    assert len(batch.rejects) == 1
