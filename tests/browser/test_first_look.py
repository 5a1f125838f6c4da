"""What somebody sees who has just run `demo`: nothing that is missing, grey, amber or red."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests import processes
from tests.story.test_dagster_ui import LOADED, Dagster
from tests.story.test_demo import home as home  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1200)
LOOK = """
query { assetNodes {
  assetKey { path }
  assetMaterializations(limit: 1) { timestamp }
  assetChecksOrError { ... on AssetChecks { checks {
    name executionForLatestMaterialization { status evaluation { severity description } } } } } } }
"""


def test_the_first_look_after_the_demo_is_green_and_complete(home: Path) -> None:
    here = {"DAGSTER_HOME": str(home)}
    command = [sys.executable, "-m", "cw_pipeline"]
    demo = [*command, "demo", "--tickets", "150"]
    subprocess.run(demo, env={**os.environ, **here}, check=True, stdout=subprocess.DEVNULL)
    port = processes.free_port()
    up = [*command, "up", "--demo", "--no-live", "--port", str(port)]
    with processes.running(up, home / "up.log", **here):
        ui = Dagster(f"http://127.0.0.1:{port}", home / "up.log")
        ui.eventually(lambda: ui.ask(LOADED)["locationEntries"][0]["loadStatus"] == "LOADED", 600)
        nodes: list[dict[str, Any]] = ui.ask(LOOK)
    assert len(nodes) > 190
    missing = ["/".join(n["assetKey"]["path"]) for n in nodes if not n["assetMaterializations"]]
    assert missing == []
    checks = [
        (
            "/".join(node["assetKey"]["path"]),
            check["name"],
            check["executionForLatestMaterialization"],
        )
        for node in nodes
        for check in node["assetChecksOrError"].get("checks", [])
    ]
    assert len(checks) > 550
    assert [check for check in checks if not check[2] or check[2]["status"] != "SUCCEEDED"] == []
