"""What is asked: the promises behind "nothing is skipped" that a URL can break."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from cw_pipeline.connectwise import Paging, Query, format_timestamp
from cw_pipeline.model import Window

SINCE = datetime(2025, 3, 1, 12, 30, 15, 999999, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=1)


def asked(query: Query) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(query.url()).query).items()}


def test_a_live_pass_asks_from_the_second_on_and_has_no_upper_bound() -> None:
    conditions = asked(Query("/x").changed_in(Window(SINCE, UNTIL)))["conditions"]
    assert conditions == "lastUpdated >= [2025-03-01T12:30:15Z]"


def test_a_backfill_is_closed_above() -> None:
    conditions = asked(Query("/x").changed_in(Window(SINCE, UNTIL), closed=True))["conditions"]
    assert conditions.endswith("lastUpdated < [2025-03-02T12:30:15Z]")


def test_a_first_load_has_no_condition() -> None:
    assert "conditions" not in asked(Query("/x").changed_in(Window(None, UNTIL)))


def test_forward_only_never_sends_a_page_number_or_an_order() -> None:
    query = Query("/x", cursor=5)
    assert query.request().headers == {"pagination-type": "forward-only"}
    assert asked(query) == {"pageSize": "1000", "pageId": "5"}
    assert asked(query.next_page(9))["pageId"] == "9"


def test_ids_of_zero_and_below_are_behind_no_cursor_but_their_own() -> None:
    assert "pageId" not in asked(Query("/x"))
    assert asked(Query("/x", paging=Paging.KEYSET))["conditions"] == "id > -2147483648"
    assert asked(Query("/x").next_page(-5).next_page(0))["pageId"] == "0"
    keyset = Query("/x", paging=Paging.KEYSET).next_page(-5).next_page(0)
    assert asked(keyset)["conditions"] == "id > 0"


def test_keyset_asks_behind_the_cursor_in_id_order() -> None:
    query = Query("/x", paging=Paging.KEYSET, cursor=20, upto=90)
    assert query.request().headers == {}
    assert asked(query)["orderBy"] == "id asc"
    assert sorted(asked(query)["conditions"].split(" and ")) == ["id <= 90", "id > 20"]


def test_a_space_is_never_a_plus_sign() -> None:
    url = Query("/x").changed_in(Window(SINCE, UNTIL)).url()
    assert "+" not in url
    assert "%20" in url


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=10))])))
def test_an_instant_is_asked_in_utc_and_never_later_than_it_is(moment: datetime) -> None:
    if not 1900 < moment.year < 2900:
        return
    asked_for = datetime.strptime(format_timestamp(moment), "[%Y-%m-%dT%H:%M:%SZ]").replace(
        tzinfo=UTC
    )
    assert timedelta(0) <= moment - asked_for < timedelta(seconds=1)


@given(st.sets(st.integers(1, 2**63 - 1), min_size=1, max_size=400), st.booleans())
def test_questions_about_ids_name_each_once_and_fit_into_a_url(ids: set[int], search: bool) -> None:  # noqa: FBT001
    named: list[int] = []
    for query in Query("/service/tickets", fields="id").for_ids(list(ids), search=search):
        assert len(query.url()) < 1900
        text = (query.request().body or b"").decode() or asked(query)["conditions"]
        named += map(int, text.split("(")[1].split(")")[0].split(","))
    assert named == sorted(ids)


def test_as_text_a_question_is_what_people_read() -> None:
    text = str(Query("/x", conditions=("lastUpdated >= [2025-03-01T12:30:15Z]",), page_size=1))
    assert text == "GET /x?pageSize=1&conditions=lastUpdated >= [2025-03-01T12:30:15Z]"


@given(st.integers(1, 10**9), st.integers(30, 200))
def test_as_text_a_question_about_many_ids_is_short(first: int, many: int) -> None:
    (query, *_) = Query("/x").for_ids(range(first, first + many))
    assert len(str(query)) < 250
    assert "%" not in str(query)
    assert f"id in ({first}," in str(query)
