"""What twenty typical questions of dashboards take on a big tenant, as tools ask them directly.

    python -m tests.benchmarks.dashboards --tickets 1000000
    python -m tests.benchmarks.dashboards --dsn ... --published --json after.json

No import, no cache: each tile of a dashboard is a query (DirectQuery, Superset, Metabase).
The tenant is that of `reporting`. Seconds are those of the CPU that the server's process used, so
that a busy machine changes them little; a first turn, which reads from disk, is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from tests.benchmarks.reporting import build, database, process_cpu, say

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUERIES = Path(__file__).with_suffix(".sql")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question takes: CPU seconds of the server's process, and seconds on the clock."""

    name: str
    rows: int
    cpu_seconds: float
    seconds: float


def main() -> int:
    """Measures and prints."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--tickets", type=int, default=1_000_000)
    asked.add_argument("--turns", type=int, default=5)
    asked.add_argument("--dsn", help="an empty database; without it a server is started")
    asked.add_argument("--published", action="store_true", help="--dsn has the reports already")
    asked.add_argument("--json", type=Path, help="where the figures go")
    options = asked.parse_args()
    with database(options.dsn) as dsn:
        if not options.published:
            build(dsn, options.tickets, filled=False)
        answers = list(_answers(dsn, options.turns))
    if options.json:
        told = {"tickets": options.tickets, "queries": [asdict(answer) for answer in answers]}
        options.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    middle = statistics.median(answer.cpu_seconds for answer in answers)
    slowest = max(answers, key=lambda answer: answer.cpu_seconds)
    say(f"p50 {middle:.3f} s of CPU, at most {slowest.cpu_seconds:.3f} s: {slowest.name}")
    return 0


def queries() -> dict[str, str]:
    """The questions by what they ask."""
    parts = _QUERIES.read_text("utf-8").split("\n--- ")[1:]
    named = (part.partition("\n") for part in parts)
    return {name: query.strip().removesuffix(";") for name, _, query in named}


def _answers(dsn: str, turns: int) -> Iterator[Answer]:
    # On one core, so that it is one process's: tiles of a dashboard are asked at once anyway.
    with psycopg.connect(dsn, options="-c max_parallel_workers_per_gather=0") as connection:
        process = connection.info.backend_pid
        for name, query in queries().items():
            rows = len(connection.execute(query.encode()).fetchall())
            cpu, clock = process_cpu(process), time.monotonic()
            for _ in range(turns):
                connection.execute(query.encode()).fetchall()
            spent, seconds = process_cpu(process) - cpu, time.monotonic() - clock
            answer = Answer(name, rows, spent / turns, seconds / turns)
            say(
                f"{answer.cpu_seconds:8.3f} s ({answer.seconds:7.3f} clock) {rows:>8,} rows  {name}"
            )
            yield answer


if __name__ == "__main__":
    sys.exit(main())
