"""When to ask again: the guide's retry policies ("Configuring Retry Policies"), and when not."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, NoReturn, TypeVar

import stamina
from stamina import instrumentation

from cw_pipeline.errors import Interrupted, SourceBroken, SourceDown, SourceUnreachable
from cw_pipeline.machine import THIS, Machine
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how patiently: waits in seconds, doubled each time, with jitter.

    `patience` is how long, in seconds, 429s are waited out before they count as a failure; `whole`
    how many seconds failed answers of a question may take in all before it is asked no more. The
    pauses that ConnectWise asks for do not count.
    """

    attempts: int
    wait_initial: float
    wait_max: float
    patience: float
    whole: float = 300.0

    def wait_before(self, attempt: int, machine: Machine = THIS) -> float:
        """Seconds to wait before a try, the second being the first to wait for.

        Jitter is a share of the wait, half of it more or less, as the guide has it: a fixed amount
        would let long waits end together.
        """
        if stamina.is_testing():
            return 0.0
        wait = self.wait_initial * 2.0 ** (attempt - 2)
        return min(self.wait_max, wait * machine.share(0.5, 1.5))


T = TypeVar("T")
log = logging.getLogger(__name__)

BACKGROUND = Policy(attempts=8, wait_initial=0.5, wait_max=60, patience=900)
INTERACTIVE = Policy(attempts=3, wait_initial=0.1, wait_max=5, patience=30)
# For finding what is poisoned.
PROBING = Policy(attempts=3, wait_initial=0.2, wait_max=1, patience=900, whole=60)


@dataclass(slots=True, eq=False)
class RetryBudget:
    """How many retries a run may spend: a part of what it asks, so that a bad day ends.

    The guide: "Consider retry budgets to limit the overall retry rate across your system".
    """

    left: float = 200.0
    share: float = 0.5  # of a retry, that a question adds
    _lock: Lock = field(default_factory=Lock)

    def earn(self) -> None:
        """A question was asked."""
        with self._lock:
            self.left += self.share

    def spend(self) -> bool:
        """Takes one retry from the budget: whether there was one."""
        with self._lock:
            if self.left < 1:
                return False
            self.left -= 1
            return True


def call_with_retries(
    policy: Policy,
    ask: Callable[[], T],
    before_retry: Callable[[int, float, Exception], None],
    budget: RetryBudget,
    machine: Machine = THIS,
) -> T:
    """What `ask` returns, asked again after errors that pass by themselves.

    `before_retry` is called before each further try, with its number, the seconds to wait and the
    error, and waits: stamina's own sleep could not be interrupted. Raises the last error when the
    attempts, the time or the run's budget are used up, and any other error at once.
    """
    caught: list[Exception] = []
    spent = 0.0

    def passes_by_itself(error: Exception) -> bool:
        nonlocal spent
        caught[:] = [error]
        if isinstance(error, SourceUnreachable) or not isinstance(error, SourceBroken | SourceDown):
            return False
        if isinstance(error, SourceBroken) and error.is_too_large:
            return False
        spent += error.seconds
        return spent < policy.whole and budget.spend()

    budget.earn()
    for attempt in stamina.retry_context(
        on=passes_by_itself,
        attempts=policy.attempts,
        timeout=None,
        wait_initial=0,
        wait_max=0,
        wait_jitter=0,
    ):
        with attempt:
            if attempt.num > 1:
                before_retry(attempt.num, policy.wait_before(attempt.num, machine), caught[0])
            return ask()
    raise AssertionError("stamina always returns or raises")


def silence_stamina() -> None:
    """Takes stamina's hooks away: its own prints through structlog, which Dagster brings.

    They are the whole process's, so this is for processes that are ours.
    """
    instrumentation.set_on_retry_hooks([])


def wait_interruptibly(stopping: Event, seconds: float, machine: Machine = THIS) -> None:
    """Returns after so many seconds. Raises Interrupted as soon as `stopping` is set."""
    if machine.wait(stopping, max(0.0, seconds)):
        raise Interrupted("interrupted")


