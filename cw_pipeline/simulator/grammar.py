"""The vendor's `conditions` grammar: text in, a tree out. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator.answers import BadQuery
from cw_pipeline.simulator.conditions import Compare, Instant, Logic, Node, Scalar, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

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


def parse(text: str) -> Node:
    """The tree of a condition. Raises BadQuery where the vendor answers 400."""
    parser = _Parser(_tokens(text))
    node = parser.either()
    if parser.peek() != ("end", ""):
        raise BadQuery(f"Unexpected '{parser.peek()[1]}' in conditions. {GRAMMAR}")
    return node


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
        return self._parse_chain("or", self._both)

    def _both(self) -> Node:
        return self._parse_chain("and", self._single)

    def _parse_chain(self, word: str, part: Callable[[], Node]) -> Node:
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
