"""Progress only ever goes forward, and a resumed pass is the pass that was cut short."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_pipeline.model import Checkpoint, ClockReading, IdRange
from cw_pipeline.sync.incremental import ids_left, split, split_in_half

moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
overlaps = st.timedeltas(timedelta(0), timedelta(days=1))


def clock(now: datetime) -> ClockReading:
    """All three clocks show the same."""
    return ClockReading(now, now, now)


@given(st.none() | moments, st.timedeltas(timedelta(0), timedelta(days=99)), moments, overlaps)
def test_the_watermark_never_moves_back_while_the_clocks_go_on(
    watermark: datetime | None, passed: timedelta, first: datetime, overlap: timedelta
) -> None:
    now = (watermark or first) + passed
    done = Checkpoint(watermark).open_pass(clock(now), overlap).close_pass()
    assert done.watermark is not None
    assert done.watermark <= now
    assert watermark is None or done.watermark >= watermark
    assert (done.window, done.ranges, done.tail.cursor) == (None, (), 0)


@given(moments, st.timedeltas(timedelta(0), timedelta(days=99)), overlaps)
def test_a_pass_begins_the_overlap_before_the_watermark(
    watermark: datetime, passed: timedelta, overlap: timedelta
) -> None:
    began = Checkpoint(watermark, watermark_at=watermark)
    window = began.open_pass(clock(watermark + passed), overlap).window
    assert window is not None
    assert window.since == watermark - overlap


@given(moments, moments, overlaps, st.booleans())
def test_a_pass_that_was_cut_short_is_resumed_as_it_was(
    first: datetime,
    later: datetime,
    overlap: timedelta,
    whole: bool,  # noqa: FBT001
) -> None:
    started = Checkpoint(None).open_pass(clock(first), overlap)
    started = replace(started, tail=IdRange(0, None, 500))
    assert started.open_pass(clock(later), overlap, whole=whole) is started


def test_nothing_completes_that_was_not_open() -> None:
    with pytest.raises(ValueError, match="no pass"):
        Checkpoint(datetime(2025, 1, 1, tzinfo=UTC)).close_pass()


@pytest.mark.parametrize("cursor", [4, 5])
def test_a_cursor_that_stands_or_goes_back_is_an_error(cursor: int) -> None:
    with pytest.raises(ValueError, match="advance"):
        IdRange(0, None, 5).advanced_to(cursor)


@given(st.integers(0, 2**40), st.integers(1, 2**40), st.integers(1, 32), st.integers(1, 1000))
def test_ranges_cover_every_id_once(after: int, width: int, parts: int, step: int) -> None:
    ranges = sorted(split(after, after + width, parts, step), key=lambda one: one.after)
    assert (ranges[0].after, ranges[-1].upto) == (after, after + width)
    assert all(one.upto == two.after for one, two in pairwise(ranges))
    assert all(one.cursor == one.after for one in ranges)
    assert all((one.after - after) % step == 0 for one in ranges)


@given(st.integers(0, 2**40), st.integers(2, 2**40), st.integers(1, 1000), st.data())
def test_half_of_what_is_left_is_all_that_is_given_away(
    after: int, width: int, step: int, data: st.DataObject
) -> None:
    cursor = data.draw(st.integers(after, after + width - 2))
    whole = IdRange(after, after + width, cursor)
    mine, other = split_in_half(whole, step)
    assert (mine.after, mine.cursor) == (after, cursor)  # what was read stays read
    assert (mine.upto, other.upto) == (other.after, whole.upto)
    assert other.cursor == other.after
    assert ids_left(mine) + ids_left(other) == ids_left(whole)
    assert abs(ids_left(mine) - ids_left(other)) <= 2 * step
    assert ids_left(mine) % step == 0
