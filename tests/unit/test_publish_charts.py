"""What the page draws: the first column across, a series for each other one."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Literal

import pytest

from cw_pipeline.reporting.charts import CHARTS, COLOURS, Chart
from cw_pipeline.reporting.page import DARK, LIGHT
from cw_pipeline.reporting.tiles import Tile

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
    assert told in Tile("t", "b", "q", better=better).html([{"value": value, "before": 4}])
    assert "▲" not in Tile("t", "b", "q").html([{"value": None, "before": 4}])


def test_no_arrow_stands_between_two_figures_that_read_the_same() -> None:
    hours = Tile("t", "b", "q", "hours", "down")
    assert "as before" in hours.html([{"value": Decimal("1.94"), "before": Decimal("1.86")}])
    assert "▲" in hours.html([{"value": Decimal("1.96"), "before": Decimal("1.86")}])


def test_an_amount_has_its_currency_and_several_are_not_added_up() -> None:
    text = Tile("t", "b", "q").html(
        [
            {"currency": "EUR", "value": Decimal(300), "before": None},
            {"currency": "USD", "value": Decimal(5000), "before": Decimal(4000)},
        ]
    )
    assert "<b>USD 5,000</b><span>▲ from 4,000</span><div>EUR 300 </div>" in text


def test_each_currency_has_a_chart_of_its_own_the_larger_first() -> None:
    rows = [
        {"currency": "EUR", "age": "0-30", "time": Decimal(3)},
        {"currency": "USD", "age": "0-30", "time": Decimal(50)},
        {"currency": "USD", "age": "31-60", "time": Decimal(20)},
    ]
    (first, usd), (second, eur) = Chart("t", "b", "q", is_money=True).by_currency(rows)
    assert (first, second) == ("USD", "EUR")
    assert usd == [{"age": "0-30", "time": Decimal(50)}, {"age": "31-60", "time": Decimal(20)}]
    assert Chart("t", "b", "q", is_money=True).figure(eur, "EUR")["layout"]["yaxis"][
        "ticksuffix"
    ] == " EUR"  # fmt: skip


def test_the_month_that_is_not_over_says_so() -> None:
    shown = Chart("t", "b", "q", period="month").with_named_months(ROWS, date(2025, 2, 17))
    assert [row["month"] for row in shown] == ["Jan 2025", "Feb so far"]


def _contrast(one: str, other: str) -> float:
    """As the Web Content Accessibility Guidelines have it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("style", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_and_series_stand_out_from_their_ground(style: dict[str, str]) -> None:
    for text in ("ink", "muted", "good", "bad"):
        assert _contrast(style[text], style["panel"]) >= 4.5, text
    assert _contrast(style["muted"], style["ground"]) >= 4.5
    for colour in COLOURS:
        assert _contrast(colour, style["panel"]) >= 3, colour


def test_shares_are_shown_in_percent() -> None:
    assert Chart("t", "b", "q", percent=True).figure(ROWS)["layout"]["yaxis"]["tickformat"]


def test_every_chart_says_what_it_counts() -> None:
    assert len({chart.title for chart in CHARTS}) == len(CHARTS)
    assert all(chart.basis for chart in CHARTS)
