"""What a case has come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.bench.lab import Measurement


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. `kept` is None where nothing was promised."""

    what: str
    seen: str
    target: str = ""
    kept: bool | None = None


@dataclass(slots=True)
class CaseResult:
    """What a case has come to: its lines, and every run behind them."""

    case: str
    lines: list[Line] = field(default_factory=list)
    runs: dict[str, list[Measurement]] = field(default_factory=dict)

    def add(self, name: str, run: Measurement) -> Measurement:
        """Keeps a run under its name."""
        self.runs.setdefault(name, []).append(run)
        return run

    def rate(self, name: str) -> float:
        """The median of rows a second."""
        return median(run.rate for run in self.runs[name])

    def say(self, what: str, seen: str, target: str = "", *, kept: bool | None = None) -> None:
        """Adds a line."""
        self.lines.append(Line(what, seen, target, kept))


def cpu(runs: Sequence[Measurement]) -> str:
    """CPU seconds for a million rows, by who spent them: medians."""
    parts = []
    for whose in ("client", "postgres", "server"):
        spent = [each for run in runs if (each := run.a_million(whose)) is not None]
        parts.append(f"{median(spent):.1f}" if spent else "?")
    return f"CPU {' + '.join(parts)} s/M"
