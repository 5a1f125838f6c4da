"""What executes the steps of a run: the run's own process, or machines of Celery or Kubernetes.

A run is the unit to spread: it holds one connection to the tenant, and its launcher (dagster.yaml)
may start it on any machine. Steps on machines of their own pay off where one module's first load
should not wait for another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.errors import ConfigError
from cw_pipeline.orchestrate.tags import CELERY_QUEUE

if TYPE_CHECKING:
    from cw_pipeline.settings import Settings

_CELERY = {
    "broker": {"env": "DAGSTER_CELERY_BROKER"},
    "backend": {"env": "DAGSTER_CELERY_BACKEND"},
}


def executor(settings: Settings) -> dg.ExecutorDefinition:
    """The executor that CW_EXECUTOR names. Raises ConfigError if it is not installed."""
    # Imported here: each is installed only where it is used.
    try:
        if settings.executor == "celery":
            from dagster_celery import celery_executor  # noqa: PLC0415

            return celery_executor.configured(_CELERY, name="celery")
        if settings.executor == "k8s":
            from dagster_k8s import k8s_job_executor  # noqa: PLC0415

            return k8s_job_executor
    except ImportError as error:
        raise ConfigError(
            f"CW_EXECUTOR={settings.executor} needs a package that is not installed here:"
            f" pip install 'cw-pipeline[{settings.executor}]'"
        ) from error
    return dg.in_process_executor


def step_tags(settings: Settings) -> dict[str, str]:
    """What a step says of where it wants to run: a tenant's at the tenant's own workers."""
    return {CELERY_QUEUE: settings.schema_} if settings.executor == "celery" else {}
