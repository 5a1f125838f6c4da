"""The version of the state schema, and how it gets to the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cw_pipeline.paths import SQL

if TYPE_CHECKING:
    import sqlalchemy as sa
    from psycopg import Connection

_FOLDER = SQL / "migrations"
_LENGTH = 4  # 0001_state.py


def known_versions() -> list[str]:
    """The versions that this cw_pipeline knows, oldest first."""
    return sorted(path.name[:_LENGTH] for path in (_FOLDER / "versions").glob("[0-9]*.py"))


def version(connection: Connection[Any]) -> str | None:
    """The warehouse's version; None before the first."""
    if connection.execute("select to_regclass('cw_sync.migration')").fetchone() == (None,):
        return None
    row = connection.execute("select version_num from cw_sync.migration").fetchone()
    return row[0] if row else None


def fault(here: str | None) -> str | None:
    """What is wrong with a warehouse of this version, or None."""
    if here is None or here in known_versions():
        return None
    return (
        f"the warehouse is at version {here}, which this cw_pipeline does not know:"
        " upgrade cw_pipeline, or point CW_WAREHOUSE_DSN at another database"
    )


def upgrade(connection: sa.Connection, here: str | None) -> None:
    """Brings the state schema from this version to the newest, in the caller's transaction."""
    if here == known_versions()[-1]:
        return
    # Here, because most runs have nothing to upgrade: it takes 10 MB and 0.3 s.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
