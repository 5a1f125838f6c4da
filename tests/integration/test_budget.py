"""The tenant's request budget: all processes together never send more than is set."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.errors import WarehouseError
from cw_pipeline.warehouse import Database, RequestBudget

if TYPE_CHECKING:
    from psycopg import Connection


def test_two_processes_share_one_budget(dsn: str, warehouse: Database) -> None:
    with Database(dsn, "connectwise") as other:
        budgets = [RequestBudget(warehouse, 6000), RequestBudget(other, 6000)]  # 100 a second
        grants = [budgets[at % 2].grant() for at in range(20)]
    asked = sum(grant.requests for grant in grants)
    # The last of them may go when all before it have had their time.
    assert grants[-1].wait + grants[-1].requests / 100 == pytest.approx(asked / 100, abs=0.5)
    waits = [grant.wait for grant in grants]
    assert waits == sorted(waits)


def test_a_rest_earns_a_burst_that_stays_below_a_thousand_a_minute(
    warehouse: Database, connection: Connection[Any]
) -> None:
    budget = RequestBudget(warehouse, 900)
    budget.grant()
    connection.execute("update cw_sync.request_budget set next_free = now() - interval '1 hour'")
    connection.commit()
    at_once = 0
    while (grant := budget.grant()).wait == 0:
        at_once += grant.requests
    assert 0 < at_once <= 90


def test_a_pause_that_one_process_was_told_holds_the_other(dsn: str, warehouse: Database) -> None:
    with Database(dsn, "connectwise") as other:
        mine, theirs = RequestBudget(warehouse, 6000), RequestBudget(other, 6000)
        mine.grant()
        mine.announce_pause(30)
        assert 28 < theirs.grant().wait <= 30
        mine.announce_pause(5)  # a shorter one takes nothing back
        assert theirs.grant().wait > 25


def test_a_backfill_waits_while_the_live_refresh_wants_the_budget(warehouse: Database) -> None:
    live, backfill = RequestBudget(warehouse, 600), RequestBudget(warehouse, 600, yielding=True)
    for _ in range(3):
        live.grant()  # the next one and a half seconds are given away
    started = monotonic()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(backfill.grant)
        sleep(0.3)
        assert not waiting.done()
        assert live.grant().wait > 1
        waiting.result(timeout=10)
    assert monotonic() - started > 1


def test_tenants_have_budgets_of_their_own(dsn: str, warehouse: Database) -> None:
    with Database(dsn, "second") as other:
        for _ in range(5):
            RequestBudget(warehouse, 600).grant()
        assert RequestBudget(other, 600).grant().wait == 0


def test_a_warehouse_that_fails_is_named_as_such(warehouse: Database) -> None:
    with warehouse.connection() as connection:
        connection.execute("drop table cw_sync.request_budget")
    with pytest.raises(WarehouseError):
        RequestBudget(warehouse, 600).grant()
