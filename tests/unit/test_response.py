"""What an answer means: every status and every odd body has one meaning, and none is "empty"."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_pipeline.connectwise.response import (
    body_description,
    decode_small,
    http_date,
    raise_for_status,
    retry_after,
)
from cw_pipeline.errors import (
    SourceBroken,
    SourceBusy,
    SourceDenied,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceRefused,
)

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (429, SourceBusy), (408, SourceBroken), (500, SourceBroken), (502, SourceBroken),
        (503, SourceBroken), (504, SourceBroken), (599, SourceBroken), (401, SourceDenied),
        (403, SourceForbidden), (404, SourceMissing), (400, SourceRefused), (405, SourceRefused),
        (409, SourceRefused), (415, SourceRefused), (301, SourceRefused), (204, SourceRefused),
    ],
)  # fmt: skip
def test_each_status_has_one_meaning(status: int, meaning: type[SourceError]) -> None:
    with pytest.raises(SourceError) as caught:
        raise_for_status(status, JSON, b'{"code": "X", "message": "said so."}', "GET /x")
    assert ".." not in str(caught.value)
    assert type(caught.value) is meaning
    assert caught.value.status == status
    assert "GET /x" in str(caught.value)
    assert "said so" in str(caught.value)


def test_a_good_answer_passes() -> None:
    raise_for_status(200, {"content-type": "application/json; charset=utf-8"}, b"[]", "GET /x")
    raise_for_status(200, {"content-type": "application/vnd.connectwise.com+json"}, b"[]", "GET /x")


def test_html_in_place_of_json_is_broken_whatever_the_status_says() -> None:
    with pytest.raises(SourceBroken):
        raise_for_status(
            200, {"content-type": "text/html"}, b"<html>Please sign in</html>", "GET /x"
        )


@given(
    st.integers(201, 599),
    st.binary(max_size=30)
    | st.sampled_from([b'{"errors": 5}', b'{"errors": [1]}', b'{"message": {}}', b"[]", b"null"]),
    st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text(max_size=30)),
)
def test_no_body_and_no_header_is_so_odd_that_the_meaning_is_lost(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    with pytest.raises(SourceError):
        raise_for_status(status, headers, body, "GET /x")


@pytest.mark.parametrize(("said", "seconds"), [("30", 30.0), ("0", 0.0), ("1.5", 1.5), ("", None)])
def test_retry_after_in_seconds_is_taken_as_said(said: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": said}) == seconds


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ('{"error": "ConnectWiseAPI", "message": "Too many requests. Please try again in 30 s', 30),
        ('{"message": "Too many requests. Please try again in 30 seconds."}', 30),
        ('{"message": "1000 requests per 60 seconds exceeded, retry after 12.5 seconds"}', 12.5),
        ('{"code": "Limit", "message": "Wait 2 minutes"}', 120),
        ('{"message": "retry in 1500 ms"}', 1.5),
        ("<html>Slow down! Try again in 5 seconds</html>", 5),
        ('{"retryAfter": 7}', 7),
        ('{"message": "Try again in 1 hour"}', 3600),
        ('{"message": "Please wait for 20 requests, then retry in 3 s"}', 3),
        ('{"message": "Please wait 5 more seconds"}', 5),
        ('{"message": "Wait: 5 were refused. Try again in 2 mins"}', 120),
        ('{"message": "Retry policy: 5 downloads"}', None),
        ('{"message": "1000 requests per 60 seconds exceeded"}', None),
        ('{"message": "Try again later. Limit: 1000."}', None),
        ('{"message": "Retry later: the limit is 1000 requests per minute"}', None),
        ('{"message": "Try again at 2026-11-28T12:00:00Z"}', None),
        ("", None),
    ],
)
def test_a_wait_that_a_429_names_only_in_its_body_is_taken(
    said: str, seconds: float | None
) -> None:
    with pytest.raises(SourceBusy) as raised:
        raise_for_status(429, {}, said.encode(), "GET /x")
    assert raised.value.retry_after == seconds
    with pytest.raises(SourceBusy) as raised:
        raise_for_status(429, {"retry-after": "3"}, said.encode(), "GET /x")
    assert raised.value.retry_after == 3, "the header counts more"


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (
            302,
            {"location": "https://me:secret@login.example.com/x?secret"},
            "login.example.com. It",
        ),
        (301, {"location": "/login?secret"}, "a redirect. It is not followed"),
        (301, {"location": "https://[secret"}, "a redirect. It is not followed"),
        (308, {}, "CW_SITE has to name the host that answers itself"),
        (204, {}, "where 200 is due"),
    ],
)
def test_an_answer_that_is_not_the_one_due_says_what_to_look_at(
    status: int, headers: dict[str, str], said: str
) -> None:
    with pytest.raises(SourceRefused) as raised:
        raise_for_status(status, headers, b"", "GET /x")
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", " but a page for people, as of a login, a proxy or maintenance"),
        ("[]".encode("utf-16"), " in UTF-8 but, it seems, in UTF-16"),
        (b'{"message": "Try later"}', ". It says: Try later"),
        (b'{"data": [{"name": "private"}]}', ""),
        (b"", ": it is empty"),
    ],
)
def test_a_body_that_is_no_list_is_described_without_what_a_record_says(
    body: bytes, said: str
) -> None:
    assert body_description(body, body) == said


def test_what_a_server_says_can_be_stored_and_shown_whatever_it_is() -> None:
    said = b'{"message": "a\\u0000b \\u001b]0;title\\u0007 \\u009b2J caf\xc3\xa9"}'
    with pytest.raises(SourceError) as raised:
        raise_for_status(400, {}, said, "GET /x")
    assert str(raised.value) == "GET /x: 400 a\ufffdb \ufffd]0;title\ufffd \ufffd2J café"
    broken = SourceBroken("the body is not JSON", 200, "[\x00\ud83d\r\n]")
    assert broken.answer == "[\ufffd\ufffd\n]"


@pytest.mark.parametrize(
    "shown", ["abcdefgh+ijkl", "abcdefgh+ij", r"abcdefgh\u002Bijkl", "abcdefgh&#x2B;ijkl"]
)
def test_a_key_is_left_out_also_where_it_is_cut_or_escaped(shown: str) -> None:
    broken = SourceBroken(f"GET /x: {shown} is refused", 500, f'{{"key": "{shown}"}}')
    broken.leave_out(["abcdefgh+ijkl"])
    assert str(broken) == "GET /x: *** is refused"
    assert broken.answer == '{"key": "***"}'


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[" + b"[]," * 700_000 + b"[]]"])
def test_a_small_answer_that_needs_much_memory_is_refused(body: bytes) -> None:
    with pytest.raises(SourceBroken):
        decode_small(body)
    with pytest.raises(SourceBroken):
        raise_for_status(500, {}, body, "GET /x")


def test_retry_after_as_a_date_counts_by_the_servers_clock() -> None:
    now, until = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 0, 0, 40, tzinfo=UTC)
    headers = {"date": format_datetime(now, usegmt=True)}
    headers["retry-after"] = format_datetime(until, usegmt=True)
    assert retry_after(headers) == 40


@given(st.text(max_size=40))
def test_a_date_that_is_none_is_none(text: str) -> None:
    found = http_date(text)
    assert found is None or found.tzinfo is UTC
