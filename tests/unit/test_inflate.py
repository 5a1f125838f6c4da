"""A deflated body opens as what the server meant, or not at all."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_pipeline.connectwise.response import BodyTooLarge
from cw_pipeline.connectwise.response import inflate_body as inflate

MOST = 10_000_000


def inflate_body(sent: bytes) -> bytes:
    claimed: list[int] = []
    body = inflate(sent, MOST, claimed.append)
    assert len(body) <= max(claimed)
    return body


@given(st.binary(max_size=5000))
def test_it_opens_as_what_was_sent_however_it_was_packed(said: bytes) -> None:
    assert inflate_body(gzip.compress(said)) == said
    assert inflate_body(zlib.compress(said)) == said


def test_a_large_one_opens_whole() -> None:
    said = b"[" + b'{"id": 1},' * 600_000 + b"]"
    assert inflate_body(gzip.compress(said)) == said


@given(st.binary(min_size=1, max_size=500), st.integers(1, 8))
def test_one_that_was_cut_off_does_not_open(said: bytes, missing: int) -> None:
    with pytest.raises(ValueError, match="does not inflate"):
        inflate_body(gzip.compress(said)[:-missing])


def test_one_that_lies_about_its_size_does_not_open_nor_fill_the_memory() -> None:
    sent = gzip.compress(b"[]")[:-4] + b"\xff\xff\xff\xff"
    with pytest.raises(ValueError, match="does not inflate"):
        inflate_body(sent)


def test_one_that_opens_as_more_than_it_may_is_refused_with_no_more_of_it_opened() -> None:
    sent = gzip.compress(bytes(50 * MOST))
    claimed: list[int] = []
    with pytest.raises(BodyTooLarge):
        inflate(sent, MOST, claimed.append)
    assert max(claimed) <= MOST
