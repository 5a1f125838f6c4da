"""Where Dagster keeps its runs and events: SQLite, or Postgres by one setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from dagster._core.storage.base_storage import DagsterStorage
from dagster._serdes import ConfigurableClass
from typing_extensions import override

from cw_pipeline.address import parse_address
from cw_pipeline.dagster.sqlite_events import BatchingSqliteStorage
from cw_pipeline.environment import setting
from cw_pipeline.settings import dagster_home

if TYPE_CHECKING:
    from dagster._config.config_schema import UserConfigSchema
    from dagster._serdes import ConfigurableClassData


class EnvSwitchedStorage(DagsterStorage, ConfigurableClass):
    """SQLite in DAGSTER_HOME, or the Postgres database that `CW_DAGSTER_PG_URL` names.

    dagster.yaml knows no conditions, so the choice is made here. Dagster asks for an instance and
    gets the storage that was chosen; there is never one of this class.
    """

    @classmethod
    @override
    def config_type(cls) -> UserConfigSchema:
        return {}

    @classmethod
    @override
    def from_config_value(  # type: ignore[override] # another class by design, see above
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> DagsterStorage:
        url = setting("CW_DAGSTER_PG_URL")
        if not url:
            return BatchingSqliteStorage(str(dagster_home().resolve() / "storage"), inst_data)
        # Imported here: it takes a third of a second, and SQLite needs none of it.
        from dagster_postgres import DagsterPostgresStorage  # noqa: PLC0415

        return DagsterPostgresStorage.from_config_value(
            inst_data, {"postgres_url": with_driver(url)}
        )


def with_driver(address: str) -> str:
    """An address as the URL that dagster-postgres needs, whatever it was written as.

    All of it stands in the query, where SQLAlchemy takes what libpq knows. Raises ConfigError.
    """
    parameters = parse_address(address, "CW_DAGSTER_PG_URL")
    return f"postgresql+psycopg2://?{urlencode(parameters, quote_via=quote)}"
