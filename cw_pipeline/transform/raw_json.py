"""JSON text of any depth and with any number: taken apart, decoded, and made fit to be stored.

Parsers refuse what is nested deeper than their stack, and Postgres numbers beyond `numeric`.
Neither may cost more than the record that has it, so its text is taken apart by its brackets.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from cw_pipeline.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 256
"""Levels of a record. Any parser takes as many, from any depth of calls; JSON of a business system
has a handful."""

MOST_DIGITS = 4000
"""Of a number in JSON, before or behind the point. Postgres' `numeric` holds more of them, but who
reads jsonb by Python fails at an integer of more than 4,300."""

_INT64 = range(-(2**63), 2**63)
_SURROGATE = re.compile("[\ud800-\udfff]")
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},]', re.DOTALL)
_MEMBER = re.compile(rb'\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*:(.*)', re.DOTALL)
_ENDS = (*(b"{", b"}", b"[", b"]", b","), b'"')
_BLANKS = b" \t\r\n"
_RAW = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class OddNumber:
    """A number that no Decimal holds, such as 1e99999999999999999999 or NaN, as it was written."""

    spelling: str

    @override
    def __str__(self) -> str:
        """The spelling."""
        return self.spelling


def _as_written(value: Any) -> msgspec.Raw:
    if isinstance(value, OddNumber):
        return msgspec.Raw(value.spelling.encode())
    raise NotImplementedError(type(value).__name__)


JSON = msgspec.json.Encoder(order="sorted", decimal_format="number", enc_hook=_as_written)


def number(spelling: str) -> Decimal | OddNumber:
    """The number of this spelling, exactly."""
    try:
        return Decimal(spelling)
    except InvalidOperation:
        return OddNumber(spelling)


def storable_number(spelling: str) -> Decimal:
    """The number of this spelling. Raises ValueError for one that `is_storable` denies."""
    found = number(spelling)
    if isinstance(found, OddNumber) or not is_storable(found):
        raise ValueError(spelling)
    return found


def is_storable(found: int | Decimal | OddNumber) -> bool:
    """Whether jsonb holds this number, and whoever reads it."""
    if isinstance(found, int):
        return True  # Python has none of more digits
    if isinstance(found, OddNumber) or not found.is_finite():
        return False
    exponent = found.as_tuple().exponent
    assert isinstance(exponent, int)
    return found.adjusted() < MOST_DIGITS and -exponent <= MOST_DIGITS


def _integer(spelling: str) -> int | Decimal | OddNumber:
    return int(spelling) if len(spelling) <= MOST_DIGITS else number(spelling)


_ANY = msgspec.json.Decoder(Any, float_hook=number)


def decode(text: bytes) -> Any:
    """The value, numbers exact. It must be `is_shallow`. Raises SourceBroken for what is no JSON.

    Half surrogates, NaN and integers of thousands of digits are JSON to a lenient parser only.
    """
    try:
        return _ANY.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return json.loads(text, parse_float=number, parse_int=_integer, parse_constant=OddNumber)
    except ValueError:
        head = text[:2000].decode("utf-8", "replace")
        raise SourceBroken("the body is not JSON", 200, head) from None


def records_of(body: bytes) -> list[bytes]:
    """The text of each record of a page. Raises SourceBroken if the body is no array.

    What is between the brackets and commas of a record need not be JSON.
    """
    try:
        return [bytes(raw) for raw in _RAW.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    outline = _outline(body)
    if outline.opening != b"[" or not outline.fits:
        said = "expected a list of records" if outline.fits else "the body is not JSON"
        raise SourceBroken(said, 200, body[:2000].decode("utf-8", "replace"))
    return outline.parts


def is_shallow(text: bytes) -> bool:
    """Whether a value is nested no deeper than DEEPEST."""
    # Counted in a microsecond; few records have as many brackets.
    return text.count(b"{") + text.count(b"[") <= DEEPEST or _outline(text).deepest <= DEEPEST


def record_id(text: bytes) -> int | None:
    """The id that a record shows, however odd the rest of it is; None if it shows none."""
    found: Any = None
    for key, value, is_deep in _members(text) or ():
        if key == "id":  # the last of two, as for every other field
            found = None if is_deep else whole_number(decode(value))
    return found if type(found) is int and found in _INT64 else None


_WIDTH = 20  # digits that no 64-bit number reaches


def whole_number(value: Any) -> Any:
    """The value; as an int if it is a number that was written otherwise, such as 5.0 or 5e0."""
    if (
        isinstance(value, Decimal)
        and value.adjusted() < _WIDTH
        and value == value.to_integral_value()
    ):
        return int(value)  # never of 1e999999999, which would fill the memory
    return value


def deep_fields(text: bytes) -> list[str]:
    """The fields of a record that are nested too deeply."""
    return [key for key, _, is_deep in _members(text) or () if is_deep]


def decode_hollow(text: bytes) -> Any:
    """A record that is nested too deeply: as deep as it was, with nothing in its depths.

    It is refused for the same reason, and tells nobody what it said.
    """
    nothing = msgspec.Raw(b"[" * DEEPEST + b"]" * DEEPEST)
    members = _members(text)
    if members is None:
        return [nothing]
    return {key: nothing if is_deep else decode(value) for key, value, is_deep in members}


def storable_text(text: bytes) -> str:
    """A record as JSON that jsonb holds, whatever it is.

    A number that is not `is_storable`, and what is nested too deeply, are kept as text; NULs are
    left out, and half surrogates are U+FFFD.
    """
    if is_shallow(text):
        return JSON.encode(storable(decode(text))).decode()
    members = _members(text)
    if members is None:
        return JSON.encode(_as_text(text)).decode()
    kept = {
        key: _as_text(value) if is_deep else storable(decode(value))
        for key, value, is_deep in members
    }
    return JSON.encode(_strip_members(kept)).decode()


def storable(value: Any) -> Any:
    """The value as jsonb takes it: numbers that are not `is_storable` as text, texts stripped."""
    return _storable(strip(value))


def strip(value: Any) -> Any:
    """The value as Postgres takes it in text and jsonb: without NULs and half surrogates."""
    if isinstance(value, str):
        return without_surrogates(value.replace("\x00", ""))
    if isinstance(value, dict):
        return _strip_members(value)
    if isinstance(value, list):
        return [strip(inner) for inner in value]
    return value


def _strip_members(members: dict[str, Any]) -> dict[str, Any]:
    """Keys that differ in what is taken out of them alone stay apart: U+FFFD is put behind one."""
    stripped: dict[str, Any] = {}
    for key, inner in members.items():
        name = strip(key)
        while name != key and (name in members or name in stripped):
            name += "\ufffd"
        stripped[name] = strip(inner)
    return stripped


def without_surrogates(text: str) -> str:
    """The text with U+FFFD for each half surrogate, of which UTF-8 has none."""
    return _SURROGATE.sub("\ufffd", text)


def repairs(value: Any) -> Iterator[str]:
    """What `strip` does to a value, in words."""
    texts = [*_texts(value)]
    if any("\x00" in text for text in texts):
        yield "nul stripped"
    if any(_SURROGATE.search(text) for text in texts):
        yield "half surrogate replaced"


def unstorable(value: Any, above: tuple[str, ...] = ()) -> tuple[tuple[str, ...], str] | None:
    """Where in a value there is a number that is not `is_storable`, and it; None if nowhere."""
    if isinstance(value, int | Decimal | OddNumber):
        return None if is_storable(value) else (above, str(value))
    inner: Any = ()
    if isinstance(value, dict):
        inner = ((each, (*above, key)) for key, each in value.items())
    elif isinstance(value, list):
        inner = ((each, above) for each in value)
    return next((found for each, path in inner if (found := unstorable(each, path))), None)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    odd = isinstance(value, int | Decimal | OddNumber) and not is_storable(value)
    return str(value) if odd else value


def _as_text(text: bytes) -> str:
    return without_surrogates(text.decode("utf-8", "replace").replace("\x00", ""))


@dataclass(frozen=True, slots=True)
class _Outline:
    """What the brackets of a text say. No `parts` if they do not fit, or are around nothing.

    `opening` is the first bracket, `parts` what stands between the commas inside it, `levels` how
    deep each part is, and `deepest` how deep all of it is.
    """

    opening: bytes
    parts: list[bytes]
    levels: list[int]
    deepest: int
    fits: bool


@lru_cache(maxsize=1)  # a record that is refused is looked at several times
def _outline(text: bytes) -> _Outline:
    marks: list[tuple[bytes, int]] = []
    levels: list[int] = []
    depth = deepest = within = 0
    for token in _TOKEN.finditer(text):
        one = token[0]
        if one in b"{[":
            depth += 1
            within = max(within, depth)
        if one in _ENDS if depth == 1 else one == b'"':
            marks.append((one, token.start()))
            levels.append(within - 1)
            deepest, within = max(deepest, within), depth
        if one in b"]}":
            depth -= 1
    deepest = max(deepest, within)
    opening, closing = (marks[0][0], marks[-1][0]) if marks else (b"", b"")
    between = {one for one, _ in marks[1:-1]}
    cuts = [at for _, at in marks]
    fits = (opening, closing) in ((b"{", b"}"), (b"[", b"]")) and between <= {b","}
    if not fits or text[: cuts[0]].strip(_BLANKS) or text[cuts[-1] + 1 :].strip(_BLANKS):
        return _Outline(opening, [], [], deepest, fits=False)
    parts = [text[begin + 1 : end].strip(_BLANKS) for begin, end in pairwise(cuts)]
    if parts == [b""]:
        parts = []
    return _Outline(opening, parts, levels[1:], deepest, fits=True)


def _members(record: bytes) -> list[tuple[str, bytes, bool]] | None:
    """The keys of an object, each with its value's text and whether that is too deep for it.

    None if it is no object that has any.
    """
    outline = _outline(record)
    found: list[tuple[str, bytes, bool]] = []
    for part, level in zip(outline.parts, outline.levels, strict=False):
        member = _MEMBER.fullmatch(part)
        if member is None or outline.opening != b"{":
            return None
        found.append((decode(member[1]), member[2], level >= DEEPEST))
    return found or None
