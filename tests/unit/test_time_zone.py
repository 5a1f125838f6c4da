"""A tenant's time zone is found by what ConnectWise calls it."""

from __future__ import annotations

import pytest

from cw_pipeline.connectwise.time_zone import same_clock, zone_named


@pytest.mark.parametrize(
    ("name", "offset", "zone"),
    [
        ("US Eastern", -5, "America/New_York"),
        ("(GMT-05:00) Eastern Time (US & Canada)", -4, "America/New_York"),
        ("Central Standard Time", -6, "America/Chicago"),
        ("(GMT-07:00) Arizona", -7, "America/Phoenix"),
        ("Zürich", 1, "Europe/Zurich"),
        ("(UTC) Dublin, Edinburgh, Lisbon, London", 0, "Europe/London"),
        ("W. Europe Standard Time", 1, "Europe/Berlin"),
        ("(GMT+10:00) Canberra, Melbourne, Sydney", 10, "Australia/Sydney"),
        ("E. Australia, Brisbane", 10, "Australia/Brisbane"),
        ("(UTC+05:30) Chennai, Kolkata, Mumbai, New Delhi", 5.5, "Asia/Kolkata"),
        ("America/Toronto", None, "America/Toronto"),
        ("Eastern Time", None, "America/New_York"),
    ],
)
def test_a_zone_is_known_by_its_names_and_its_offset(
    name: str, offset: float | None, zone: str
) -> None:
    found = zone_named(name, offset)
    assert found is not None
    assert same_clock(found, zone)


@pytest.mark.parametrize(("name", "offset"), [("Headquarters", 3), ("Eastern", 3), ("", None)])
def test_what_cannot_be_told_is_not_guessed(name: str, offset: float | None) -> None:
    assert zone_named(name, offset) is None


def test_zones_are_compared_by_their_clocks_not_by_their_names() -> None:
    assert same_clock("America/Toronto", "America/New_York")
    assert not same_clock("America/Phoenix", "America/Denver")  # no summer time
    assert not same_clock("UTC", "Europe/London")
