"""The reporting schema's tables in Dagster: they follow every refresh, whatever came of it."""

from __future__ import annotations

import dagster as dg

from cw_pipeline.dagster.code_location import definitions
from tests.story import test_dagster
from tests.story.test_dagster import COMPANIES, TICKETS, Stage, key

stage = test_dagster.stage


def test_a_run_after_a_refresh_publishes_and_then_computes_only_what_changed(
    stage: Stage,
) -> None:
    stage.run()
    assert stage.run("reporting").success
    assert len(stage.story.rows("select from reporting.fct_ticket")) == 5
    assert stage.run("reporting_keys").success
    stage.story.tenant.edit("/service/tickets", 3, summary="other")
    stage.run(mode="incremental", months=[test_dagster.this_month()])
    assert shows_keys(stage, "fct_ticket")  # the result of before, though there are new rows
    again = computed(stage.run("reporting"))  # the refresh has done it itself
    assert (again["fct_ticket_all"], again["fct_time_entry_all"]) == (0, 0)
    shown = stage.story.rows("select summary from reporting.fct_ticket where ticket_id = 3")
    assert shown == [{"summary": "other"}]


def test_views_show_what_they_read_down_to_the_lists(stage: Stage) -> None:
    graph = definitions(stage.story.settings(), stage.entities).resolve_asset_graph()
    view = dg.AssetKey(["reporting", "fct_ticket"])
    read = graph.get(view).parent_keys
    assert {dg.AssetKey(["reporting", "fct_ticket_all"]), key(COMPANIES)} <= set(read)
    assert key(TICKETS) in graph.get(dg.AssetKey(["reporting", "fct_ticket_all"])).parent_keys
    assert not graph.get(view).is_materializable


def shows_keys(stage: Stage, fact: str) -> bool:
    """Whether the check `keys` passed, and the UI shows that with the latest materialization."""
    fact_key = dg.AssetKey(["reporting", fact])
    check = dg.AssetCheckKey(fact_key, "keys")
    storage = stage.instance.event_log_storage
    found = storage.get_latest_asset_check_execution_by_key([check])[check].evaluation
    (last,) = stage.instance.fetch_materializations(fact_key, limit=1).records
    assert found is not None
    target = found.target_materialization_data
    assert target is not None
    return found.passed and target.storage_id == last.storage_id


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
