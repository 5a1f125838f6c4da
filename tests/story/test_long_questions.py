"""Questions about many ids: posted to /search where the list has it, else split to fit a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.sync.list_reader import ListReader

if TYPE_CHECKING:
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

IDS = range(10_000_001, 10_001_201)


def longest(story: Story) -> int:
    """The length of the longest address asked for, host included."""
    return max(
        len(f"{story.simulator.url}/v2025_1/apis/3.0{seen.path}?")
        + len(urlencode(seen.query, quote_via=quote))
        for seen in story.simulator.requests
    )


def fill(tenant: Tenant, path: str) -> None:
    for own in IDS:
        tenant.put(path, {"id": own})


@pytest.mark.parametrize(
    ("name", "method", "most"), [("service/tickets", "POST", 4), ("company/companies", "GET", 20)]
)
def test_records_by_id_are_asked_for_in_few_questions_that_fit(
    story: Story, tenant: Tenant, name: str, method: str, most: int
) -> None:
    fill(tenant, f"/{name}")
    with story.engine() as engine:
        reader = ListReader(engine, CATALOG[name])
        found = [own for batch in reader.read_ids(IDS) for own in batch.ids]
        assert found == list(IDS)
        assert reader.ids_still_listed([*IDS, 5]) == set(IDS)
    asked = [seen for seen in story.simulator.requests if seen.path.startswith(f"/{name}")]
    assert {seen.method for seen in asked} == {method}
    assert longest(story) < 2000
    assert len([seen for seen in asked if "fields" not in seen.query]) <= 2 * most


def test_a_few_ids_are_asked_for_by_url_even_where_there_is_a_search(
    story: Story, tenant: Tenant
) -> None:
    tenant.put("/service/tickets", {"id": 7})
    with story.engine() as engine:
        assert ListReader(engine, CATALOG["service/tickets"]).ids_still_listed([7, 8]) == {7}
    assert {seen.method for seen in story.simulator.requests} == {"GET"}


def test_a_search_that_a_server_cuts_into_small_pages_is_still_read_to_its_end(
    story: Story, tenant: Tenant
) -> None:
    fill(tenant, "/service/tickets")
    story.simulator.max_page_size = 100
    with story.engine() as engine:
        reader = ListReader(engine, CATALOG["service/tickets"])
        assert reader.ids_still_listed(IDS) == set(IDS)
        assert [own for batch in reader.read_ids(IDS) for own in batch.ids] == list(IDS)
