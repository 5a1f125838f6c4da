"""Numbers with their nouns, for messages."""

from __future__ import annotations


def count(number: int | None, one: str, many: str | None = None) -> str:
    """`1 row`, `12,000 rows`."""
    word = one if number == 1 else many or f"{one}s"
    return f"{number or 0:,} {word}"
