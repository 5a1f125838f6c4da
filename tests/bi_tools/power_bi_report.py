"""The report of the Power BI project in PBIR: four pages of figures, a trend, bars and a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.bi_tools.dashboards import BARS, CARDS, TABLES, TITLES, TRENDS
from tests.bi_tools.metrics import PAGES, metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCHEMAS = "https://developer.microsoft.com/json-schemas/fabric"
METRICS_TABLE = "Metrics"
"""The table of the model that has the measures."""


def pages(definition: Path) -> dict[Path, str]:
    """The files of the report, by path."""
    made = {
        definition / "version.json": to_json(
            "item/report/definition/versionMetadata/1.0.0", version="2.0.0"
        ),
        definition / "report.json": to_json(
            "item/report/definition/report/3.0.0",
            themeCollection={},
            settings={"useStylableVisualContainerHeader": True, "useEnhancedTooltips": True},
        ),
        definition / "pages" / "pages.json": to_json(
            "item/report/definition/pagesMetadata/1.0.0",
            pageOrder=list(PAGES),
            activePageName=PAGES[0],
        ),
    }
    for page in PAGES:
        folder = definition / "pages" / page
        made[folder / "page.json"] = to_json(
            "item/report/definition/page/2.0.0",
            name=page,
            displayName=TITLES[page],
            displayOption="FitToPage",
            height=720,
            width=1280,
        )
        for at, visual in enumerate(_visuals(page)):
            text = {"name": f"{page}_{at}", **visual}
            text["position"] |= {"z": at, "tabOrder": at}
            made[folder / "visuals" / text["name"] / "visual.json"] = to_json(
                "item/report/definition/visualContainer/2.0.0", **text
            )
    return made


def _visuals(page: str) -> Iterator[dict[str, Any]]:
    months = _field("dim_date", "month_starts_on")
    yield _visual("slicer", (20, 20, 180, 90), {"Values": [_field("dim_date", "year")]})
    cards = CARDS[page]
    width = 1060 // len(cards)
    for at, name in enumerate(cards):
        place = (210 + at * width, 20, width - 10, 90)
        yield _visual("card", place, {"Values": [_metric(name)]})
    yield _visual(
        "lineChart",
        (20, 120, 800, 280),
        {"Category": [months], "Y": [_metric(name) for name in TRENDS[page]]},
    )
    measure, table, column = BARS[page]
    yield _visual(
        "clusteredBarChart",
        (830, 120, 430, 280),
        {"Category": [_field(table, column)], "Y": [_metric(measure)]},
    )
    table, column, names = TABLES[page]
    values = [_field(table, column), *map(_metric, names)]
    yield _visual("tableEx", (20, 410, 1240, 290), {"Values": values})


def _visual(
    kind: str, place: tuple[int, int, int, int], roles: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    x, y, width, height = place
    state = {role: {"projections": fields} for role, fields in roles.items()}
    return {
        "position": {"x": x, "y": y, "height": height, "width": width},
        "visual": {
            "visualType": kind,
            "query": {"queryState": state},
            "drillFilterOtherVisuals": True,
        },
    }


def _field(table: str, column: str, kind: str = "Column") -> dict[str, Any]:
    return {
        "field": {kind: {"Expression": {"SourceRef": {"Entity": table}}, "Property": column}},
        "queryRef": f"{table}.{column}",
        "nativeQueryRef": column,
    }


def _metric(name: str) -> dict[str, Any]:
    metric = metrics()[name]
    return _field(METRICS_TABLE, metric.label, "Measure")


def to_json(schema: str, **text: Any) -> str:
    """A file of that schema of Microsoft's."""
    made = {"$schema": f"{_SCHEMAS}/{schema}/schema.json", **text}
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"
