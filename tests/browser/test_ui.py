"""The walk of a data engineer through the UI, in a browser; it takes the documents' pictures.

Opt-in: it runs where Playwright (the extra `ui`) and Chromium are installed, and is skipped
elsewhere. `SCREENSHOTS=1` writes the pictures; without it they go to a temporary folder.
"""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline import composition
from cw_pipeline.dagster.in_process import (
    record_reports,
    run_recorded_reconcile,
    run_recorded_sync,
)
from cw_pipeline.dev import services
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.reporting import kept_tables
from cw_pipeline.settings import Settings
from cw_pipeline.simulator import CLIENT_ID, Simulator, seed_tenant, working_day
from cw_pipeline.sync.entity_sync import SyncRequest
from tests.story.test_dagster_ui import CHECKS, LOADED, TICKETS, Dagster, dagster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.simulator import Tenant

playwright = pytest.importorskip("playwright.sync_api", reason="the extra `ui` is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.timeout(2400),
]
START = datetime(2025, 1, 1, tzinfo=UTC)
BACKFILLS = """
query { partitionBackfillsOrError { ... on PartitionBackfills { results { id status } } } }
"""
LISTS = (
    "service/tickets",
    "service/boards",
    "service/boards/statuses",
    "company/companies",
    "company/contacts",
    "time/entries",
    "system/members",
)
LATEST = """
query { runsOrError(limit: 20) { ... on Runs { results { id status assetSelection { path }
  assetMaterializations { partition } } } } }
"""
CHECKED = dict.fromkeys(
    ("sync_ok", "fresh", "dead_letters", "proven", "count", "drift"), "SUCCEEDED"
)
FULL_SYNC = ["connectwise", "full_sync"]
AUTOMATION = """
query { repositoryOrError(repositorySelector: {repositoryName: "__repository__",
                                               repositoryLocationName: "cw_pipeline"}) {
  ... on Repository { schedules { name } sensors { name } } } }
"""
PATIENCE = 600  # seconds, on a busy machine
SIZE = {"width": 1440, "height": 900}
QUIET = ["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"]


@pytest.fixture
def tenant() -> Tenant:
    """A made-up tenant."""
    return seed_tenant(tickets=300)


@pytest.fixture
def tenant_settings(tenant: Tenant, dsn: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Its settings, as the environment gives them."""
    with Simulator(tenant) as simulator:
        settings = {
            "site": simulator.url,
            "company": "demo",
            "public_key": "public",
            "private_key": "private",
            "client_id": CLIENT_ID,
            "warehouse_dsn": dsn,
            "requests_per_minute": "60000",
            "entities": ",".join(LISTS),
            "backfill_start": f"{START:%Y-%m-%d}",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(f"CW_{name.upper()}", value)
            patch.setenv("DAGSTER_HOME", str(tmp_path))
            _history(tenant)
            yield settings


def _history(tenant: Tenant) -> None:
    """What `demo` does, with a few more refreshes for the UI to plot."""
    services.prepared_home()
    settings = Settings.read()
    entities = composition.entities(settings)
    for day in range(2):
        if day:
            working_day(tenant, seed=day)
        run_recorded_sync(settings, entities, SyncRequest(), lambda _: None)
    run_recorded_reconcile(settings, entities, lambda _: None)
    pipeline = Pipeline(settings)
    pipeline.publish()
    names = [entity.name for entity in entities]
    record_reports(settings, pipeline.refresh_tables(kept_tables()), names, judge=True)


@pytest.fixture
def ui(tenant_settings: dict[str, str], tmp_path: Path) -> Iterator[Dagster]:
    """Dagster on that tenant."""
    with dagster(tmp_path, **tenant_settings) as running:
        running.eventually(
            lambda: running.ask(LOADED)["locationEntries"][0]["loadStatus"] == "LOADED", PATIENCE
        )
        yield running


@pytest.fixture
def page(ui: Dagster) -> Iterator[Any]:
    """A browser's page that starts at the UI."""
    playwright.expect.set_options(timeout=PATIENCE * 1000)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *root])
        page = browser.new_page(viewport=SIZE, base_url=ui.url)
        page.set_default_timeout(PATIENCE * 1000)
        yield page
        browser.close()


