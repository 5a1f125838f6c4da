"""A second process types a first load's pages; with it, or without it any more, nothing differs."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceBroken
from cw_pipeline.model import Body
from cw_pipeline.normalize import Normalizer
from cw_pipeline.passes.typist import Typist
from cw_pipeline.sync import Plan, sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.simulator import Tenant
    from cw_pipeline.simulator.query import Question
    from tests.story.conftest import Story

TICKETS = CATALOG["service/tickets"]
PATH = "/service/tickets"
SEED = 5
FIELDS = [{"id": 1, "caption": "Rack", "value": 1.50}]
PAGES = [
    [{"id": own, "summary": f"ticket {own}", "customFields": FIELDS} for own in range(1, 50)],
    [{"id": 1, "mood": "an unknown field"}, {"id": 2, "closedFlag": {}}, {"summary": "no id"}],
    [],
]


@pytest.fixture
def typist() -> Iterator[Typist]:
    """One that has started, if the machine has a core for it."""
    typist = Typist()
    typist.start()
    yield typist
    typist.close()


def started(typist: Typist) -> int:
    """The process's number, once it is there to type."""
    for _ in range(300):
        if typist.is_ready:
            break
        time.sleep(0.1)
    assert typist.is_ready
    assert typist.process_id is not None
    return typist.process_id


def body(page: list[dict[str, Any]]) -> Body:
    return Body(gzip.compress(json.dumps(page).encode()), deflated=True)


@pytest.mark.parametrize("page", PAGES)
def test_the_other_process_makes_the_same_batch(typist: Typist, page: list[dict[str, Any]]) -> None:
    started(typist)
    there = typist.batch(TICKETS, Normalizer(TICKETS), body(page), SEED)
    assert there == Normalizer(TICKETS).batch(body(page).open(), seed=SEED)


def test_pages_of_many_threads_and_entities_each_get_their_own_batch(typist: Typist) -> None:
    started(typist)
    entities = [TICKETS, CATALOG["company/companies"]]

    def typed(own: int) -> list[int]:
        entity = entities[own % 2]
        batch = typist.batch(entity, Normalizer(entity), body([{"id": own}] * 3), SEED)
        return list(batch.ids)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(typed, range(60))) == [[own] * 3 for own in range(60)]


def test_a_body_that_is_no_page_is_refused_as_it_is_here(typist: Typist) -> None:
    started(typist)
    for broken in (b'[{"id": 1', b'{"id": 1}'):
        with pytest.raises(SourceBroken) as refused:
            typist.batch(TICKETS, Normalizer(TICKETS), Body(broken), SEED)
        assert (refused.value.status, refused.value.answer) == (200, broken.decode())


def test_a_first_load_goes_on_when_the_process_is_killed(story: Story, tenant: Tenant) -> None:
    past = tenant.now() - timedelta(hours=1)
    for own in range(1, 401):
        tenant.put(PATH, {"id": own, "summary": f"ticket {own}"}, stamp=past)
    with story.engine(page_size=10) as engine:
        engine.typist.start()
        process = started(engine.typist)
        pages: list[str] = []

        def kill(path: str, _: Question) -> None:
            pages.append(path)
            if len(pages) == 12:
                os.kill(process, signal.SIGKILL)

        story.simulator.before_page(kill)
        report = sync(TICKETS, engine, Plan())
        assert not engine.typist.is_ready
    assert (report.failure, report.rows_inserted) == (None, 400)
    rows = story.table("service/tickets").values()
    assert {row["summary"] for row in rows} == {f"ticket {own}" for own in range(1, 401)}


def test_nothing_of_it_is_left_when_the_run_is_over(typist: Typist) -> None:
    process = started(typist)
    typist.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins nothing")
def test_on_a_single_core_there_is_no_second_process() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        typist = Typist()
        typist.start()
        assert typist.process_id is None
    finally:
        os.sched_setaffinity(0, cores)
