"""Pages that are loaded take turns, and one that is held up holds up no other."""

from __future__ import annotations

import time
from threading import Event, Thread

from cw_pipeline.sync.context import LoadSlots


def occupy(slots: LoadSlots, until: Event) -> Thread:
    inside = Event()

    def stay() -> None:
        with slots:
            inside.set()
            until.wait(20)

    thread = Thread(target=stay)
    thread.start()
    assert inside.wait(5)
    return thread


def test_a_page_waits_for_a_place() -> None:
    slots, done = LoadSlots(1), Event()
    first = occupy(slots, done)
    second = Thread(target=slots.__enter__)
    second.start()
    second.join(0.2)
    assert second.is_alive()
    assert slots.has_waiting
    done.set()
    second.join(5)
    assert not second.is_alive()
    assert not slots.has_waiting
    first.join()


def test_pages_that_wait_for_a_lock_do_not_keep_their_places() -> None:
    slots, done = LoadSlots(2, most=0.3), Event()
    stuck = [occupy(slots, done) for _ in range(2)]
    began = time.monotonic()
    for _ in range(20):  # all pages of another entity, not each after a pause of its own
        with slots:
            pass
    assert 0.1 < time.monotonic() - began < 2
    done.set()
    for thread in stuck:
        thread.join()
