"""The vendor's `conditions` grammar: text in, a predicate out. Pure.

Comparing with a missing value is neither true nor false, as in SQL: such a record matches
neither `x = 1` nor `not x = 1`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from cw_pipeline.simulator.answers import BadQuery

if TYPE_CHECKING:
    from collections.abc import Callable

Verdict: TypeAlias = bool | None
Path: TypeAlias = tuple[str, ...]
Scalar: TypeAlias = "str | int | float | bool | Instant | None"

GRAMMAR = (
    "Expected a boolean value (True, False), an integer, a decimal, a string in quotes, "
    "a DateTime in square brackets, or the null keyword."
)
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | \[(?P<instant>[^\]]*)\]
    | (?P<number>-?\d+(?:\.\d+)?(?![\w.]))
    | (?P<op><=|>=|!=|<>|=|<|>)
    | (?P<mark>[(),])
    | (?P<word>[A-Za-z_][\w]*(?:/[A-Za-z_]\w*)*)
    )""",
    re.VERBOSE,
)
_WORD_OPS = frozenset({"like", "contains", "in"})


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


def parse(text: str) -> Node:
    """The tree of a condition. Raises BadQuery where the vendor answers 400."""
    parser = _Parser(_tokens(text))
    node = parser.either()
    if parser.peek() != ("end", ""):
        raise BadQuery(f"Unexpected '{parser.peek()[1]}' in conditions. {GRAMMAR}")
    return node


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
        return _denied(parts[0])
    return _settled(parts, by=node.word == "or")


def _settled(parts: list[Callable[..., Verdict]], *, by: bool) -> Callable[..., Verdict]:
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


def _denied(part: Callable[..., Verdict]) -> Callable[..., Verdict]:
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
    order = _ORDER[op]
    wanted = value.casefold() if isinstance(value, str) else _plain(value)

    def test(held: Any) -> Verdict:  # noqa: ANN401
        own = _as_kind_of(value, held)
        return None if own is None else order(own, wanted)

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


def _pattern(like: str) -> str:
    """`*` and `%` stand for anything; `[[]` is how the guide writes a plain bracket."""
    pieces = re.split(r"(\[\[\]|[*%])", like)
    made = (".*" if p in {"*", "%"} else r"\[" if p == "[[]" else re.escape(p) for p in pieces)
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


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise BadQuery(f"Unexpected '{text[at:].strip()[:20]}' in conditions. {GRAMMAR}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


class _Parser:
    """One token ahead, no way back."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens, self._at = tokens, 0

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self.peek()
        self._at += 1
        return token

    def _took(self, word: str) -> bool:
        """Steps over a keyword, a bracket or a comma, if it is the next thing."""
        kind, text = self.peek()
        if kind in {"word", "mark"} and text.lower() == word:
            self._at += 1
            return True
        return False

    def either(self) -> Node:
        return self._joined("or", self._both)

    def _both(self) -> Node:
        return self._joined("and", self._single)

    def _joined(self, word: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self._took(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Logic(word, tuple(parts))

    def _single(self) -> Node:
        if self._took("not"):
            return Logic("not", (self._single(),))
        if self._took("("):
            inside = self.either()
            self._must(")")
            return inside
        return self._comparison()

    def _must(self, mark: str) -> None:
        if not self._took(mark):
            raise BadQuery(f"Expected '{mark}' before '{self.peek()[1]}' in conditions.")

    def _comparison(self) -> Node:
        kind, text = self._next()
        if kind != "word":
            raise BadQuery(f"Expected a field before '{text}' in conditions. {GRAMMAR}")
        path = tuple(text.lower().split("/"))
        denied = self._took("not")
        kind, op = self._next()
        op = "!=" if op == "<>" else op.lower()
        if (kind, op) != (kind, op.lower()) or not self._is_operator(kind, op, denied=denied):
            raise BadQuery(f"Expected an operator after '{text}' in conditions. {GRAMMAR}")
        found = Compare(path, op, self._operand(op))
        return Logic("not", (found,)) if denied else found

    @staticmethod
    def _is_operator(kind: str, op: str, *, denied: bool) -> bool:
        return (kind == "word" and op in _WORD_OPS) or (kind == "op" and not denied)

    def _operand(self, op: str) -> Any:  # noqa: ANN401
        if op == "in":
            return self._values()
        value = self._value()
        if op in _WORD_OPS and not isinstance(value, str):
            raise BadQuery(f"'{op}' needs a string in quotes. {GRAMMAR}")
        if value is None and op not in {"=", "!="}:
            raise BadQuery(f"null can only be compared with = and !=. {GRAMMAR}")
        return value

    def _values(self) -> tuple[Scalar, ...]:
        self._must("(")
        values = [self._value()]
        while self._took(","):
            values.append(self._value())
        self._must(")")
        return tuple(values)

    def _value(self) -> Scalar:
        kind, text = self._next()
        match kind, text.lower():
            case "string", _:
                return re.sub(r"\\(.)", r"\1", text[1:-1])
            case "number", _:
                return float(text) if "." in text else int(text)
            case "instant", _ if (moment := seconds(text)) is not None:
                return Instant(moment)
            case "word", "true" | "false":
                return text.lower() == "true"
            case "word", "null":
                return None
            case _:
                raise BadQuery(f"Unexpected '{text}' in conditions. {GRAMMAR}")
