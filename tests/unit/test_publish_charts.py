"""What the page draws: the first column across, a series for each other one."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Literal

import pytest

from cw_pipeline.reporting.charts import CHARTS, Chart
from cw_pipeline.reporting.page import Tile

ROWS = [
    {"month": date(2025, 1, 1), "won_deals": Decimal("1.23456"), "lost": 2},
    {"month": date(2025, 2, 1), "won_deals": None, "lost": 0},
]


def test_each_column_but_the_first_is_a_series_named_for_it() -> None:
    figure = Chart("t", "b", "q").figure(ROWS)
    assert [trace["name"] for trace in figure["data"]] == ["won deals", "lost"]
    assert figure["data"][0]["x"] == ["2025-01-01", "2025-02-01"]
    assert figure["data"][0]["y"] == [1.2346, None]
    assert json.loads(json.dumps(figure)) == figure


@pytest.mark.parametrize(("kind", "mode"), [("bars", "group"), ("stacked", "relative")])
def test_bars_stand_beside_or_upon_each_other(kind: str, mode: str) -> None:
    figure = Chart("t", "b", "q", kind).figure(ROWS)
    assert figure["layout"]["barmode"] == mode
    assert {trace["type"] for trace in figure["data"]} == {"bar"}


def test_rows_lie_in_the_order_of_the_answer_with_their_unit() -> None:
    figure = Chart("t", "b", "q", "rows", unit="h").figure(ROWS)
    assert figure["data"][0]["y"] == ["2025-01-01", "2025-02-01"]
    assert figure["data"][0]["x"] == [1.2346, None]
    assert figure["layout"]["yaxis"]["autorange"] == "reversed"
    assert figure["layout"]["xaxis"]["ticksuffix"] == " h"


@pytest.mark.parametrize(
    ("better", "value", "told"),
    [
        ("up", 5, "<span class=good>▲ from 4</span>"),
        ("down", 5, "<span class=bad>▲ from 4</span>"),
        ("", 3, "<span>▼ from 4</span>"),
        ("up", 4, "as before"),
    ],
)
def test_a_tile_says_whether_a_change_is_good_news(
    better: Literal["up", "down", ""], value: int, told: str
) -> None:
    assert told in Tile("t", "b", "q", better=better).html({"value": value, "before": 4})
    assert "▲" not in Tile("t", "b", "q").html({"value": None, "before": 4})


def test_shares_are_shown_in_percent() -> None:
    assert Chart("t", "b", "q", percent=True).figure(ROWS)["layout"]["yaxis"]["tickformat"]


def test_every_chart_says_what_it_counts() -> None:
    assert len({chart.title for chart in CHARTS}) == len(CHARTS)
    assert all(chart.basis for chart in CHARTS)
