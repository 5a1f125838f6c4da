"""When to ask again: the guide's retry policies ("Configuring Retry Policies"), run by stamina."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import stamina
from stamina import instrumentation

from cw_pipeline.errors import SourceBroken, SourceDown

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how patiently: waits in seconds, doubled each time, with jitter.

    `patience` is how long, in seconds, 429s are waited out before they count as a failure.
    """

    attempts: int
    wait_initial: float
    wait_max: float
    patience: float


T = TypeVar("T")
log = logging.getLogger(__name__)

BACKGROUND = Policy(attempts=8, wait_initial=0.5, wait_max=60, patience=900)
INTERACTIVE = Policy(attempts=3, wait_initial=0.1, wait_max=5, patience=30)
PROBING = Policy(attempts=3, wait_initial=0.2, wait_max=1, patience=900)  # finding what is poisoned


class RetryBudget:
    """How many retries a run may spend: a part of what it asks, so that a bad day ends.

    The guide: "Consider retry budgets to limit the overall retry rate across your system".
    """

    def __init__(self, base: int = 200, share: float = 0.5) -> None:
        self._left = float(base)
        self._share = share
        self._lock = Lock()

    def earn(self) -> None:
        """A question was asked."""
        with self._lock:
            self._left += self._share

    def spend(self) -> bool:
        """Takes one retry from the budget: whether there was one."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


def call_with_retries(
    policy: Policy, ask: Callable[[], T], on_retry: Callable[[], None], budget: RetryBudget
) -> T:
    """What `ask` returns, asked again after errors that pass by themselves.

    `on_retry` is called before each further try. Raises the last error when the attempts or the
    run's budget are used up, and any other error at once.
    """
    budget.earn()
    for attempt in stamina.retry_context(
        on=lambda error: isinstance(error, SourceBroken | SourceDown) and budget.spend(),
        attempts=policy.attempts,
        timeout=None,
        wait_initial=policy.wait_initial,
        wait_max=policy.wait_max,
        wait_jitter=policy.wait_initial,
    ):
        with attempt:
            if attempt.num > 1:
                on_retry()
            return ask()
    raise AssertionError("stamina always returns or raises")


def _log_retry(details: instrumentation.RetryDetails) -> None:
    """The guide: log every failure that causes a retry."""
    log.info("asked again in %.1f s: %s", details.wait_for, details.caused_by)


# stamina's own hook prints through structlog, which Dagster brings, to standard output.
instrumentation.set_on_retry_hooks([_log_retry])


_TRIPS_AFTER = 5  # questions in a row that failed with all their retries
_RESTS = 60.0  # seconds


class CircuitBreaker:
    """Counts failures in a row; after too many, everything fails at once until it has rested."""

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = 0.0
        self._lock = Lock()

    def check(self) -> None:
        """Returns if a question may be asked. Raises SourceDown while the breaker is open."""
        left = self._open_until - time.monotonic()
        if left > 0:
            raise SourceDown(
                f"ConnectWise failed {_TRIPS_AFTER} questions in a row; it is left alone for"
                f" {left:.0f} s more"
            )

    def note_failure(self) -> None:
        """Notes a question that failed in spite of its retries."""
        with self._lock:
            self._failures += 1
            if self._failures >= _TRIPS_AFTER:
                # One question is let through after the rest: failing again opens it at once.
                self._open_until = time.monotonic() + _RESTS
                self._failures = _TRIPS_AFTER - 1

    def note_answer(self) -> None:
        """Notes any answer at all, a refusal included."""
        with self._lock:
            self._failures = 0
