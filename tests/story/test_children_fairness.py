"""Lists below parents: a rotation takes its share and no more, resumes, and owns up to its age."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.sync.reconcile import reconcile_all
from cw_pipeline.warehouse.status import entity_statuses
from tests.chaos.doomed import sync_and_die

if TYPE_CHECKING:
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS = "service/tickets"
NOTES = "service/tickets/notes"
PATH = "/service/tickets"
PARENTS = 12
TWO_PARENTS = {"requests_per_minute": 1_000_000, "children_share": 8e-7}
"""The share of five minutes' requests that is enough for two parents of two requests each."""


@pytest.fixture
def story(story: Story, tenant: Tenant) -> Story:
    """Twelve tickets with a note each, synced two hours ago."""
    past = tenant.now() - timedelta(hours=1)
    for own in range(1, PARENTS + 1):
        tenant.put(PATH, {"id": own, "summary": "x"}, stamp=past)
        tenant.put(f"{PATH}/{own}/notes", {"id": own, "text": "first"}, stamp=past)
    story.sync(TICKETS, NOTES)
    age(story, "2 hours")
    tenant.advance(7200)
    story.simulator.requests.clear()
    return story


def age(story: Story, by: str) -> None:
    """Lets the last reading of all children lie so much further back."""
    with psycopg.connect(story.dsn) as connection:
        for place in (
            # All at once: side by side, a parent is now and then read before the one before it.
            "cw_sync.parent_read set read_at = (select min(read_at) from cw_sync.parent_read)",
            "connectwise.service_tickets set _synced_at = _synced_at",
        ):
            connection.execute(f"update {place} - %s::interval".encode(), [by])


def asked(story: Story) -> set[int]:
    """The parents whose children were asked for."""
    paths = {seen.path for seen in story.simulator.requests if seen.path.endswith("/notes")}
    return {int(path.split("/")[3]) for path in paths}


def texts(story: Story) -> dict[int, str]:
    return {own: row["text"] for own, row in story.table(NOTES).items()}


def test_changed_parents_are_read_whatever_the_share_and_the_rest_within_it(
    story: Story, tenant: Tenant
) -> None:
    for own in range(1, PARENTS + 1):
        tenant.edit(f"{PATH}/{own}/notes", own, text="second")
    tenant.edit(PATH, 12, summary="edited")
    share = {"children_max_age_hours": 1, **TWO_PARENTS}
    story.sync(TICKETS, **share)
    story.sync(NOTES, **share)
    assert asked(story) == {12, 1, 2}  # the one that changed, and the share of the rest
    story.simulator.requests.clear()
    story.sync(NOTES, **share)
    assert asked(story) == {3, 4}  # the rotation goes on where it was
    for _ in range(4):
        story.sync(NOTES, **share)
    assert set(texts(story).values()) == {"second"}


def test_a_killed_fan_out_goes_on_with_the_parents_that_are_left(
    story: Story, tenant: Tenant
) -> None:
    for own in range(1, PARENTS + 1):
        tenant.edit(f"{PATH}/{own}/notes", own, text="second")
        tenant.edit(PATH, own, summary="edited")
    story.one(TICKETS)
    options: dict[str, Any] = {
        name: value.get_secret_value() if hasattr(value, "get_secret_value") else value
        for name, value in story.settings().model_dump(exclude={"schema_"}).items()
        if value is not None
    }
    assert sync_and_die({**options, "max_concurrency": 2}, [NOTES], 60, timedelta(0)) == -9
    done = {own for own, text in texts(story).items() if text == "second"}
    assert 0 < len(done) < PARENTS
    story.simulator.requests.clear()
    story.sync(NOTES)
    assert len(asked(story)) <= PARENTS - len(done) + 2
    assert set(texts(story).values()) == {"second"}


def test_status_says_how_old_the_oldest_parents_children_are(story: Story) -> None:
    with psycopg.connect(story.dsn) as connection:
        found = {each.entity: each for each in entity_statuses(connection, "connectwise")}
        (now,) = connection.execute("select now()").fetchone() or ()
    oldest = found[NOTES].oldest_parent
    assert oldest is not None
    assert timedelta(hours=2) < now - oldest < timedelta(hours=2, minutes=10)
    assert found[TICKETS].oldest_parent is None


def test_a_reconcile_of_more_parents_than_the_share_allows_says_so_instead_of_proven(
    story: Story,
) -> None:
    with story.engine(**TWO_PARENTS) as engine:
        (audit,) = reconcile_all([CATALOG[NOTES]], engine)
    assert not audit.proven
    assert "the oldest parent's children were last read at" in audit.detail
    with story.engine() as engine:
        (audit,) = reconcile_all([CATALOG[NOTES]], engine)
    assert audit.proven
