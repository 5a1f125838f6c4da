"""The moment that `as-of` is asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest

from cw_pipeline.cli.as_of import instant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2026-10-31", datetime(2026, 11, 1, 3, 59, 59, 999999, UTC)),
        ("2026-11-01", datetime(2026, 11, 2, 4, 59, 59, 999999, UTC)),  # the clocks go back
        ("2026-10-31T18:00", datetime(2026, 10, 31, 22, tzinfo=UTC)),
        ("2026-10-31T18:00:00+02:00", datetime(2026, 10, 31, 16, tzinfo=UTC)),
    ],
)
def test_a_day_means_its_local_end_and_a_time_is_local(typed: str, meant: datetime) -> None:
    assert instant(typed, "America/New_York") == meant


@pytest.mark.parametrize("typed", ["yesterday", "2026-13-01", "31.10.2026"])
def test_what_is_no_moment_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(click.BadParameter, match="such as 2026-10-31"):
        instant(typed, "UTC")
