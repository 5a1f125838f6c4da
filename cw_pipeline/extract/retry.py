"""When to ask again: the guide's retry policies ("Configuring Retry Policies"), run by stamina."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import stamina

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

BACKGROUND = Policy(attempts=8, wait_initial=0.5, wait_max=60, patience=900)
INTERACTIVE = Policy(attempts=3, wait_initial=0.1, wait_max=5, patience=30)


def retried(policy: Policy, ask: Callable[[], T], on_retry: Callable[[], None]) -> T:
    """What `ask` returns, asked again after errors that pass by themselves.

    `on_retry` is called before each further try. Raises the last error when the attempts are used
    up, and any other error at once.
    """
    for attempt in stamina.retry_context(
        on=(SourceBroken, SourceDown),
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
