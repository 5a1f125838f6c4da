"""What a record said at any moment is what was kept of it, in whatever order its versions came."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cw_pipeline.catalog import CATALOG
from cw_pipeline.transform import PageReader
from cw_pipeline.warehouse import migrate, open_store
from cw_pipeline.warehouse.history import versions_query

if TYPE_CHECKING:
    from psycopg import Connection

    from cw_pipeline.warehouse import Database

TICKETS = CATALOG["service/tickets"]
ENTERED = datetime(2025, 2, 28, tzinfo=UTC)
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
STORED = (
    "select summary, last_updated, _synced_at, _deleted_at from connectwise.service_tickets"
    " where id = %s"
)
FOREVER = datetime.max.replace(tzinfo=UTC)

events = st.lists(
    st.tuples(
        st.integers(1, 2),
        st.one_of(st.just("delete"), st.tuples(st.integers(1, 5), st.integers(1, 3))),
    ),
    min_size=2,
    max_size=8,
)
"""A record and what happens to it: deleted, or read with a stamp and a text."""


@dataclass
class Past:
    """What one record said, worked out from what was seen of it."""

    ended: list[tuple[datetime, datetime, str]] = field(default_factory=list)
    since: datetime = ENTERED
    now: tuple[str, datetime, datetime, datetime | None] | None = None

    def see(self, row: tuple[str, datetime, datetime, datetime | None]) -> None:
        """The row as it is stored after an event."""
        if self.now is not None and row[2] != self.now[2] and row[3] is None:
            text, stamp, _, deleted = self.now
            later = row[1] > (deleted or stamp)
            at = max(row[1] if later else row[2], self.since)
            self.ended.append((self.since, max(deleted or at, self.since), text))
            self.since = at
        self.now = row

    def said(self, at: datetime) -> set[str]:
        """What it said then, if it was there."""
        assert self.now is not None
        every = [*self.ended, (self.since, self.now[3] or FOREVER, self.now[0])]
        return {text for start, end, text in every if start <= at < end}

    def moments(self) -> set[datetime]:
        """When anything about it changed, and just before."""
        found = {self.since, *(at for start, end, _ in self.ended for at in (start, end))}
        if self.now and self.now[3]:
            found.add(self.now[3])
        return found | {at - timedelta(microseconds=1) for at in found}


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(events)
def test_any_moment_shows_what_was_valid_then(
    warehouse: Database, connection: Connection[Any], story: list[tuple[int, Any]]
) -> None:
    connection.execute(
        "truncate connectwise.service_tickets, connectwise.service_tickets__versions"
    )
    connection.commit()
    past: dict[int, Past] = {}
    with open_store(warehouse, TICKETS, "refresh") as store:
        for own, event in story:
            if event == "delete":
                store.soft_delete([own], before=datetime.now(UTC))
            else:
                store.load(batch(own, *event), read_after=datetime.now(UTC))
            row = connection.execute(STORED, [own]).fetchone()
            connection.rollback()
            if row is not None:
                past.setdefault(own, Past()).see(row)
    tables = "connectwise.service_tickets", "connectwise.service_tickets__versions"
    versions = versions_query(TICKETS, *tables)
    for at in sorted({moment for own in past.values() for moment in own.moments()}):
        query = (
            f"select id, summary from {versions} v"  # noqa: S608
            " where _valid_from <= %s and _valid_to > %s"
        )
        found = connection.execute(query.encode(), [at, at]).fetchall()
        said = [(own, text) for own, one in past.items() for text in one.said(at)]
        assert sorted(found) == sorted(said), at


def batch(own: int, minute: int, text: int) -> Any:
    stamp = (NOON + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")
    info = f'{{"lastUpdated": "{stamp}", "dateEntered": "{ENTERED:%Y-%m-%dT%H:%M:%SZ}"}}'
    page = f'[{{"id": {own}, "summary": "text {text}", "_info": {info}}}]'
    return PageReader(TICKETS).read_page(page.encode())


def test_a_column_that_gets_another_type_gets_it_in_its_versions_too(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        for table in ("connectwise.finance_agreements", "connectwise.finance_agreements__versions"):
            connection.execute(f"alter table {table} alter bill_amount type bigint".encode())
        connection.execute(
            "insert into connectwise.finance_agreements__versions"
            " (id, bill_amount, _valid_to, _next_from)"
            " values (1, 7, now(), now())"
        )
        connection.execute("alter table connectwise.finance_agreements__versions drop column name")
    migrate(dsn, "connectwise", [CATALOG["finance/agreements"]])
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select bill_amount, pg_typeof(bill_amount)::text, name from"
            " connectwise.finance_agreements__versions"
        ).fetchall()
    assert rows == [(7, "numeric", None)]


def test_versions_that_had_a_schema_of_their_own_are_kept(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into connectwise.service_tickets__versions (id, summary, _valid_to, _next_from)"
            " values (1, 'as it was', now(), now())"
        )
        for statement in (
            "insert into cw_sync.schema_owner values ('connectwise', 'a') on conflict do nothing",
            "create schema cw_history",
            "alter table connectwise.service_tickets__versions rename to past",
            "alter table connectwise.past set schema cw_history",
            "alter table cw_history.past rename to service_tickets",
            "alter table cw_sync.checkpoint drop column step_since, drop column step_until",
            "update cw_sync.migration set version_num = '0022'",
        ):
            connection.execute(statement.encode())
    migrate(dsn, "connectwise", [TICKETS])
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select summary from connectwise.service_tickets__versions")
        assert rows.fetchall() == [("as it was",)]
