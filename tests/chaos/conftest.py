"""A PostgreSQL server of the chaos suite's own: it is killed now and then."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.dev.cluster import ALWAYS
from cw_pipeline.warehouse import migrate
from tests.chaos.world import EVERYTHING, entities
from tests.conftest import memory

if TYPE_CHECKING:
    from collections.abc import Iterator

STRUCK, SEEN = "struck", "seen"


@pytest.fixture(scope="session")
def ground() -> Iterator[EmbeddedPostgres]:
    """The server, with a migrated database called `chaos` to make others from."""
    folder = Path(tempfile.mkdtemp(prefix="cw-chaos-", dir=memory()))
    folder.chmod(0o711)  # the server's account passes through here
    server = EmbeddedPostgres(folder / "postgres")
    settings = pytest.MonkeyPatch()
    settings.setitem(ALWAYS, "wal_level", "replica")  # with less it could be no standby
    try:
        server.ensure()
        with psycopg.connect(server.admin_dsn(), autocommit=True) as connection:
            connection.execute("create database chaos owner cw_pipeline")
        migrate(server.dsn("chaos"), "connectwise", entities(EVERYTHING))
        yield server
    finally:
        server.stop()
        settings.undo()
        shutil.rmtree(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many histories there were, what struck in them, and which break was seen where."""
    toll = Counter[str]()
    # With the reports, because another process may have run the tests.
    for report in terminalreporter.getreports("passed"):
        for name, told in report.user_properties:
            toll.update(told if name == STRUCK else {})
            if name == SEEN:
                terminalreporter.write_line(f"seen: {told}")
    if told := ", ".join(f"{count} x {kind}" for kind, count in toll.most_common() if count):
        terminalreporter.write_line(f"chaos: {told}")