_SAID_AFTER = 10.0  # seconds without a good answer before people are told
_SAID_EVERY = 15.0  # seconds
_TOO_LONG = 150.0  # seconds: more than a passing outage, and less than eight tries that time out


@dataclass(slots=True, eq=False)
class Outage:
    """Since when no request of a client was answered, and what was tried. Shared by its threads.

    A refusal is an answer; a server error or a broken connection is none. `verdict`: why nothing
    more is asked, once that was established.
    """

    machine: Machine = THIS
    verdict: str = ""
    _lock: Lock = field(default_factory=Lock)
    _since: float | None = None
    _began: str = ""
    _said: float = 0.0
    _tries: int = 0
    _last: str = ""
    _answered: float = field(init=False)

    def __post_init__(self) -> None:
        # What was asked before, and failed, tells nothing of what is asked from now on.
        self._answered = self.machine.monotonic()

    def note_answer(self) -> None:
        """Notes an answer of any kind."""
        with self._lock:
            self._answered = self.machine.monotonic()
            if self._since is not None and self._said:
                log.warning("ConnectWise answers again")
            self._since, self._tries, self._said = None, 0, 0.0

    def note_failure(self, error: Exception) -> None:
        """Notes a request that got no good answer, and says so in the log every 15 seconds."""
        with self._lock:
            now = self.machine.monotonic()
            if self._since is None:
                self._since, self._began = now, f"{self.machine.now():%H:%M:%S} UTC"
            self._tries, self._last = self._tries + 1, str(error)
            self._say(now)

    def say_if_due(self) -> None:
        """Says how things stand while a retry is waited for, if it is time to."""
        with self._lock:
            self._say(self.machine.monotonic())

    def is_possible(self, since: float) -> bool:
        """Whether nothing has answered since then (`Machine.monotonic`)."""
        return self._answered < since

    @property
    def is_long(self) -> bool:
        """Whether it has lasted longer than a passing outage does."""
        since = self._since
        return since is not None and self.machine.monotonic() - since > _TOO_LONG

    def establish(self) -> NoReturn:
        """Ends every question that is asked from now on. Raises SourceUnreachable."""
        with self._lock:
            if not self.verdict:
                self.verdict = (
                    f"{self._standing()}. Company info does not answer either, so nothing more is"
                    " asked. What was read before is kept: the same command goes on from there"
                )
        raise SourceUnreachable(self.verdict)

    def _say(self, now: float) -> None:
        if self._since is None or now - self._since < _SAID_AFTER:
            return
        if now - self._said >= _SAID_EVERY:
            self._said = now
            log.warning("%s. It is asked again", self._standing())

    def _standing(self) -> str:
        tries = count(self._tries, "try", "tries")
        return f"ConnectWise has not answered since {self._began} ({tries}; the last: {self._last})"


_TRIPS_AFTER = 5  # questions in a row that failed with all their retries
_RESTS = 60.0  # seconds


@dataclass(slots=True, eq=False)
class CircuitBreaker:
    """Counts failures in a row; after too many, everything fails at once until it has rested."""

    machine: Machine = THIS
    _failures: int = 0
    _open_until: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def check(self) -> None:
        """Returns if a question may be asked. Raises SourceDown while the breaker is open."""
        with self._lock:
            left = self._open_until - self.machine.monotonic()
            if self._open_until and left <= 0:
                # Half open: this question goes through, others only once it was answered.
                self._open_until = self.machine.monotonic() + _RESTS
        if left > 0 and self._open_until:
            raise SourceDown(
                f"ConnectWise failed {_TRIPS_AFTER} questions in a row; it is left alone for"
                f" {left:.0f} s more"
            )

    def note_failure(self) -> None:
        """Notes a question that failed in spite of its retries."""
        with self._lock:
            self._failures += 1
            if self._failures >= _TRIPS_AFTER:
                self._open_until = self.machine.monotonic() + _RESTS
                self._failures = _TRIPS_AFTER - 1

    def note_answer(self) -> None:
        """Notes any answer at all, a refusal included."""
        with self._lock:
            self._failures = 0
            self._open_until = 0.0
