"""What the work needs of the machine that it runs on: clock, threads, network, and chance.

Whatever waits, takes the time, begins a thread or sends a request for a tenant asks a `Machine`. A
simulation gives one of its own, in which hours pass at once and everything happens in an order that
a seed decides (`tests/simulation`).
"""

from __future__ import annotations

import random
import time
from concurrent.futures import Executor, ThreadPoolExecutor
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

    def monotonic(self) -> float:
        """Seconds since some moment; nobody sets them."""
        return time.monotonic()

    def wait(self, event: Event, seconds: float) -> bool:
        """Returns after so many seconds, or as soon as the event is set: whether it is."""
        return event.wait(seconds)

    def share(self, low: float, high: float) -> float:
        """A number between these, by chance."""
        return random.uniform(low, high)  # noqa: S311 - no secret

    def transport(self) -> Any:  # noqa: ANN401 - only `connectwise` knows httpx
        """What goes to a tenant goes through this transport of httpx; None: over the network."""
        return None

    def executor(self, workers: int, name: str) -> Executor:
        """Threads that do what is submitted, so many at a time."""
        return ThreadPoolExecutor(workers, name)

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

        def end() -> None:
            ended.set()
            thread.join()

        return end


THIS = Machine()
