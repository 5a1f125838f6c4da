"""How callbacks stand: whether they can arrive, whether they do, and how much they bring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.callbacks import CALLBACK_TYPES
from cw_pipeline.paths import cli_command
from cw_pipeline.wording import count, moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from psycopg import Connection

_ENOUGH = 20  # edits in a day, from which on the share that callbacks brought means something
_HALF = 0.5

# A first load is no edit: passes count from the first record on that a hint brought.
_STANDING = """
with state as (
    select receiver_at, receiver_at > now() - interval '2 minutes' as listens, looked_at, to_do
    from cw_sync.callback_state where tenant = %(tenant)s
), runs as (
    select kind, started_at, rows_inserted + rows_updated as edits from cw_sync.run
    where tenant = %(tenant)s and entity = any(%(entities)s) and kind in ('hint', 'refresh')
        and started_at > now() - interval '1 day'
)
select state.*,
    (select last_at from cw_sync.callback_count where tenant = %(tenant)s and outcome = 'taken'),
    (select coalesce(sum(edits), 0) from runs where kind = 'hint'),
    (select coalesce(sum(edits), 0) from runs where kind = 'refresh'
        and started_at > (select min(started_at) from runs where kind = 'hint')),
    (select coalesce(jsonb_object_agg(outcome, times), '{}') from cw_sync.callback_count
        where tenant = %(tenant)s and outcome not in ('taken', 'not synced')
        and last_at > now() - interval '1 day')
from (select) one left join state on true
"""
_NOTE = """
insert into cw_sync.callback_state as s (tenant, looked_at, to_do) values (%s, now(), %s)
on conflict (tenant) do update set looked_at = now(), to_do = excluded.to_do
"""


@dataclass(frozen=True, slots=True)
class CallbackStanding:
    """How a tenant's callbacks stand.

    `receiver_at` and `looked_at`: when a receiver last said that it listens, and when the
    registrations were last looked at; None if never. `to_do`: what is not registered as it should
    be. `by_hint` and `by_pass`: edits of the last day by what brought them. `refused`: how often
    for which reason, of the reasons that occurred in the last day.
    """

    receiver_at: datetime | None
    listens: bool
    looked_at: datetime | None
    to_do: str
    last_taken_at: datetime | None
    by_hint: int
    by_pass: int
    refused: Mapping[str, int]

    @property
    def faults(self) -> list[str]:
        """What keeps callbacks from bringing edits, each with what to do."""
        found = []
        if not self.listens:
            since = f" since {moment(self.receiver_at)}" if self.receiver_at else ""
            found.append(f"no receiver listens{since}: start `{cli_command('live')}`")
        if self.to_do:
            found.append(f"not registered as needed ({self.to_do}): {_apply()}")
        edits = self.by_hint + self.by_pass
        if edits >= _ENOUGH and self.by_hint < _HALF * edits:
            found.append(
                f"callbacks brought less than half of the edits: see whether ConnectWise reaches"
                f" CW_CALLBACK_URL, and `{cli_command('callbacks', 'plan')}`"
            )
        return found

    @override
    def __str__(self) -> str:
        edits = self.by_hint + self.by_pass
        parts = [f"last one {moment(self.last_taken_at)}" if self.last_taken_at else "none yet"]
        if edits:
            parts.append(f"{self.by_hint} of {count(edits, 'edit')} in a day came by callbacks")
        if self.refused:
            each = ", ".join(f"{reason} {n}" for reason, n in sorted(self.refused.items()))
            parts.append(f"refused: {each}")
        return "; ".join([*self.faults, *parts])


def callback_standing(connection: Connection[Any], tenant: str) -> CallbackStanding:
    """How the tenant's callbacks stand in the warehouse."""
    # Lists below a parent are read by passes, also where callbacks said that they are due.
    entities = [
        name for lists in CALLBACK_TYPES.values() for name in lists if CATALOG[name].parent is None
    ]
    row = connection.execute(_STANDING, {"tenant": tenant, "entities": entities}).fetchone()
    assert row is not None
    receiver_at, listens, looked_at, to_do, taken_at, by_hint, by_pass, refused = row
    return CallbackStanding(
        receiver_at,
        bool(listens),
        looked_at,
        to_do or "",
        taken_at,
        int(by_hint),
        int(by_pass),
        refused,
    )


def note_registrations(connection: Connection[Any], tenant: str, to_do: str) -> None:
    """Stores what of the registrations is not as it should be; nothing if all are."""
    connection.execute(_NOTE, [tenant, to_do])


def _apply() -> str:
    return f"`{cli_command('callbacks', 'apply')}` does that"
