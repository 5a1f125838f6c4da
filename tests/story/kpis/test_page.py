"""The page: everything in one file, and a browser draws it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.reporting import entities, publish
from cw_pipeline.reporting.charts import CHARTS
from cw_pipeline.reporting.page import render_kpi_page
from cw_pipeline.reporting.tiles import TILES
from cw_pipeline.warehouse import migrate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.story.kpis.conftest import Books

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)


def test_the_page_needs_nothing_but_itself(books: Books) -> None:
    text = render_kpi_page(books.dsn, "connectwise")
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)\s*=", text)
    for chart in CHARTS:
        assert f"<h2>{escape(chart.title)}" in text
    for tile in TILES:
        assert f"<h3>{tile.title}</h3>" in text
    assert "Service report: demo" in text
    assert "Days and times are those of America/New_York" in text
    assert text.index("Breached now, or due within four hours") < text.index("Tickets in and out")
    assert text.count("<summary>Figures</summary>") == text.count("class=chart id=")
    assert "Recurring revenue</h3><b>US Dollars" in text or "Recurring revenue</h3><b>USD" in text
    assert "Technicians last month" in text
    assert "What makes these numbers wrong" in text
    assert "time entries of members that are not listed" in text
    assert "Every change is in up to 20" in text


def test_its_first_figures_are_of_one_population(books: Books) -> None:
    """Open, breached, unassigned and untouched: service tickets that are open now."""
    text = render_kpi_page(books.dsn, "connectwise")
    shown = {
        title: int(re.search(rf"{title}</h3><b>(\d+)</b>", text)[1])  # type: ignore[index]
        for title in ("Open tickets", "Breached now", "Unassigned", "Untouched")
    }
    now = datetime.now(UTC)
    opened = [one for one in books.service() if not one["closedFlag"]]
    times = books.entries_by_ticket()
    late = {"NoEscalation", "Waiting Customer"}
    assert shown["Open tickets"] == len(opened)
    backlog = text[text.index("<h2>Backlog by age") :]
    last = backlog[: backlog.index("</table>")].rpartition("<tr>")[2]
    ages = re.findall(r"<td class=number>(\d+)", last)  # none of an age that no ticket has
    assert sum(map(int, ages)) == len(opened), "the last bar is now"
    assert shown["Unassigned"] == sum(
        "owner" not in one and not one.get("resources") for one in opened
    )
    assert shown["Breached now"] == sum(
        one["status"]["name"] not in late
        and any(
            one.get(goal, "9") < now.isoformat() and date not in one
            and not any(one.get(later) for later in after)
            for goal, date, after in _STAGES
        )
        for one in opened
    )  # fmt: skip
    untouched = 0
    for one in opened:
        touched = [one["_info"]["lastUpdated"], *(e["timeStart"] for e in times[one["id"]])]
        untouched += now - max(map(datetime.fromisoformat, touched)) > timedelta(days=7)
    assert shown["Untouched"] == untouched


_STAGES = (
    ("respondByGoalUTC", "dateResponded", ("dateResplan", "dateResolved")),
    ("resplanGoalUTC", "dateResplan", ("dateResolved",)),
    ("resolutionGoalUTC", "dateResolved", ()),
)


def test_an_empty_warehouse_has_a_page_too(dsn: str) -> None:
    migrate(dsn, "connectwise", entities())
    publish(dsn, "connectwise")
    text = render_kpi_page(dsn, "connectwise")
    assert "Nothing was synced yet" in text
    assert "Nothing to show yet" in text


_WATCH = """
<script>addEventListener("load", () => setTimeout(() => {
  const page = document.querySelector("iframe").contentDocument;
  const width = page.documentElement.clientWidth;
  const wide = [...page.querySelectorAll("section, .tile, .legend, .chart, .chart .main-svg, b")]
    .filter(each => each.getBoundingClientRect().right > width + 1);
  document.title = JSON.stringify({
    width: width,
    scrolls: page.documentElement.scrollWidth,
    drawn: page.querySelectorAll(".chart .main-svg").length > 0
      && [...page.querySelectorAll(".chart")].every(each => each.querySelector(".main-svg")),
    charts: page.querySelectorAll(".chart").length,
    broken: [...page.querySelectorAll("td")].filter(cell => {
      const text = page.createRange();
      text.selectNodeContents(cell);
      return /^\\d{4}-\\d\\d-\\d\\d/.test(cell.textContent) && text.getClientRects().length > 1;
    }).map(cell => cell.textContent),
    wide: wide.map(each => each.outerHTML.slice(0, 80)),
  });
}, 4000));</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_phone_draws_every_chart_and_nothing_overflows(books: Books, tmp_path: Path) -> None:
    text = render_kpi_page(books.dsn, "connectwise")
    inside = f"<iframe srcdoc='{escape(text)}' style='width:400px;height:5000px'></iframe>"
    (tmp_path / "phone.html").write_text(f"<!doctype html>{inside}{_WATCH}", "utf-8")
    # No network inside: a page that asked for anything would lack it.
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--proxy-server=127.0.0.1:9",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=15000",
        "--dump-dom",
        (tmp_path / "phone.html").as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    (title,) = re.findall(r"<title>(\{.*?\})</title>", shown)
    seen = json.loads(unescape(title))
    assert seen["drawn"]
    assert seen["charts"] == text.count("class=chart id=") > 10
    assert (seen["width"], seen["scrolls"]) == (400, 400)
    assert seen["wide"] == []
    assert seen["broken"] == []
    assert re.search(r"<td>20\d\d-\d\d-\d\d \d\d:\d\d</td>", text), "dates to break"
    assert len(text) < 2_500_000, "it goes by mail"
