"""What the terminal of `up` shows of a run that does not end well."""

from __future__ import annotations

import logging
import runpy
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from cw_pipeline.cli import dagster_processes

if TYPE_CHECKING:
    from collections.abc import Iterator

REASON = "1 of 2 entities failed. service/boards: ConnectWise answered 503"


@dg.op
def says_why() -> None:
    raise dg.Failure(REASON, metadata={"service/boards": "GET /service/boards: 503"})


@dg.op
def breaks() -> None:
    raise RuntimeError("the step broke") from ValueError("what nobody foresaw\nand more of it")


@dg.op
def is_stopped() -> None:
    raise dg.DagsterExecutionInterruptedError


@dg.op
def says_more() -> None:
    dg.get_dagster_logger().error("the warehouse is locked")


@pytest.fixture
def process_of_a_run() -> Iterator[None]:
    """This process as that of a run of `up`, where multiprocessing runs the main module again."""
    before = logging.getLoggerClass()
    runpy.run_path(dagster_processes.__file__, run_name="__mp_main__")
    yield
    logging.setLoggerClass(before)


def run(op: dg.OpDefinition) -> str:
    """Executes a job of this op: the id of its run."""
    job = dg.GraphDefinition(name="refresh", node_defs=[op]).to_job()
    return job.execute_in_process(raise_on_error=False).run_id


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the terminal shows of errors, without the time."""
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "Stack Trace" not in said
    return [line.partition(" - ERROR - ")[2] for line in said.splitlines() if " - ERROR - " in line]


@pytest.mark.usefixtures("process_of_a_run")
@pytest.mark.parametrize(
    ("op", "why"), [(says_why, REASON), (breaks, "ValueError: what nobody foresaw")]
)
def test_a_run_that_fails_says_why_in_one_sentence_and_where_the_trace_is(
    op: dg.OpDefinition, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = f"the stack trace is in Dagster's UI, run {run(op)[:8]}"
    assert errors(capsys) == [f"refresh failed in step {op.name}: {why}; {trace}"]


@pytest.mark.usefixtures("process_of_a_run")
def test_a_run_that_is_stopped_says_so_without_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    run(is_stopped)
    stopped = "refresh was stopped: what it has read is kept, and the next one goes on"
    assert errors(capsys) == [stopped]


@pytest.mark.usefixtures("process_of_a_run")
def test_what_a_step_logs_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    run(says_more)
    (line,) = errors(capsys)
    assert line.endswith("says_more - the warehouse is locked")
