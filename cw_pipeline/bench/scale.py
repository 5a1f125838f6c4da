"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: records of the first load, turns, and sizes to see how cost grows.

    `live_seconds`: how long people edit, and nobody does, in the case `live`, and `live_lists`
    what is synced there: None is what is synced by default.
    """

    records: int = 200_000
    repeats: int = 3
    growth: tuple[int, ...] = (10_000, 50_000, 200_000, 1_000_000)
    quota: int = 400_000
    odd: int = 20_000
    idle_lists: int = 60
    small_lists: int = 247
    tenant: int = 500
    distinct: int = 20_000
    live_lists: str | None = None
    live_tickets: int = 6_500  # more than are edited in ten minutes
    live_tenants: int = 50
    live_seconds: float = 60

    @classmethod
    def of(cls, records: int, repeats: int = 3) -> Scale:
        """Everything in proportion to a first load of so many records."""
        return cls(
            records=records,
            repeats=repeats,
            growth=(records // 20, records // 4, records, 5 * records),
            quota=2 * records,
            odd=records // 10,
            distinct=min(20_000, records),
        )
