"""The warehouse: connections, and what may be done over them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from cw_pipeline.warehouse import state
from cw_pipeline.warehouse.entity_store import Hold
from cw_pipeline.warehouse.lease import PURPOSES, SPAN, Leases, fence, purpose_of
from cw_pipeline.warehouse.pool import Pool
from cw_pipeline.warehouse.promotions import StoredFields, entities_with_promotions
from cw_pipeline.warehouse.request_budget import RequestBudget
from cw_pipeline.warehouse.sweep import ListSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from types import TracebackType

    from psycopg import Connection

    from cw_pipeline.errors import WarehouseLocked
    from cw_pipeline.model import Entity
    from cw_pipeline.warehouse.ddl import Patience


class Warehouse:
    """One tenant's part of a Postgres database. A context manager.

    `patience` is for what other sessions have locked. Entities in `locked` could not be prepared
    because of that, so they are not to be written to: no run of them begins.
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
        self._leases = Leases(self._pool.aside, tenant, lease_span)

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leases.close()
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

    def was_readable(self, entity: Entity) -> bool:
        """Whether the entity's list was ever read to its end.

        Not what was seen last: a role that shrank would be forgiven after one night.
        """
        with self.connection() as connection:
            return state.was_readable(connection, self.tenant, entity.name)

    def sweep(self, entity: Entity) -> ListSnapshot:
        """A place for the ids and stamps of a sweep that begins now."""
        return ListSnapshot(self.transaction, self.tenant, entity)

    def budget(self, per_minute: int, *, yielding: bool = False) -> RequestBudget:
        """The tenant's request budget, shared with its other processes."""
        return RequestBudget(self.connection, self.tenant, per_minute, yielding=yielding)

    @contextmanager
    def hold(self, entity: Entity, kind: str, dagster_run_id: str | None = None) -> Iterator[Hold]:
        """The entity's lease for a run of this kind, and all that the run may write.

        Until the block or this process ends. Runs of another purpose (a backfill, a reconcile) may
        go on beside it. The hold's entity has the columns promoted until now, which stay until the
        hold ends. Raises EntityBusy, naming who holds the lease, or what `locked` has of it.
        """
        if (locked := self.locked.get(entity.name)) is not None:
            raise locked
        purpose = purpose_of(kind)
        with self._leases.held(entity.name, purpose, kind, dagster_run_id) as run_id:
            with self.connection() as connection:
                (own,) = entities_with_promotions(connection, self.tenant, [entity])
            yield Hold(self, own, run_id)

    @contextmanager
    def exclusive_fields(self, entity: Entity) -> Iterator[StoredFields]:
        """The entity's fields, in a transaction during which nobody reads it in, in any way.

        Raises EntityBusy, naming who does.
        """
        with ExitStack() as stack:
            held = [stack.enter_context(self._leases.held(entity.name, own)) for own in PURPOSES]
            with self.transaction() as connection:
                for run_id in held:
                    fence(connection, run_id)
                yield StoredFields(connection, self.tenant, entity)
