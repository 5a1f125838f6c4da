"""How long the receiver keeps a connection on which nothing is asked."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cw_pipeline.live.receiver import _let_go_if_silent

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Request:
    """A request, as uvicorn serves it."""

    response_complete: bool = True


class Connection:
    """What is read of uvicorn's: the latest request, and whether it is answered."""

    def __init__(self) -> None:
        self.is_open = True
        self.cycle: Request | None = None
        self.transport: SimpleNamespace | None = None
        self._looks: list[Callable[[], None]] = []

    def close(self) -> None:
        self.is_open = False

    def call_later(self, _: float, look: Callable[..., None], *given: Any) -> None:
        """As the event loop has it, whose time passes in `pass_a_turn`."""
        self._looks.append(lambda: look(*given))

    def pass_a_turn(self) -> None:
        looks, self._looks = self._looks, []
        for look in looks:
            look()


def kept() -> Connection:
    """A connection that was just made."""
    made = Connection()
    loop: Any = made
    _let_go_if_silent(weakref.ref(made), loop)
    made.transport = SimpleNamespace(is_closing=lambda: not made.is_open, close=made.close)
    return made


def test_a_connection_that_a_proxy_keeps_stays_while_requests_come() -> None:
    connection = kept()
    for _ in range(5):
        connection.cycle = Request()
        connection.pass_a_turn()
    assert connection.is_open
    connection.pass_a_turn()
    assert not connection.is_open


def test_a_request_that_is_being_answered_keeps_its_connection() -> None:
    connection = kept()
    connection.cycle = Request(response_complete=False)
    for _ in range(5):
        connection.pass_a_turn()
    connection.cycle.response_complete = True
    connection.pass_a_turn()
    assert connection.is_open
    connection.pass_a_turn()
    assert not connection.is_open


def test_a_connection_without_a_request_is_closed_after_one_turn() -> None:
    connection = kept()
    connection.pass_a_turn()
    assert not connection.is_open
