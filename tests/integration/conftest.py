"""A warehouse to write to, and batches to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cw_pipeline.load import Warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def warehouse(dsn: str) -> Iterator[Warehouse]:
    """This test's own migrated warehouse, opened."""
    with Warehouse(dsn, "connectwise") as opened:
        yield opened