class Album:
    """Where the pictures go."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page, self.folder = page, folder

    def take(self, name: str) -> None:
        """Takes a picture of what is shown, when it has come to rest."""
        self.page.wait_for_timeout(1500)
        path = self.folder / f"{name}.png"
        self.page.screenshot(path=path)
        assert path.stat().st_size < 300_000


@pytest.fixture
def album(page: Any, tmp_path: Path) -> Album:
    """The documents' pictures if they are asked for, else some that are thrown away.

    What no document shows is not kept.
    """
    kept = Path(__file__).parent / "screenshots"
    return Album(page, kept if os.environ.get("SCREENSHOTS") else tmp_path)


def test_from_the_assets_to_a_refresh_a_backfill_and_the_plots(
    page: Any, ui: Dagster, album: Album, tenant: Tenant
) -> None:
    see = playwright.expect
    now = datetime.now(UTC)
    months = (now.year - START.year) * 12 + now.month - START.month + 1

    page.goto("/assets")
    see(page.get_by_text(f"{months} partitions").first).to_be_visible()

    assert _results(ui) == CHECKED
    page.goto("/assets/connectwise/service_tickets")
    see(page.get_by_text("Service desk tickets").first).to_be_visible()
    see(page.get_by_text("Row count").first).to_be_visible()
    see(page.get_by_text("non-nullable").first).to_be_visible()  # the columns and their types
    album.take("asset")

    tenant.put("/service/tickets", {"id": 9001, "summary": "new"})
    _materialize_latest(page, ui, f"{now:%Y-%m}-01")
    assert ui.eventually(lambda: _results(ui) == CHECKED)  # nothing says "not evaluated"
    page.goto("/assets/connectwise/service_tickets")
    see(page.get_by_text("Row count").first).to_be_visible()
    album.take("asset-after")

    page.goto("/assets/connectwise/service_tickets?view=checks")
    page.get_by_text("sync_ok").first.click()
    see(page.get_by_text("rows_updated").first).to_be_visible()
    see(page.get_by_text("rows_updated")).to_have_count(2)  # in the table, and over its plot
    page.get_by_text("rows_inserted").last.scroll_into_view_if_needed()
    page.mouse.move(900, 500)
    page.mouse.wheel(0, 350)
    album.take("plots")

    page.goto("/assets/connectwise/service_tickets?view=partitions")
    see(page.get_by_text(f"Materialized ({months})")).to_be_visible()
    page.get_by_role("button", name=re.compile("Materialize")).first.click()
    page.get_by_text("Show all partitions").click()
    page.get_by_role("button", name="All", exact=True).last.click()
    see(page.get_by_text(f"{months} partitions", exact=True)).to_be_visible()
    album.take("backfill")

    page.get_by_role("button", name="Launch backfill").click()
    backfill = ui.eventually(lambda: ui.ask(BACKFILLS)["results"])[0]
    runs = ui.eventually(
        lambda: _ended(ui.runs("dagster/backfill", backfill["id"]), -(-months // 12)), PATIENCE
    )
    assert {run["status"] for run in runs} == {"SUCCESS"}
    page.goto(f"/runs/{runs[0]['id']}")
    see(page.get_by_text("sync").first).to_be_visible()
    see(page.get_by_text("Yielded output")).to_have_count(0)

    # Everything whole: one asset, without months or options.
    page.goto("/assets/connectwise/full_sync")
    page.get_by_role("button", name=re.compile("Materialize")).first.click()
    (full,) = ui.eventually(lambda: _ended(_runs_of(ui, FULL_SYNC), 1), PATIENCE)
    assert full["status"] == "SUCCESS"
    assert len(full["assetMaterializations"]) > len(LISTS)

    page.goto("/automation")
    known = ui.ask(AUTOMATION)
    names = [each["name"] for kind in ("schedules", "sensors") for each in known[kind]]
    for name in names:
        see(page.get_by_text(name, exact=True).first).to_be_visible()
    see(page.locator("[class*=witch]")).to_have_count(len(names))


def _materialize_latest(page: Any, ui: Dagster, month: str) -> None:
    """What somebody does who wants it now: the dialog opens without a month, one click chooses."""
    page.get_by_role("button", name=re.compile("Materialize")).first.click()
    page.get_by_role("button", name="Latest", exact=True).click()
    page.get_by_role("button", name="Launch 1 run").click()
    (run,) = ui.eventually(lambda: _ended(_runs_of(ui, TICKETS), 1), PATIENCE)
    assert run["status"] == "SUCCESS"
    assert {"partition": month} in run["assetMaterializations"]


def _results(ui: Dagster) -> dict[str, str]:
    """What the page of tickets says of each check with the latest materialization."""
    checks = ui.ask(CHECKS, key={"path": TICKETS})["assetChecksOrError"]["checks"]
    return {
        check["name"]: (check["executionForLatestMaterialization"] or {}).get("status", "")
        for check in checks
    }


def _runs_of(ui: Dagster, key: list[str]) -> list[dict[str, Any]]:
    """The runs that somebody asked for by materializing this asset alone."""
    runs = ui.ask(LATEST)["results"]
    return [run for run in runs if [each["path"] for each in run["assetSelection"] or ()] == [key]]


def _ended(runs: list[dict[str, Any]], expected: int) -> list[dict[str, Any]]:
    """The runs, once so many have ended."""
    done = [run for run in runs if run["status"] in ("SUCCESS", "FAILURE")]
    return done if len(done) == expected else []
