"""The source's clock is believed as far as it agrees with ours; what it may have hidden is read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_pipeline.connectwise import SourceClock
from cw_pipeline.connectwise.response import http_date
from cw_pipeline.model import Checkpoint, ClockReading

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OVERLAP = timedelta(minutes=5)
WITHIN = st.timedeltas(-timedelta(seconds=30), timedelta(seconds=30))
FAR = st.timedeltas(-2 * HOUR, 2 * HOUR)
MINUTES = st.timedeltas(timedelta(0), timedelta(minutes=10))
SET_TO = st.sampled_from([-HOUR, timedelta(0), HOUR]) | FAR


def reading(source: timedelta | None, machine: timedelta, warehouse: timedelta) -> ClockReading:
    return ClockReading(None if source is None else NOON + source, NOON + machine, NOON + warehouse)


@given(WITHIN, WITHIN, WITHIN)
def test_clocks_that_agree_are_believed(source: timedelta, own: timedelta, db: timedelta) -> None:
    clocks = reading(source, own, db)
    assert (clocks.at, clocks.disorder) == (NOON + source, "")


@given(FAR, FAR, FAR)
def test_time_is_never_believed_to_be_later_than_the_earliest_clock_says_by_more_than_the_tolerance(
    source: timedelta, own: timedelta, db: timedelta
) -> None:
    clocks = reading(source, own, db)
    assert clocks.at - clocks.tolerance <= min(NOON + source, NOON + own, NOON + db)


@given(FAR, FAR)
def test_an_answer_without_a_date_is_taken_for_an_early_one(own: timedelta, db: timedelta) -> None:
    assert reading(None, own, db).at == min(NOON + own, NOON + db) - timedelta(minutes=5)


@pytest.mark.parametrize(
    ("source", "own", "db", "told"),
    [
        (HOUR, 0 * HOUR, 0 * HOUR, "clock of ConnectWise (`Date` of its answers) is 1:00:00 ahead"),
        (-HOUR, 0 * HOUR, 0 * HOUR, "clock of ConnectWise (`Date` of its answers) is 1:00:00 behi"),
        (0 * HOUR, 2 * HOUR, 0 * HOUR, "this machine's clock is 2:00:00 ahead of"),
        (0 * HOUR, 0 * HOUR, -HOUR, "the warehouse's clock (Postgres) is 1:00:00 behind"),
        (None, 0 * HOUR, -HOUR, "the warehouse's clock (Postgres) is 1:00:00 behind"),
    ],
)
def test_the_clock_that_differs_from_the_others_is_named(
    source: timedelta | None, own: timedelta, db: timedelta, told: str
) -> None:
    assert told in reading(source, own, db).disorder


@pytest.mark.parametrize("text", ["Fri, 27 Nov 2026 12:00:00", "Fri, 27 Nov 2026 12:00:00 -0000"])
def test_a_date_without_a_zone_is_no_local_time(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    assert http_date(text) == NOON


def test_a_disorder_is_logged_once_and_handed_on_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = SourceClock()
    for _ in range(3):
        clock.note_answer("Fri, 27 Nov 2020 12:00:00 GMT", timedelta())
    assert len(caplog.records) == 1
    assert "behind" in clock.take_disorder()
    assert clock.take_disorder() == ""


@given(FAR, FAR, st.timedeltas(timedelta(0), 3 * HOUR), st.timedeltas(timedelta(0), HOUR))
def test_what_changes_after_a_pass_has_begun_is_in_the_next_window_whatever_clock_stamps_it(
    source_then: timedelta, source_now: timedelta, passed: timedelta, changed_after: timedelta
) -> None:
    """The source stamps by its clock, which may be set forward or back between two passes."""
    first = ClockReading(NOON + source_then, NOON, NOON)
    done = Checkpoint().open_pass(first, OVERLAP).close_pass()
    later = NOON + passed
    second = ClockReading(later + source_now, later, later)
    window = done.open_pass(second, OVERLAP).window
    assert window is not None
    assert window.since is not None
    for offset in (source_then, source_now):
        stamp = NOON + changed_after + offset
        assert stamp >= window.since


@given(
    st.lists(st.tuples(MINUTES, SET_TO), min_size=2, max_size=4),
    SET_TO,
    st.booleans(),
    MINUTES,
)
def test_what_is_committed_late_is_in_the_window_of_the_next_pass_though_clocks_were_set_meanwhile(
    gaps: list[tuple[timedelta, timedelta]],
    source: timedelta,
    before_the_step: bool,  # noqa: FBT001
    late: timedelta,
) -> None:
    """Between each two passes the source's clock is set once, forward or back or not."""
    overlap = timedelta(minutes=15)
    now, changed = NOON, NOON + gaps[0][0] / 2
    stamp = changed + (source if before_the_step else gaps[0][1])
    stored = Checkpoint().open_pass(ClockReading(now + source, now, now), overlap).close_pass()
    for passed, source_next in gaps:
        now, source = now + passed, source_next
        opened = stored.open_pass(ClockReading(now + source, now, now), overlap)
        assert opened.window is not None
        if changed + late <= now:
            assert opened.window.since is None or opened.window.since <= stamp
            return
        stored = opened.close_pass()


def test_windows_begin_as_usual_once_what_was_stamped_before_a_step_has_been_committed() -> None:
    stored = Checkpoint(NOON - HOUR, watermark_at=NOON)  # its clock was an hour behind
    begins = []
    for minutes in (1, 3, 7, 8):
        at = timedelta(minutes=minutes)
        opened = stored.open_pass(reading(at, at, at), OVERLAP)
        assert opened.window is not None
        begins.append(opened.window.since)
        stored = opened.close_pass()
    before = NOON - HOUR - OVERLAP
    assert begins == [before, before, before, NOON + timedelta(minutes=7) - OVERLAP]
    assert stored.step is None


def test_a_watermark_ahead_of_every_clock_is_read_again_from_when_its_pass_began() -> None:
    done = Checkpoint(NOON + HOUR, watermark_at=NOON)
    now = reading(timedelta(minutes=9), timedelta(minutes=9), timedelta(minutes=9))
    opened = done.open_pass(now, OVERLAP)
    assert opened.window is not None
    assert opened.window.since == NOON - OVERLAP
    assert opened.watermark == NOON
    assert opened.close_pass().watermark == NOON + timedelta(minutes=9)


@pytest.mark.parametrize("began", [None, NOON + HOUR])
def test_where_nobody_knows_when_its_pass_began_everything_is_read_again(
    began: datetime | None,
) -> None:
    now = reading(timedelta(minutes=9), timedelta(minutes=9), timedelta(minutes=9))
    opened = Checkpoint(NOON + HOUR, watermark_at=began).open_pass(now, OVERLAP)
    assert opened.window is not None
    assert opened.window.since is None
    assert replace(opened, window=None).watermark is None  # nothing is promised until it is read
