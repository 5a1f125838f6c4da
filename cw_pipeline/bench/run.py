"""All of it: the cases in turn, in one lab."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cw_pipeline.bench.cases import CASES
from cw_pipeline.bench.lab import Lab
from cw_pipeline.bench.peers import peers
from cw_pipeline.bench.report import BenchResults
from cw_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cw_pipeline.bench.finding import CaseResult
    from cw_pipeline.bench.scale import Scale

ALL = {**CASES, "peers": peers}
"""Every case by name."""


def bench(scale: Scale, chosen: Sequence[str], tell: Callable[[str], None]) -> BenchResults:
    """Runs the chosen cases; `tell` hears what begins. Raises what stops them.

    CW_BENCH_DSN names a PostgreSQL to measure on, whose role may make databases; without it one is
    started for this run.
    """
    if unknown := [name for name in chosen if name not in ALL]:
        raise ConfigError(f"no such case: {', '.join(unknown)}. There are {', '.join(ALL)}")
    tell(f"starting PostgreSQL and a server of {scale.distinct:,} different tickets")
    with Lab(scale.distinct, os.environ.get("CW_BENCH_DSN") or None) as lab:
        results = BenchResults(scale, lab.version())
        for name, case in ALL.items():
            if name in chosen:
                tell(f"{name}: {_about(case)}")
                results.findings.append(found := case(lab, scale))
                for line in found.lines:  # the next case may fail
                    tell(f"  {line.what}: {line.seen}")
    return results


def _about(case: Callable[[Lab, Scale], CaseResult]) -> str:
    return (case.__doc__ or "").splitlines()[0].rstrip(".")
