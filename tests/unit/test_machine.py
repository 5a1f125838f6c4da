"""What a machine does for those who wait, beside everything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event, get_ident

from cw_pipeline.machine import THIS


def test_work_that_is_due_later_is_done_once_unless_it_is_called_off() -> None:
    done, called_off = Event(), Event()
    THIS.after(0.3, called_off.set)()
    THIS.after(0.01, done.set)
    assert THIS.wait(done, 10)
    assert not THIS.wait(called_off, 0.5)


def test_work_goes_on_beside_everything_else_until_it_is_ended() -> None:
    seen: list[int] = []
    twice = Event()

    def work() -> None:
        seen.append(get_ident())
        if len(seen) > 1:
            twice.set()

    end = THIS.every(0.01, work, "test")
    assert THIS.wait(twice, 10)
    end()
    times = len(seen)
    assert not THIS.wait(Event(), 0.1)
    assert len(seen) == times
    assert get_ident() not in seen


def test_its_clock_is_the_real_one() -> None:
    assert abs(THIS.now() - datetime.now(UTC)) < timedelta(seconds=10)
    assert all(1 <= THIS.share(1, 2) <= 2 for _ in range(100))
