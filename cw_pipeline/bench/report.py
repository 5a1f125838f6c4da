"""The benchmark's results: as a table, as JSON, and where and when they were measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cw_pipeline.paths import IS_CHECKOUT, ROOT

if TYPE_CHECKING:
    from cw_pipeline.bench.finding import CaseResult, Line
    from cw_pipeline.bench.scale import Scale


def _load_average() -> tuple[float, ...]:
    return os.getloadavg() if hasattr(os, "getloadavg") else ()


@dataclass(slots=True)
class BenchResults:
    """What was found, and the facts it depends on."""

    scale: Scale
    postgres: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    findings: list[CaseResult] = field(default_factory=list)
    load_before: tuple[float, ...] = field(default_factory=_load_average)

    @property
    def lines(self) -> list[Line]:
        """The table's lines."""
        return [line for finding in self.findings for line in finding.lines]

    def facts(self) -> dict[str, Any]:
        """The machine, the versions, and how busy it was beside us."""
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}",
            "system": platform.platform(),
            "python": platform.python_version(),
            "postgres": self.postgres,
            "msgspec": version("msgspec"),
            "psycopg": version("psycopg"),
            "commit": _commit(),
            "load_before": self.load_before,
            "load_after": _load_average(),
        }

    def plain(self) -> dict[str, Any]:
        """Everything, every run too, as JSON takes it."""
        cases = [
            {
                "case": finding.case,
                "lines": [asdict(line) for line in finding.lines],
                "runs": {n: [run.costs for run in runs] for n, runs in finding.runs.items()},
            }
            for finding in self.findings
        ]
        return {"facts": self.facts(), "scale": asdict(self.scale), "cases": cases}

    def write(self, path: Path) -> None:
        """Writes it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.plain(), indent=1) + "\n")

    def markdown(self) -> str:
        """The table as a README shows it, machine and date below."""
        facts = self.facts()
        heads = "| what | measured | target | |\n| --- | --- | --- | --- |\n"
        rows = "".join(f"| {x.what} | {x.seen} | {x.target} | {mark(x)} |\n" for x in self.lines)
        return (
            f"{heads}{rows}\n{facts['at'][:10]}, {facts['machine']}, Python {facts['python']},"
            f" PostgreSQL {facts['postgres']}; client, server and PostgreSQL share the cores."
            " `CPU a + b + c s/M`: CPU seconds of client, PostgreSQL and server for a million.\n"
        )


def mark(line: Line) -> str:
    """Whether the promise is kept."""
    return {True: "✓", False: "✗", None: ""}[line.kept]


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "memory unknown"
    return f"{size / 2**30:.0f} GB"


def _commit() -> str | None:
    if not IS_CHECKOUT:
        return None
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
