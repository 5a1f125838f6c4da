"""All lists read whole, by materializing one asset that has nothing to fill in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.pipeline import Pipeline
from tests.story import test_dagster
from tests.story.test_dagster import JUNE, TICKETS, Stage, checks, key, materialized

if TYPE_CHECKING:
    from cw_pipeline.simulator import Simulator

stage = test_dagster.stage
FULL_SYNC = dg.AssetKey(["connectwise", "full_sync"])


def test_one_tick_reads_every_list_whole_and_shows_it_on_each(
    stage: Stage, simulator: Simulator
) -> None:
    first = stage.run(mode="incremental")
    assert materialized(first)["full_sync"]["lists"] == len(stage.names)  # so was the first load
    stage.story.tenant.edit("/service/tickets", 1, touch=False, summary="mended")

    made = definitions(stage.story.settings(entities=",".join(stage.names)), stage.entities)
    job = made.resolve_implicit_global_asset_job_def()
    ticked = {"asset_selection": [FULL_SYNC], "raise_on_error": False}
    read = job.execute_in_process(instance=stage.instance, **ticked)

    assert read.success
    told = materialized(read)
    assert told["full_sync"]["rows_read"] == 10
    assert {key(name).path[-1] for name in stage.names} < told.keys()
    assert all(checks(read).values())
    assert len(checks(read)) == len(stage.names)
    assert stage.story.table(TICKETS)[1]["summary"] == "mended"
    assert JUNE in stage.loaded(TICKETS)
    said = [event.event_type_value for event in read.all_events]
    assert "STEP_OUTPUT" not in said  # "Yielded output ... of type Any" is nothing to read

    # A list that another runner holds is named: it was not read whole by this run.
    with Pipeline(stage.story.settings()) as other:
        leases = other.connect([]).database.leases
        with leases.hold(TICKETS, "pass", "refresh"):
            busy = job.execute_in_process(instance=stage.instance, **ticked)
    assert busy.success
    assert "full_sync" not in materialized(busy)
    logged = [entry.user_message for entry in stage.instance.all_logs(busy.run_id)]
    assert any("no full sync: others were reading service/tickets;" in each for each in logged)

    # Where a list fails, the others show what was read; the full sync is not done.
    simulator.role.forbid("/company/companies")
    partial = job.execute_in_process(instance=stage.instance, **ticked)
    assert not partial.success
    assert "full_sync" not in materialized(partial)
    assert materialized(partial)["service_tickets"]["rows_read"] == 5
