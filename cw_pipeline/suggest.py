"""What a misspelled word was probably meant to be: entities, commands, options, settings."""

from __future__ import annotations

from difflib import get_close_matches
from os.path import commonprefix
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def closest(word: str, known: Iterable[str], limit: int = 1) -> list[str]:
    """The known words that `word` is most like, the likeliest first; none if none is close.

    Upper and lower case are the same. What all known words begin with, such as `CW_` or `--`, does
    not count, or every setting would be like every other.
    """
    spellings = {one.lower(): one for one in known}
    shared = commonprefix(list(spellings))  # noqa: RUF071 - letters are what is meant
    if not word.lower().startswith(shared):
        shared = ""
    rest = {spelling.removeprefix(shared): one for spelling, one in spellings.items()}
    return [rest[found] for found in get_close_matches(word.lower()[len(shared) :], rest, n=limit)]


def did_you_mean(candidates: Sequence[str]) -> str:
    """`did you mean 'service/tickets' or 'project/tickets'?`; empty without candidates."""
    if not candidates:
        return ""
    *others, last = map(repr, candidates)
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
