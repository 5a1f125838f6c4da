"""The page: everything in one file, and a browser draws it."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.reporting import entities, publish, render_kpi_page
from cw_pipeline.reporting.charts import CHARTS
from cw_pipeline.reporting.page import TILES
from cw_pipeline.warehouse import migrate
from tests.story.kpis.conftest import local

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from tests.story.kpis.conftest import Books

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)


def test_the_page_needs_nothing_but_itself(books: Books) -> None:
    text = render_kpi_page(books.dsn, "connectwise")
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)\s*=", text)
    for chart in CHARTS:
        assert f"<h2>{chart.title.replace('&', '&amp;')}</h2>" in text
    for tile in TILES:
        assert f"<h3>{tile.title}</h3>" in text
    assert "Technicians last month" in text
    assert "What makes these numbers wrong" in text
    assert "time entries of members that are not listed" in text
    assert "Every change is in up to 20" in text


def test_its_first_figure_is_the_backlog_of_yesterday_and_of_a_month_before(books: Books) -> None:
    def open_at_the_end_of(at: date) -> int:
        return sum(
            local(one["_info"]["dateEntered"]) <= at
            and (not one["closedFlag"] or local(one["closedDate"]) > at)
            for one in books.service()
            if one["id"] != books.reopened  # closed once before
        )

    today = books.today()
    shown = re.search(
        r"Open tickets</h3><b>(\d+)</b><span[^>]*>. from (\d+)",
        render_kpi_page(books.dsn, "connectwise"),
    )
    assert shown
    assert [int(each) for each in shown.groups()] == [
        open_at_the_end_of(today - timedelta(days=days)) for days in (1, 31)
    ]


def test_an_empty_warehouse_has_a_page_too(dsn: str) -> None:
    migrate(dsn, "connectwise", entities())
    publish(dsn, "connectwise")
    text = render_kpi_page(dsn, "connectwise")
    assert "never: nothing was synced yet" in text
    assert "Nothing to show yet" in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_draws_every_chart(books: Books, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(render_kpi_page(books.dsn, "connectwise"), "utf-8")
    # No network inside: a page that asked for anything would lack it.
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--proxy-server=127.0.0.1:9",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=10000",
        "--dump-dom",
        (tmp_path / "report.html").as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    places = re.findall(r"class=\"chart[^\"]*\"", shown)
    assert len(places) == len(CHARTS)
    assert shown.count("js-plotly-plot") >= len(CHARTS)
    assert shown.count('class="main-svg"') >= len(CHARTS)
