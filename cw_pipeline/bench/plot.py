"""How cost grows with the number of records, as a page that needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cw_pipeline.bench.finding import CaseResult
    from cw_pipeline.bench.lab import Measurement

_PARTS = ("First load, seconds", "CPU seconds for a million records", "Memory of the worker, MB")


def plot(found: CaseResult, path: Path) -> None:
    """Draws the growth case's first loads: seconds, CPU a million rows, and memory."""
    from plotly.subplots import make_subplots  # type: ignore[import-untyped] # noqa: PLC0415 - slow

    runs = sorted(_first_loads(found), key=lambda run: run.rows)
    rows = [run.rows for run in runs]
    figure = make_subplots(cols=len(_PARTS), subplot_titles=_PARTS)
    for part, name, values in _series(runs):
        figure.add_scatter(x=rows, y=values, name=name, mode="lines+markers", row=1, col=part)
    figure.update_xaxes(type="log", dtick=1, title="records")
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(type="log", dtick=1, col=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(path, include_plotlyjs=True)


def _series(runs: list[Measurement]) -> list[tuple[int, str, list[float]]]:
    """Which part a line belongs to, its name, and its values."""
    last = runs[-1]
    found = [
        (1, "measured", [run.wall for run in runs]),
        (1, "in proportion", [last.wall / last.rows * run.rows for run in runs]),
        (3, "memory", [run.costs["memory"] / 1e6 for run in runs]),
    ]
    for whose in ("client", "postgres", "server"):
        spent = [each for run in runs if (each := run.a_million(whose)) is not None]
        if len(spent) == len(runs):
            found.append((2, whose, spent))
    return found


def _first_loads(found: CaseResult) -> list[Measurement]:
    return [run for name, runs in found.runs.items() if name.isdigit() for run in runs]
