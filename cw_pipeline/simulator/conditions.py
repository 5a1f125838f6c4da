"""What a condition means: a tree in, a predicate out. Pure.

Comparing with a missing value is neither true nor false, as in SQL: such a record matches
neither `x = 1` nor `not x = 1`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Verdict: TypeAlias = bool | None
Path: TypeAlias = tuple[str, ...]
Scalar: TypeAlias = "str | int | float | bool | Instant | None"


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time, in seconds since 1970, UTC."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison. `path` is lower case; `value` is a tuple for `in`."""

    path: Path
    op: str
    value: Any


@dataclass(frozen=True, slots=True)
class Logic:
    """`and`, `or` (any number of parts) or `not` (one)."""

    word: str
    parts: tuple[Node, ...]


Node: TypeAlias = Compare | Logic


def seconds(text: str) -> float | None:
    """An ISO date or time as seconds since 1970; without a zone it is UTC. None: it is neither."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def paths(node: Node) -> set[Path]:
    """Every field the condition asks about."""
    if isinstance(node, Compare):
        return {node.path}
    return set().union(*(paths(part) for part in node.parts))


def predicate(node: Node, reader: Callable[[Path], Callable[[Any], Any]]) -> Callable[..., Verdict]:
    """A function of one record. `reader(path)` gives the function that reads a field of it."""
    if isinstance(node, Compare):
        read, test = reader(node.path), _test(node.op, node.value)
        return lambda record: test(read(record))
    parts = [predicate(part, reader) for part in node.parts]
    if node.word == "not":
        return _negate(parts[0])
    return _combine(parts, by=node.word == "or")


def _combine(parts: list[Callable[..., Verdict]], *, by: bool) -> Callable[..., Verdict]:
    """Kleene's `or` (one true settles it) and `and` (one false settles it)."""

    def verdict(record: Any) -> Verdict:  # noqa: ANN401
        outcome: Verdict = not by
        for part in parts:
            said = part(record)
            if said is by:
                return by
            if said is None:
                outcome = None
        return outcome

    return verdict


def _negate(part: Callable[..., Verdict]) -> Callable[..., Verdict]:
    def verdict(record: Any) -> Verdict:  # noqa: ANN401
        said = part(record)
        return None if said is None else not said

    return verdict


def _test(op: str, value: Any) -> Callable[[Any], Verdict]:  # noqa: ANN401
    if op == "in":
        return _one_of(value)
    if op in {"like", "contains"}:
        return _matching(_pattern(value) if op == "like" else re.escape(value))
    if value is None:
        return (lambda held: held is None) if op == "=" else (lambda held: held is not None)
    if isinstance(value, str) and "*" in value and op in {"=", "!="}:
        same = _matching(_pattern(value, "*"))
        return same if op == "=" else _negate(same)
    order = _ORDER[op]
    wanted = value.casefold() if isinstance(value, str) else _plain(value)

    def test(held: Any) -> Verdict:  # noqa: ANN401
        converted = _as_kind_of(value, held)
        return None if converted is None else order(converted, wanted)

    return test


def _one_of(values: tuple[Scalar, ...]) -> Callable[[Any], Verdict]:
    """`in`: numbers and texts by set, because a question may name hundreds of ids."""
    numbers = {each for each in values if isinstance(each, int | float)}
    texts = {each.casefold() for each in values if isinstance(each, str)}
    moments = {each.seconds for each in values if isinstance(each, Instant)}

    def test(held: Any) -> Verdict:  # noqa: ANN401
        if held is None or isinstance(held, dict | list):
            return True if held is None and None in values else None
        if isinstance(held, str) and moments and seconds(held) in moments:
            return True
        return (bool(numbers) and _number(held) in numbers) or _text(held) in texts

    return test


def _matching(pattern: str) -> Callable[[Any], Verdict]:
    found = re.compile(pattern, re.IGNORECASE | re.DOTALL).search

    def test(held: Any) -> Verdict:  # noqa: ANN401
        return None if held is None or isinstance(held, dict | list) else bool(found(str(held)))

    return test


def _pattern(text: str, wildcards: str = "*%") -> str:
    """The wildcards stand for anything; `[[]` is how the guide writes a plain bracket."""
    pieces = re.split(rf"(\[\[\]|[{wildcards}])", text)
    made = (".*" if p and p in wildcards else r"\[" if p == "[[]" else re.escape(p) for p in pieces)
    return rf"\A{''.join(made)}\Z"


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _plain(value: Scalar) -> Any:  # noqa: ANN401
    return value.seconds if isinstance(value, Instant) else value


def _as_kind_of(value: Scalar, held: Any) -> Any:  # noqa: ANN401
    """The stored value as the kind the question compares with; None where it has none."""
    match value:
        case Instant():
            return seconds(held) if isinstance(held, str) else held
        case bool():
            return held if isinstance(held, bool) else None
        case int() | float():
            return _number(held)
        case _:
            return _text(held)


def _number(held: Any) -> float | None:  # noqa: ANN401
    if isinstance(held, bool) or not isinstance(held, int | float | str):
        return None
    try:
        return float(held) if isinstance(held, str) else held
    except ValueError:
        return None


def _text(held: Any) -> str | None:  # noqa: ANN401
    return None if held is None or isinstance(held, dict | list) else str(held).casefold()
