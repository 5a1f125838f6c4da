"""A host project's run of ours: by what the code says, whatever the environment holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.simulator import CLIENT_ID
from tests.host import definitions as host

if TYPE_CHECKING:
    import pytest

    from cw_pipeline.simulator import Simulator, Tenant
    from tests.story.conftest import Story


def test_a_run_goes_by_the_code_and_not_by_the_environment(
    story: Story, simulator: Simulator, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant.put("/service/tickets", {"id": 1, "summary": "one"})
    for name, value in (
        ("SITE", simulator.url),
        ("PUBLIC_KEY", "public"),
        ("PRIVATE_KEY", "private"),
        ("CLIENT_ID", CLIENT_ID),
        ("WAREHOUSE_DSN", story.dsn),
    ):
        monkeypatch.setenv(f"HOST_{name}", value)
        monkeypatch.setenv(f"CW_{name}", "http://nowhere.example.com")
    monkeypatch.setenv("CW_SCHEMA", "elsewhere")
    with dg.DagsterInstance.ephemeral() as instance:
        before = dg.evaluate_automation_conditions(host.defs, instance)
        done = host.defs.resolve_job_def("acme_refresh").execute_in_process(
            instance=instance, tags={"dagster/partition": "2026-11-01", "cw/trigger": "refresh"}
        )
        after = dg.evaluate_automation_conditions(host.defs, instance, cursor=before.cursor)
        shown = instance.get_latest_materialization_event(
            dg.AssetKey(["acme_reporting", "fct_ticket"])
        )
    assert done.success
    assert shown is not None
    mart = host.tickets_by_day.key  # stands on a view, and on a list
    assert (before.get_num_requested(mart), after.get_num_requested(mart)) == (0, 1)
    assert story.rows("select id from acme.service_tickets") == [{"id": 1}]
    schemas = story.rows("select schema_name from information_schema.schemata")
    assert "elsewhere" not in {row["schema_name"] for row in schemas}
