from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_pipeline.simulator import UNSTAMPED, Tenant
from cw_pipeline.simulator.home import OUTDATED, Home, Origin, main
from cw_pipeline.simulator.lists import View, matching, page
from cw_pipeline.simulator.packing import Packer
from cw_pipeline.simulator.query import ListRequest, page_links, prune, question, sorted_ids

if TYPE_CHECKING:
    from pathlib import Path

TICKETS = "/service/tickets"
NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


def test_a_record_is_stamped_with_the_tenants_time() -> None:
    tenant = Tenant(NOON)
    tenant.advance(3600)
    made = tenant.put(TICKETS, {"summary": "new"})
    assert made["id"] == 1
    assert made["_info"]["lastUpdated"] == "2025-06-01T13:00:00Z"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TICKETS, "/project/tickets"),
        (f"{TICKETS}/1/notes", f"{TICKETS}/2/notes"),
        (f"{TICKETS}/1/notes", "/project/tickets/3/notes"),
        ("/system/documents/ticket/1", "/system/documents/company/1"),
        ("/finance/agreements/1/additions", "/finance/agreements/2/additions"),
    ],
)
def test_lists_of_one_table_never_give_the_same_id(one: str, other: str) -> None:
    tenant = Tenant(NOON)
    tenant.put(one, {"id": 7})
    assert tenant.put(other, {"text": "a"})["id"] == 8
    assert tenant.put(one, {"text": "b"}, visible_after=30)["id"] == 9
    assert tenant.put(other, {"text": "c"})["id"] == 10
    tenant.delete(other, 10)
    assert tenant.put(one, {"text": "d"})["id"] == 11
    assert tenant.put("/company/companies", {"name": "e"})["id"] == 1


def test_an_edit_without_touch_leaves_the_stamp() -> None:
    tenant = Tenant(NOON)
    tenant.put(TICKETS, {"id": 4, "summary": "old", "poNumber": "1"})
    tenant.advance(60)
    tenant.edit(TICKETS, 4, summary="new", poNumber=None, touch=False)
    record = tenant.get(TICKETS, 4)
    assert (record["summary"], record["_info"]["lastUpdated"]) == ("new", "2025-06-01T12:00:00Z")
    assert "poNumber" not in record


def test_a_record_can_carry_no_stamp() -> None:
    tenant = Tenant()
    assert "_info" not in tenant.put(TICKETS, {"id": 1}, stamp=UNSTAMPED)


def test_a_late_commit_is_stamped_now_and_seen_later() -> None:
    tenant = Tenant(NOON)
    tenant.put(TICKETS, {"id": 1}, visible_after=30)
    assert tenant.records(TICKETS) == {}
    tenant.advance(31)
    assert tenant.get(TICKETS, 1)["_info"]["lastUpdated"] == "2025-06-01T12:00:00Z"


def test_an_edit_that_is_committed_late_shows_the_old_record_until_then() -> None:
    tenant = Tenant(NOON)
    tenant.put(TICKETS, {"id": 1, "summary": "old"})
    tenant.edit(TICKETS, 1, summary="new", visible_after=30)
    assert tenant.get(TICKETS, 1)["summary"] == "old"
    tenant.advance(31)
    assert tenant.get(TICKETS, 1)["summary"] == "new"


def test_a_hidden_record_comes_back_unchanged() -> None:
    tenant = Tenant(NOON)
    before = tenant.put(TICKETS, {"id": 1, "summary": "x"})
    tenant.hide(TICKETS, 1, until=NOON + timedelta(minutes=5))
    assert tenant.records(TICKETS) == {}
    tenant.advance(301)
    assert tenant.records(TICKETS) == {1: before}


def test_a_deleted_record_is_gone() -> None:
    tenant = Tenant()
    tenant.put(TICKETS, {"id": 1})
    tenant.delete(TICKETS, 1)
    with pytest.raises(KeyError):
        tenant.get(TICKETS, 1)


def test_paths_are_the_same_whatever_their_case_and_trailing_slash() -> None:
    tenant = Tenant()
    tenant.put("/procurement/subCategories/", {"id": 1})
    assert tenant.records("/procurement/subcategories").keys() == {1}


