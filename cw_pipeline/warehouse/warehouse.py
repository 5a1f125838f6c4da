"""The warehouse: connections, and what may be done over them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from cw_pipeline.warehouse.lease import SPAN, Leases, fence
from cw_pipeline.warehouse.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from types import TracebackType

    from psycopg import Connection

    from cw_pipeline.errors import WarehouseLocked
    from cw_pipeline.warehouse.ddl import Patience


class Warehouse:
    """One tenant's part of a Postgres database. A context manager.

    `patience` is for what other sessions have locked. Entities in `locked` could not be prepared
    because of that, so they are not to be written to: no run of them begins. `leases` are the
    rights to run an entity that this process has.
    """

    def __init__(
        self,
        dsn: str,
        tenant: str,
        *,
        max_connections: int = 16,
        lease_span: timedelta = SPAN,
        patience: Patience | None = None,
    ) -> None:
        self.tenant = tenant
        self.locked: dict[str, WarehouseLocked] = {}
        self._pool = Pool(dsn, max_connections, patience)
        # Not behind transactions that wait for somebody, or a lease would end meanwhile.
        self.leases = Leases(self._pool.aside, tenant, lease_span)

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leases.close()
        self._pool.__exit__(kind, error, trace)

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """An autocommit connection. Database errors come out as WarehouseError.

        Through a pooler its statements run with what the role sets by default, so what writes, or
        reads more than keys and figures, takes a transaction.
        """
        with self._pool.connection() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection[Any]]:
        """A connection inside a transaction: all of the block, or nothing of it."""
        with self._pool.transaction() as connection:
            yield connection

    @contextmanager
    def fenced(self, run_id: int) -> Iterator[Connection[Any]]:
        """A transaction of a run, during which nobody takes its lease over.

        Raises EntityBusy if somebody has.
        """
        with self.transaction() as connection:
            fence(connection, run_id)
            yield connection
