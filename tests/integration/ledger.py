"""A warehouse that records are merged into as a sync merges them, without a tenant to ask."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from cw_pipeline.catalog import CATALOG
from cw_pipeline.transform import PageReader
from cw_pipeline.warehouse import Database, EntityStore, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ledger:
    """A warehouse that records are merged into as a sync merges them."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def merge(self, entity: str, *records: dict[str, Any], parent_id: int | None = None) -> None:
        """Stores records, the newest of each."""
        page = json.dumps(records).encode()
        with self._store(entity) as store:
            batch = PageReader(CATALOG[entity]).read_page(page, parent_id=parent_id)
            assert not batch.rejects, batch.rejects
            store.load(batch, parent_id=parent_id, read_after=datetime.now(UTC))

    def delete(self, entity: str, own: int, parent_id: int | None = None) -> None:
        """Soft-deletes a record as a reconcile does."""
        with self._store(entity) as store:
            assert store.soft_delete([own], parent_id, before=datetime.now(UTC)) == 1

    @contextmanager
    def _store(self, entity: str) -> Iterator[EntityStore]:
        with (
            Database(self.dsn, "connectwise") as opened,
            open_store(opened, CATALOG[entity], "refresh") as store,
        ):
            yield store

    def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What the warehouse answers."""
        with psycopg.connect(self.dsn, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), values).fetchall()


def stamp() -> str:
    """Now, as a record says when it was updated last."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
