"""How cost grows with the number of records, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from cw_pipeline.bench.finding import Finding
    from cw_pipeline.bench.lab import Run


def plot(found: Finding, path: Path) -> None:
    """Draws the growth case's first loads: seconds, CPU a million rows, and memory.

    Raises ConfigError without matplotlib, which the extra `bench` brings.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("the plot needs matplotlib: pip install 'cw-pipeline[bench]'") from error
    runs = sorted((run for (run,) in _first_loads(found)), key=lambda run: run.rows)
    rows = [run.rows for run in runs]
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    seconds, cpu, memory = figure.subplots(1, 3)
    seconds.loglog(rows, [run.wall for run in runs], "o-", label="measured")
    straight = [runs[-1].wall / rows[-1] * size for size in rows]
    seconds.loglog(rows, straight, ":", color="grey", label="in proportion")
    seconds.set(title="First load", ylabel="seconds")
    seconds.legend()
    for whose in ("client", "postgres", "server"):
        spent = [run.a_million(whose) for run in runs]
        if None not in spent:
            cpu.semilogx(rows, spent, "o-", label=whose)
    cpu.set(title="CPU", ylabel="seconds for a million records", ylim=(0, None))
    cpu.legend()
    memory.semilogx(rows, [run.costs["memory"] / 1e6 for run in runs], "o-")
    memory.set(title="Memory of the worker", ylabel="MB", ylim=(0, None))
    for part in (seconds, cpu, memory):
        part.set_xlabel("records")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _first_loads(found: Finding) -> list[list[Run]]:
    return [runs for name, runs in found.runs.items() if name.isdigit()]
