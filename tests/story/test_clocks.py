"""Whatever clocks show, what changes is read; that they disagree is said where one looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.sync.changes import find_changes
from cw_pipeline.sync.reconcile import reconcile_all
from tests.story.test_dagster import TICKETS, checks
from tests.story.test_dagster import stage as stage  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.simulator import Simulator, Tenant
    from tests.story.conftest import Shell, Story
    from tests.story.test_dagster import Stage

PATH = "/service/tickets"
HOUR = 3600.0
Skew = float | list[float | None]

DATES: dict[str, Skew] = {
    "an hour ahead": HOUR,
    "of two servers in different time zones": [0.0, 5 * HOUR],
    "missing": [None],
    "missing now and then": [None, HOUR],
    "years behind": -30 * 365 * 24 * HOUR,
}


@pytest.fixture
def story(story: Story, tenant: Tenant) -> Story:
    """Ten tickets from yesterday, and clocks that are taken seriously."""
    story.options |= {"clock_tolerance_seconds": 60}
    for own in range(1, 11):
        tenant.put(PATH, {"id": own}, stamp=tenant.now() - timedelta(days=1))
    return story


def edit(tenant: Tenant, text: str, ids: Sequence[int] = range(1, 11)) -> None:
    for own in ids:
        tenant.edit(PATH, own, summary=text)


def summaries(story: Story) -> set[str]:
    return {row["summary"] for row in story.table(TICKETS).values()}


def test_what_changes_is_read_while_the_date_is_wrong_and_when_it_is_right_again(
    story: Story, tenant: Tenant, simulator: Simulator
) -> None:
    for name, skew in DATES.items():
        simulator.clock_skew = skew
        story.one(TICKETS)
        edit(tenant, f"while it is {name}")
        story.one(TICKETS)
        assert summaries(story) == {f"while it is {name}"}
        simulator.clock_skew = 0.0
        edit(tenant, f"after it was {name}")
        story.one(TICKETS)
        assert summaries(story) == {f"after it was {name}"}
        assert story.checkpoint(TICKETS)["watermark"] < datetime.now(UTC)


def test_what_changes_after_the_clock_of_the_source_was_set_back_replaces_what_was_stored(
    story: Story, tenant: Tenant
) -> None:
    """Whole hours: daylight saving, or a wrong time zone. `Date` and stamps both go back."""
    for ahead in (HOUR, 0.0):
        tenant.set_clock(ahead)
        edit(tenant, "before")
        story.one(TICKETS)
        tenant.set_clock(-HOUR - ahead)
        edit(tenant, "after", range(1, 6))
        assert story.one(TICKETS).rows_updated == 5
        assert summaries(story) == {"before", "after"}
        tenant.set_clock(HOUR)


def test_what_is_committed_late_is_read_though_the_clock_of_the_source_was_set_forward_meanwhile(
    story: Story, tenant: Tenant
) -> None:
    """It carries an hour-old stamp when the pass after the step is over, and is not asked for."""
    tenant.set_clock(-HOUR)
    story.one(TICKETS)
    tenant.edit(PATH, 1, visible_after=30, summary="late")
    tenant.set_clock(HOUR)
    story.one(TICKETS)
    tenant.advance(31)
    with story.engine(entities=TICKETS) as engine:
        assert find_changes(engine, [CATALOG[TICKETS]], 20).changed == (TICKETS,)
    story.one(TICKETS)
    assert story.table(TICKETS)[1]["summary"] == "late"
    with psycopg.connect(story.dsn) as connection:  # as if the overlap were over
        connection.execute("update cw_sync.checkpoint set step_until = now()")
    story.one(TICKETS)
    assert story.checkpoint(TICKETS)["step_until"] is None
    with story.engine(entities=TICKETS) as engine:
        assert find_changes(engine, [CATALOG[TICKETS]], 20).changed == ()


@pytest.mark.parametrize("noted", [True, False])
def test_a_watermark_ahead_of_the_clocks_is_pulled_back_and_what_it_hid_is_read(
    story: Story, tenant: Tenant, *, noted: bool
) -> None:
    """As a version that believed every `Date` left it: it did not note when the pass began."""
    story.one(TICKETS)
    edit(tenant, "hidden")
    with psycopg.connect(story.dsn) as connection:
        connection.execute(
            "update cw_sync.checkpoint set watermark = now() + interval '1 hour',"
            " watermark_at = case when %s then watermark_at end",
            [noted],
        )
    report = story.one(TICKETS)
    assert summaries(story) == {"hidden"}
    (warning,) = report.warnings
    assert "a clock was set back" in warning
    assert story.checkpoint(TICKETS)["watermark"] < datetime.now(UTC)
    assert story.one(TICKETS).warnings == []


def test_clocks_that_disagree_are_named_by_status_and_fail_the_check(
    stage: Stage, shell: Shell, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CW_CLOCK_TOLERANCE_SECONDS", "60")
    stage.run(mode="incremental")
    assert checks(stage.run("promises"), "clocks") == {"audit": True}
    assert "disagree:" not in shell.run("status")[1]
    simulator.clock_skew = 2 * HOUR
    stage.run(mode="incremental")
    simulator.clock_skew = 0.0
    stage.run(mode="incremental")
    result = stage.run("promises")
    assert checks(result, "clocks") == {"audit": False}
    told = "the clock of ConnectWise (`Date` of its answers) is "
    (failed,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "clocks"]
    assert told in (failed.description or "")
    said = shell.run("status")[1]
    assert told in said
    assert "NTP" in said


def test_a_warehouse_whose_clock_was_set_back_reads_and_compares_what_it_wrote_before(
    story: Story, tenant: Tenant
) -> None:
    """As rows look after a step of an hour: written at a time that is still to come."""
    notes = "service/tickets/notes"
    tenant.put(f"{PATH}/1/notes", {"id": 1, "text": "first"})
    story.sync(TICKETS, notes)
    with psycopg.connect(story.dsn) as connection:
        connection.execute("set local cw_pipeline.writes = on")
        for table, column in (
            ("connectwise.service_tickets", "_synced_at"),
            ("connectwise.service_tickets_notes", "_synced_at"),
            ("cw_sync.parent_read", "read_at"),
            ("cw_sync.lease", "expires_at"),
            ("cw_sync.lease", "taken_at"),
        ):
            later = f"update {table} set {column} = {column} + interval '1 hour'"  # noqa: S608
            connection.execute(later.encode())
    tenant.edit(f"{PATH}/1/notes", 1, text="second")
    edit(tenant, "after the step", [1])
    tenant.delete(PATH, 10)
    story.sync(TICKETS, notes)
    assert story.table(notes)[1]["text"] == "second"
    with story.engine() as engine:
        (audit,) = reconcile_all([CATALOG[TICKETS]], engine, apply_deletes=True)
    assert (audit.extra, audit.deleted, audit.proven) == (1, 1, True), audit
    assert 10 not in story.table(TICKETS)
