"""One history after another, each from its seed: `--histories 500` for a long soak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.conftest import STRUCK
from tests.chaos.histories import history

if TYPE_CHECKING:
    from collections.abc import Callable

    from cw_pipeline.dev import EmbeddedPostgres


def test_after_any_history_one_quiet_pass_and_a_reconcile_leave_no_difference(
    ground: EmbeddedPostgres, chaos_seed: int, record_property: Callable[[str, object], None]
) -> None:
    record_property(STRUCK, {"histories": 1, **history(ground, chaos_seed)})


@pytest.mark.parametrize("seed", [pytest.param(40009, id="a night's re-read left out a record")])
def test_a_history_that_once_left_a_difference_leaves_none_any_more(
    ground: EmbeddedPostgres, seed: int, record_property: Callable[[str, object], None]
) -> None:
    record_property(STRUCK, {"histories": 1, **history(ground, seed)})
