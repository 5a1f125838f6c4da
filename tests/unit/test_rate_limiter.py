"""The rate limiter: no request goes before its time, and a pause holds all of them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from cw_pipeline.connectwise import RateLimiter
from cw_pipeline.model import RequestGrant


def test_without_a_budget_nothing_waits() -> None:
    assert RateLimiter().wait_for_turn() < 0.1


def test_a_pause_holds_every_thread_and_is_announced() -> None:
    announced: list[float] = []
    limiter = RateLimiter(announce=announced.append)
    limiter.pause(0.2)
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        waits = list(pool.map(lambda _: limiter.wait_for_turn(), range(4)))
    assert time.monotonic() - started >= 0.19
    assert min(waits) > 0.1
    assert announced == [0.2]


def test_a_grant_is_used_up_before_the_next_is_asked_for() -> None:
    grants: list[RequestGrant] = []

    def grant() -> RequestGrant:
        grants.append(RequestGrant(3, 0.0))
        return grants[-1]

    limiter = RateLimiter(grant)
    for _ in range(7):
        limiter.wait_for_turn()
    assert len(grants) == 3


def test_leave_that_was_granted_before_a_pause_is_void_after_it() -> None:
    grants: list[int] = []

    def grant() -> RequestGrant:
        grants.append(1)
        return RequestGrant(100, 0.0)

    limiter = RateLimiter(grant)
    limiter.wait_for_turn()
    limiter.pause(0.0)
    limiter.wait_for_turn()
    assert len(grants) == 2


def test_a_grant_says_when_its_first_request_may_go() -> None:
    limiter = RateLimiter(lambda: RequestGrant(2, 0.15))
    assert limiter.wait_for_turn() >= 0.14
