"""Whatever happens to PostgreSQL, one quiet sync makes up for it, and nothing stays behind.

`--server-faults 40` for a long run: so many histories, each with every fault once, in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.conftest import STRUCK
from tests.chaos.histories import new_world
from tests.chaos.proof import check_nothing_is_left, check_one_quiet_sync_makes_equal
from tests.chaos.server_faults import ServerFaults, small_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cw_pipeline.dev import EmbeddedPostgres


@pytest.fixture(scope="module")
def disk(ground: EmbeddedPostgres) -> Iterator[Path | None]:
    with small_disk(ground) as disk:
        yield disk


@pytest.mark.timeout(300, func_only=True)  # or a slow start fails all tests that share the server
def test_after_any_fault_of_the_server_one_quiet_sync_leaves_equality_and_nothing_else(
    ground: EmbeddedPostgres,
    disk: Path | None,
    fault_seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    with new_world(ground, fault_seed, "small_disk" if disk else None) as world:
        faults = ServerFaults(world, disk, fault_seed)
        for strike in world.dice.sample(faults.kinds, len(faults.kinds)):
            for _ in range(4):
                world.people.create()
                world.people.edit()
            strike()
            check_one_quiet_sync_makes_equal(world)
            check_nothing_is_left(world)
        locked = {f"locked: {table}": 1 for table in world.locked}
        record_property(STRUCK, {"histories of server faults": 1, **world.struck, **locked})
