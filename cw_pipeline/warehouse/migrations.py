"""Versions of the state schema: a SQL file each, and who may work with a warehouse of which one."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cw_pipeline.errors import WarehouseNewer
from cw_pipeline.paths import SQL

if TYPE_CHECKING:
    import sqlalchemy as sa
    from psycopg import Connection

# As this process began: a file that an upgrade puts beside them is none of the code that runs here,
# which would else migrate the warehouse to what it does not know.
_FILES = {
    file.name.partition("_")[0]: file
    for file in sorted((SQL / "migrations" / "versions").glob("[0-9]*.sql"))
}
KNOWN_VERSIONS = [*_FILES]
"""Those that this process knows, oldest first: `0001`, of the file of each."""

STORED = "select version_num from cw_sync.migration"
"""The warehouse's version, where there is a state schema."""


def stored_version(connection: Connection[Any]) -> str | None:
    """The warehouse's version; None before the first."""
    if connection.execute("select to_regclass('cw_sync.migration')").fetchone() == (None,):
        return None
    row = connection.execute(STORED).fetchone()
    return row[0] if row else None


def refuse_newer(here: str | None) -> None:
    """Raises WarehouseNewer for a warehouse of a version that this process does not know.

    Somebody has run `migrate` of a newer cw_pipeline: lists that are merged as before, or reports
    that are refreshed with older scripts, would be a mixture of two versions.
    """
    if here is not None and here not in _FILES:
        raise WarehouseNewer(
            f"this process runs a cw_pipeline of migration {KNOWN_VERSIONS[-1]}, and the warehouse"
            f" is at migration {here}: restart it if cw_pipeline was upgraded since it began; else"
            " upgrade cw_pipeline here, or point CW_WAREHOUSE_DSN at another database"
        )


def upgrade_state(connection: sa.Connection, here: str | None) -> None:
    """Brings the state schema from this version to the newest, in the caller's transaction."""
    if here == KNOWN_VERSIONS[-1]:
        return
    # Here, because most runs have nothing to upgrade: it takes 10 MB and 0.3 s.
    from alembic.runtime.migration import MigrationContext, RevisionStep  # noqa: PLC0415
    from alembic.script import Script  # noqa: PLC0415
    from alembic.script.revision import RevisionMap  # noqa: PLC0415

    scripts, before = [], None
    for version, file in _FILES.items():
        module: Any = ModuleType(file.stem)
        module.down_revision = before
        module.upgrade = partial(connection.exec_driver_sql, file.read_text("utf-8"))
        scripts.append(Script(module, version, str(file)))
        before = version
    revisions: Any = RevisionMap(lambda: scripts)
    newer = [*revisions.iterate_revisions("head", here or "base")]  # newest first
    steps = [RevisionStep(revisions, each, is_upgrade=True) for each in reversed(newer)]
    context = MigrationContext.configure(
        connection,
        opts={
            "fn": lambda _heads, _context: steps,
            "version_table": "migration",
            "version_table_schema": "cw_sync",
        },
    )
    with context.begin_transaction():
        context.run_migrations()
