"""`bench`: how fast it is on this machine, beside what is promised."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cw_pipeline.cli import output

if TYPE_CHECKING:
    from cw_pipeline.bench.report import BenchResults

CASES = ("load", "quota", "idle", "growth", "small", "odd", "proof", "live", "dagster", "peers")
QUICK = 20_000
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--only", multiple=True, type=click.Choice(CASES), help="Just this case; repeatable.")
@click.option("--peers/--no-peers", default=False, help="Other tools too, in venvs of their own.")
@click.option("--quick", is_flag=True, help="A tenth of the records, and one turn.")
@click.option(
    "--minutes",
    type=float,
    default=1.0,
    show_default=True,
    help="Of edits in the case `live`, of rest in `dagster`.",
)
@click.option("--records", type=click.IntRange(min=1000), help="Of a first load. [200000]")
@click.option("--json", "to", type=FILE, help="Where the figures go. [dagster_home/bench.json]")
@click.option(
    "--plot", "picture", type=FILE, help="Where the plot of the growth goes. [bench.html]"
)
@click.option("--markdown", is_flag=True, help="Print the table as a README shows it.")
def bench(  # noqa: PLR0913 - its options
    *,
    only: tuple[str, ...],
    peers: bool,
    quick: bool,
    minutes: float,
    records: int | None,
    to: Path | None,
    picture: Path | None,
    markdown: bool,
) -> int:
    """Measure how fast it is, and what it costs.

    Made-up tickets come from a server of prepared bytes and go into a PostgreSQL that is started
    for it (or that of CW_BENCH_DSN, in databases of their own). Takes under ten minutes, --peers
    as many again; leave the machine alone meanwhile. Exit code 1: some promise was not kept.
    """
    from cw_pipeline.bench.run import bench as run  # noqa: PLC0415
    from cw_pipeline.bench.scale import Scale  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.settings import dagster_home  # noqa: PLC0415

    scale = Scale()
    if quick or records:
        scale = Scale.of(records or QUICK, repeats=1 if quick else 3)
    scale = replace(scale, live_seconds=60 * minutes)
    chosen = only or tuple(name for name in CASES if peers or name != "peers")
    started = time.monotonic()
    results = run(scale, chosen, lambda text: click.echo(f"… {text}", err=True))
    where = to or dagster_home() / "bench.json"
    results.write(where)
    _draw(results, picture, where)
    if markdown:
        click.echo(results.markdown())
    else:
        _print(results)
    click.echo(f"{time.monotonic() - started:.0f} s; every figure is in {where}", err=True)
    return 1 if any(line.kept is False for line in results.lines) else 0


def _draw(results: BenchResults, picture: Path | None, beside: Path) -> None:
    """The plot of the growth, if that was measured."""
    from cw_pipeline.bench.plot import plot  # noqa: PLC0415

    growth = [finding for finding in results.findings if finding.case == "growth"]
    if not growth and picture is not None:
        raise click.UsageError("--plot shows the case `growth`, which was not run")
    for finding in growth:
        plot(finding, picture or beside.with_suffix(".html"))


def _print(results: BenchResults) -> None:
    from cw_pipeline.bench.report import mark  # noqa: PLC0415

    rows = [(line.what, line.seen, line.target, mark(line)) for line in results.lines]
    output.table(("what ", "measured ", "target ", "kept "), rows)
    facts = results.facts()
    click.echo(f"\n{facts['machine']}, Python {facts['python']}, PostgreSQL {facts['postgres']}")
