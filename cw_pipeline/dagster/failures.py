"""Why a run failed, in a sentence, and the console of `up` that says no more than that."""

from __future__ import annotations

import logging
from typing import Any

import dagster as dg
from typing_extensions import override

_INTERRUPTED = dg.DagsterExecutionInterruptedError.__name__


def step_failure_reason(event: dg.DagsterEvent) -> str:
    """Why a step failed: what it said when it gave up, else the error at the bottom of it all."""
    failure = event.step_failure_data
    said = failure.user_failure_data
    if said is not None and said.description:
        return said.description
    return _reason(failure.error)


class ConsoleLogger(logging.Logger):
    """A logger that says of a run that failed one sentence, where Dagster has two stack traces.

    Dagster makes the console of each run of the class that `logging.setLoggerClass` was given.
    """

    @override
    def handle(self, record: logging.LogRecord) -> None:
        event = getattr(record, "dagster_event", None)
        if isinstance(event, dg.DagsterEvent) and event.is_failure:
            if event.is_step_failure:
                return  # its run fails next, and says why
            record.msg = _sentence(event, record)
        super().handle(record)


def _sentence(event: dg.DagsterEvent, record: logging.LogRecord) -> str:
    failure: Any = event.event_specific_data
    if not event.is_job_failure or getattr(failure.error, "cls_name", "") == _INTERRUPTED:
        return f"{event.job_name} was stopped: what it has read is kept, and the next one goes on"
    step = failure.first_step_failure_event
    where = f" in step {step.step_key}" if step else ""
    why = step_failure_reason(step) if step else _reason(failure.error)
    run: str = getattr(record, "dagster_meta", {}).get("run_id") or ""
    why = " ".join(why.split()).rstrip(".")
    trace = f"the stack trace is in Dagster's UI, run {run[:8]}"
    return f"{event.job_name} failed{where}: {why}; {trace}"


def _reason(error: Any) -> str:  # noqa: ANN401 - whose class has no public name
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return "it gave no reason"
    first: str = error.message.strip().partition("\n")[0]
    return first
