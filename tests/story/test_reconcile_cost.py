"""What a proof costs: a request for each thousand records, and memory that does not grow."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from cw_pipeline.catalog import CATALOG
from cw_pipeline.simulator import Simulator, Tenant
from cw_pipeline.sync.reconcile import reconcile_all
from tests.story.conftest import Story

if TYPE_CHECKING:
    from cw_pipeline.model import Audit

SOURCES = "service/sources"
STAMP = datetime(2025, 1, 1, tzinfo=UTC)


def in_step(dsn: str, count: int) -> Tenant:
    """A tenant of so many light records, and a warehouse that holds the same."""
    tenant = Tenant()
    records = tenant.stored_collection("/service/sources")
    raw = b'{"id":%d,"name":"source","_info":{"lastUpdated":"2025-01-01T00:00:00Z"}}'
    for own in range(1, count + 1):
        records.put_raw(own, int(STAMP.timestamp()), raw % own)
    with psycopg.connect(dsn) as connection:
        connection.execute("set local cw_pipeline.writes = on")  # else these are edits by hand
        connection.execute("truncate connectwise.service_sources")
        connection.execute(
            "insert into connectwise.service_sources (id, name, last_updated, _row_hash)"
            " select own, 'source', %s, 1 from generate_series(1, %s) as own",
            [STAMP, count],
        )
    return tenant


def proof(dsn: str, count: int) -> tuple[Audit, int, int]:
    """The audit of such a list, the requests it took, and its peak of memory in bytes."""
    tenant = in_step(dsn, count)
    with Simulator(tenant) as simulator, Story(dsn, simulator, tenant).engine() as engine:
        simulator.requests.clear()
        tracemalloc.start()
        (audit,) = reconcile_all([CATALOG[SOURCES]], engine)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return audit, len(simulator.requests), peak


def test_a_sweep_takes_a_request_for_each_thousand_records_and_reads_none_whole(dsn: str) -> None:
    few, _, little = proof(dsn, 4_000)
    audit, requests, peak = proof(dsn, 16_000)
    assert few.proven
    assert audit.proven
    assert (audit.source_rows, audit.warehouse_rows, audit.healed) == (16_000, 16_000, 0)
    assert requests <= 16 + 1 + 3  # the empty page; the codebase, the role's check and the count
    assert peak < 1.5 * little + 1_000_000
