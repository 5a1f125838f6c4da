"""What is said about the warehouse while a run goes on is in the run's log."""

from __future__ import annotations

import logging
import shutil
from threading import Thread
from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.connectwise import client
from cw_pipeline.warehouse import lock_waits

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CONFIG = "cw_pipeline/dagster/dagster.yaml"


@dg.op
def waits() -> None:
    """Warns as threads do: one that looks who has locked a table, and one that asks again."""
    for module, said in ((lock_waits, "a table is locked"), (client, "asked again in 2 s")):
        thread = Thread(target=logging.getLogger(module.__name__).warning, args=(said,))
        thread.start()
        thread.join()


@dg.job
def waiting() -> None:
    waits()


def test_who_has_locked_a_table_and_what_is_asked_again_is_in_the_runs_log(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    shutil.copy(pytestconfig.rootpath / CONFIG, tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = waiting.execute_in_process(instance=instance)
        said = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert {"a table is locked", "asked again in 2 s"} <= {*said}
