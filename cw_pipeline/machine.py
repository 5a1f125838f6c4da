"""What the work needs of the machine that it runs on: clock, threads, network, and chance.

Whatever waits, takes the time, begins a thread or sends a request for a tenant asks a `Machine`. A
simulation gives one of its own, in which hours pass at once and everything happens in an order that
a seed decides (`tests/simulation`).
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from threading import Event, Thread, Timer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Machine:
    """This machine."""

    def now(self) -> datetime:
        """What time its clock shows, UTC. It may be set, forward or back."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)
    """Seconds since some moment; nobody sets them."""

    wait = staticmethod(Event.wait)
    """Given an event and seconds: returns after those, or as soon as it is set: whether it is."""

    share = staticmethod(random.uniform)
    """A number between two others, by chance."""

    executor = staticmethod(ThreadPoolExecutor)
    """Threads that do what is submitted: given how many at a time, and a name."""

    def transport(self) -> Any:  # noqa: ANN401 - only `connectwise` knows httpx
        """What goes to a tenant goes through this transport of httpx; None: over the network."""
        return None

    def after(self, seconds: float, work: Callable[[], None]) -> Callable[[], None]:
        """Does the work once, after so many seconds, beside everything else.

        What is returned, when it is called, has it left undone.
        """
        timer = Timer(seconds, work)
        timer.daemon = True
        timer.start()
        return timer.cancel

    def every(self, seconds: float, work: Callable[[], None], name: str) -> Callable[[], None]:
        """Does the work again and again, beside everything else.

        What is returned ends that when it is called, and returns when no more of it is done.
        """
        ended = Event()

        def repeat() -> None:
            while not ended.wait(seconds):
                work()

        thread = Thread(target=repeat, name=name, daemon=True)
        thread.start()

        ending = ExitStack()
        ending.callback(thread.join)
        ending.callback(ended.set)  # is called first
        return ending.close


THIS = Machine()
