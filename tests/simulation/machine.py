"""The machine that a simulated process runs on: its threads are tasks in an order by chance."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from cw_pipeline.machine import Machine

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from datetime import datetime, timedelta
    from threading import Event

    import httpx

    from tests.simulation.clock import Clock

T = TypeVar("T")


class SimulatedMachine(Machine):
    """Its time is the simulation's, `skew` beside it where people read it; all runs in one thread.

    What would go on beside other work goes on while that waits for a request or for time to pass.
    """

    def __init__(
        self, clock: Clock, dice: random.Random, wire: httpx.BaseTransport, skew: timedelta
    ) -> None:
        self._clock = clock
        self._dice = dice
        self._wire = wire
        self._skew = skew
        self.is_off = False
        """Whether the process is dead, so that nothing of it goes on."""
        self.is_stalled = False
        """Whether it stands still, so that nothing of it goes on for the time being."""

    @override
    def now(self) -> datetime:
        return self._clock.now() + self._skew

    @override
    def monotonic(self) -> float:
        return self._clock.seconds

    @override
    def wait(self, event: Event, seconds: float) -> bool:
        if seconds > 0:
            self._clock.advance(max(seconds, 1e-6), event.is_set)  # clocks tick on
        return event.is_set()

    @override
    def share(self, low: float, high: float) -> float:
        return self._dice.uniform(low, high)

    @override
    def transport(self) -> httpx.BaseTransport:
        return self._wire

    @override
    def executor(self, workers: int, name: str) -> Executor:
        return _Tasks(self._dice, name)

    @override
    def after(self, seconds: float, work: Callable[[], None]) -> Callable[[], None]:
        canceled: list[bool] = []
        self._clock.call(seconds, work, lambda: self.is_off or bool(canceled))
        return lambda: canceled.append(True)

    @override
    def every(self, seconds: float, work: Callable[[], None], name: str) -> Callable[[], None]:
        ended: list[bool] = []

        def is_off() -> bool:
            return self.is_off or bool(ended)

        def repeat() -> None:
            if not self.is_stalled:
                work()
            self._clock.call(seconds, repeat, is_off)

        self._clock.call(seconds, repeat, is_off)
        return lambda: ended.append(True)


class _Tasks(Executor):
    """What was submitted, done when somebody waits for any of it, in an order by chance.

    Pages are fetched at once or when they are waited for, entities read as they come: nobody waits
    for those.
    """

    def __init__(self, dice: random.Random, name: str) -> None:
        self._dice = dice
        self._name = name
        self._left: list[_Task[Any]] = []

    @override
    def submit(self, fn: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        task = _Task(lambda: fn(*args, **options), self)
        self._left.append(task)
        at_once = {"entities": 1.0, "fetch": 0.5}.get(self._name, 0.0)
        if at_once and self._dice.random() < at_once:
            self._do(task)
        return task

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        while self._left:
            if cancel_futures or not wait:
                self._left.pop().cancel()
            else:
                self._do(self._left[0])

    def finish(self, task: _Task[Any]) -> None:
        """Does tasks until this one is done. A page that is waited for is fetched alone."""
        while task in self._left:
            self._do(task if self._name == "fetch" else self._dice.choice(self._left))

    def _do(self, task: _Task[Any]) -> None:
        self._left.remove(task)
        task.do()


class _Task(Future[T]):
    """A task; what waits for it does it."""

    def __init__(self, work: Callable[[], T], among: _Tasks) -> None:
        super().__init__()
        self._work = work
        self._among = among

    def do(self) -> None:
        """Does it, whatever comes of it."""
        if not self.set_running_or_notify_cancel():
            return
        try:
            outcome = self._work()
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            self.set_exception(error)
        else:
            self.set_result(outcome)

    @override
    def result(self, timeout: float | None = None) -> T:
        self._among.finish(self)
        return super().result(timeout)

    @override
    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._among.finish(self)
        return super().exception(timeout)
