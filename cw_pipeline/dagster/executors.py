"""What executes the steps of a run: the run's own process, or machines of Celery or Kubernetes.

A run is the unit to spread: it holds one connection to the tenant, and its launcher (dagster.yaml)
may start it on any machine. All its lists are one step, so an executor only moves that elsewhere.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import cli_command

if TYPE_CHECKING:
    from cw_pipeline.settings import Settings

_EXECUTORS = {
    "celery": ("dagster_celery", "celery_executor"),
    "k8s": ("dagster_k8s", "k8s_job_executor"),
}
_CELERY = {
    "broker": {"env": "DAGSTER_CELERY_BROKER"},
    "backend": {"env": "DAGSTER_CELERY_BACKEND"},
}


def executor(settings: Settings) -> dg.ExecutorDefinition:
    """The executor that CW_EXECUTOR names. Raises ConfigError if it is not installed."""
    if settings.executor == "in_process":
        return dg.in_process_executor
    module, name = _EXECUTORS[settings.executor]
    try:
        # By name: each is an extra, installed only where it is used.
        made: dg.ExecutorDefinition = getattr(import_module(module), name)
    except ImportError as error:
        raise ConfigError(
            f"CW_EXECUTOR={settings.executor} needs a package that is not installed here:"
            f" {cli_command('setup', '--extra', settings.executor)}"
        ) from error
    return made.configured(_CELERY, name="celery") if settings.executor == "celery" else made
