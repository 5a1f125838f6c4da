"""Dagster's own storages, for dagster.yaml, with what they need before they can be opened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_postgres import DagsterPostgresStorage
from typing_extensions import override

from cw_pipeline.dagster.internals import POOLED, StockSqliteStorage
from cw_pipeline.dev.account import alone, keep_private
from cw_pipeline.dev.postgres import RUNS, use_until_exit
from cw_pipeline.errors import PipelineError, WarehouseError
from cw_pipeline.paths import cli_command

if TYPE_CHECKING:
    from collections.abc import Mapping


class EmbeddedPostgresStorage(DagsterPostgresStorage):
    """Dagster's storage for Postgres, on the embedded server of the folder `server`.

    For dagster.yaml: so programs of Dagster's that are started by themselves find the server up.
    The last of them stops it.
    """

    @classmethod
    @override
    def config_type(cls) -> Mapping[str, Any]:
        return {"server": str}

    @classmethod
    @override
    def from_config_value(  # type: ignore[override] # its type is private
        cls, inst_data: Any, config_value: Mapping[str, str]
    ) -> EmbeddedPostgresStorage:
        home = Path(config_value["server"])
        try:
            url = use_until_exit(home).dsn(RUNS, driver="postgresql+psycopg2")
        except PipelineError as error:
            raise WarehouseError(
                f"dagster.yaml keeps Dagster's runs in the embedded PostgreSQL in {home}, which"
                f" this account cannot use: {error}\nStart Dagster under the account that uses"
                " that folder. Or change the settings, or name a database of its own in"
                f" CW_DAGSTER_PG_URL, and let `{cli_command('setup')}` write dagster.yaml anew"
            ) from error
        storage = cls(postgres_url=url, inst_data=inst_data)
        if any("daemon" in part for part in Path(sys.argv[0]).parts[-2:]):
            # It asks 150 times a minute, and would connect for each question.
            for each in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
                each.optimize_for_webserver(**POOLED)
        return storage


class SqliteStorage(StockSqliteStorage):
    """Dagster's storage in SQLite files of the folder `base_dir`, opened by one process at a time.

    Two that make the files at once note two versions in them, and nothing can read those again.
    """

    @override
    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        keep_private(Path(base_dir))
        with alone(Path(base_dir, ".lock")):
            super().__init__(base_dir, inst_data)

    @classmethod
    @override
    def from_config_value(  # type: ignore[override] # its type is private
        cls, inst_data: Any, config_value: Mapping[str, str]
    ) -> SqliteStorage:
        return cls(inst_data=inst_data, **config_value)
