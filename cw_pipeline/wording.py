"""Numbers with their nouns, moments and spans of time, as messages and pages say them."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta


def count(number: int | None, one: str, many: str | None = None) -> str:
    """`1 row`, `12,000 rows`."""
    word = one if number == 1 else many or f"{one}s"
    return f"{number or 0:,} {word}"


def moment(at: datetime | None) -> str:
    """`2026-11-24 03:51 UTC`; empty for None."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def age(span: timedelta | None) -> str:
    """`40 s`, `12 min`, `5 h`, `3 d`: the largest unit that gives a number worth reading."""
    if span is None:
        return ""
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((172_800, "d"), (7200, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds // {'d': 86_400, 'h': 3600, 'min': 60}[unit]} {unit}"
    return f"{seconds} s"
