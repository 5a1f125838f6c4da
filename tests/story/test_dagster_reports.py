"""The reporting schema's tables in Dagster: they follow every refresh, whatever came of it."""

from __future__ import annotations

import dagster as dg
import pytest

from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.simulator import Fault
from tests.story import test_dagster
from tests.story.test_dagster import COMPANIES, TICKETS, Stage, key

stage = test_dagster.stage


def test_a_run_after_a_refresh_publishes_and_then_computes_only_what_changed(
    stage: Stage,
) -> None:
    stage.run()
    assert stage.run("reporting").success
    assert len(stage.story.rows("select from reporting.fct_ticket")) == 5
    stage.story.tenant.edit("/service/tickets", 3, summary="other")
    stage.run(mode="incremental", months=[test_dagster.this_month()])
    again = computed(stage.run("reporting"))
    assert again["fct_ticket_all"] == 1
    assert again["fct_time_entry_all"] == 0
    shown = stage.story.rows("select summary from reporting.fct_ticket where ticket_id = 3")
    assert shown == [{"summary": "other"}]


def test_views_show_what_they_read_down_to_the_lists(stage: Stage) -> None:
    graph = definitions(stage.story.settings(), stage.entities).resolve_asset_graph()
    view = dg.AssetKey(["reporting", "fct_ticket"])
    read = graph.get(view).parent_keys
    assert {dg.AssetKey(["reporting", "fct_ticket_all"]), key(COMPANIES)} <= set(read)
    assert key(TICKETS) in graph.get(dg.AssetKey(["reporting", "fct_ticket_all"])).parent_keys
    assert not graph.get(view).is_materializable


@pytest.mark.parametrize("end", ["success", "failure"])
def test_every_end_of_a_refresh_asks_for_it(stage: Stage, end: str) -> None:
    made = definitions(stage.story.settings(), stage.entities)
    sensor = made.resolve_sensor_def(f"reporting_after_{end}")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    if end == "failure":
        stage.story.simulator.faults.add(Fault("503", "/service/tickets"))
    result = stage.run()
    assert result.success == (end == "success")
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=stage.instance,
        dagster_run=result.dagster_run,
        dagster_event=result.all_events[-1],
    )
    assert isinstance(sensor(context), dg.RunRequest)


def computed(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    """Rows computed, by table."""
    assert result.success
    return {
        event.asset_key.path[-1]: event.step_materialization_data.materialization.metadata[
            "rows_computed"
        ].value
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