def _tenant(stamps: list[int | None]) -> Tenant:
    tenant = Tenant(NOON)
    for at, stamp in enumerate(stamps, start=1):
        when = UNSTAMPED if stamp is None else NOON + timedelta(seconds=stamp)
        tenant.put(TICKETS, {"id": at * 2, "board": {"id": at % 3}}, stamp=when)
    return tenant


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=30),
    st.integers(0, 20),
    st.integers(0, 60),
)
def test_a_filter_finds_exactly_what_a_look_at_every_record_finds(
    stamps: list[int | None], since: int, after: int
) -> None:
    tenant = _tenant(stamps)
    when = (NOON + timedelta(seconds=since)).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"lastUpdated >= [{when}] and id > {after} and board/id != 1"
    found = matching(View(tenant.collection(TICKETS)), ListRequest(conditions=text))
    assert list(found) == [
        at * 2
        for at, stamp in enumerate(stamps, start=1)
        if stamp is not None and stamp >= since and at * 2 > after and at % 3 != 1
    ]


@given(st.sets(st.integers(1, 300), max_size=60), st.integers(1, 9))
def test_a_forward_only_walk_meets_every_record_once(ids: set[int], size: int) -> None:
    tenant = Tenant(NOON)
    for each in ids:
        tenant.put(TICKETS, {"id": each})
    view, met, cursor = View(tenant.collection(TICKETS)), [], 0
    for _ in range(len(ids) + 1):
        got = page(view, ListRequest(page_size=size, page_id=cursor, forward_only=True)).ids
        met += got
        cursor = got[-1] if got else cursor
    assert met == sorted(ids)


def test_several_sort_keys_apply_in_order_and_missing_values_come_first() -> None:
    records = [
        (1, {"name": "b", "board": {"name": "X"}}),
        (2, {"name": "a", "board": {"name": "Y"}}),
        (3, {"name": "A", "board": {"name": "X"}}),
        (4, {"board": {"name": "x"}}),
    ]
    assert sorted_ids(records, "board/name, name desc") == [1, 3, 4, 2]


def test_fields_keep_nested_paths_and_every_element_of_an_array() -> None:
    record = {
        "id": 1,
        "name": "n",
        "status": {"id": 2, "name": "s"},
        "items": [{"id": 5, "value": "x"}, {"id": 6}],
    }
    fields = question({"fields": "ID,Status/Id,items/value,nothing"}).fields
    assert prune(record, fields) == {"id": 1, "status": {"id": 2}, "items": [{"value": "x"}, {}]}


@pytest.mark.parametrize(
    ("at", "rels"),
    [
        (1, ["next", "last"]),
        (2, ["next", "last", "first", "prev"]),
        (3, ["last", "first", "prev"]),
    ],
)
def test_a_page_links_to_its_neighbours_only(at: int, rels: list[str]) -> None:
    link = page_links("http://x/list", {"pageSize": "5", "page": str(at)}, at, 3)
    assert [part.split('rel="')[1].rstrip('"') for part in link.split(", ")] == rels


def test_a_single_page_has_no_links() -> None:
    assert page_links("http://x/list", {}, 1, 1) == ""


def test_packing_makes_records_that_are_alike_small() -> None:
    records = [f'{{"id":{at},"summary":"A ticket like any other, only later"}}' for at in range(9)]
    packer = Packer(each.encode() for each in records[:3])
    small = packer.pack(records[8].encode())
    assert len(small) < len(records[8]) / 2
    assert packer.unpack(small).decode() == records[8]


def test_a_big_list_is_packed_and_nobody_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cw_pipeline.simulator.collection._PACKED_FROM", 20)
    tenant = Tenant(NOON)
    put = {at: tenant.put(TICKETS, {"id": at, "summary": f"Ticket {at} ü"}) for at in range(1, 41)}
    assert tenant.records(TICKETS) == put
    tenant.edit(TICKETS, 3, summary="edited")
    assert tenant.get(TICKETS, 3)["summary"] == "edited"
    assert tenant.delete(TICKETS, 40) == put[40]
    assert tenant.collection(TICKETS).join([1, 2]).startswith(b'[{"id":1,')


def test_a_tenant_of_another_version_is_not_taken_for_one_of_this(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Other records under the same ids would look like a tenant that was edited by nobody."""
    home = Home(tmp_path)
    home.keep(Origin(tickets=20, seed=7, born=NOON))
    assert main(str(tmp_path), "20", "7") == OUTDATED
    assert "cw-pipeline down --delete" in capfd.readouterr().err
