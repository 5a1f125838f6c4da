"""A PostgreSQL server of the chaos suite's own: it is killed now and then."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.embedded import EmbeddedPostgres
from cw_pipeline.load import migrate
from tests.chaos.world import EVERYTHING, entities

if TYPE_CHECKING:
    from collections.abc import Iterator

TOLL = pytest.StashKey[Counter[str]]()
SEEN = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session")
def ground() -> Iterator[EmbeddedPostgres]:
    """The server, with a migrated database called `chaos` to make others from."""
    folder = Path(tempfile.mkdtemp(prefix="cw-chaos-"))
    folder.chmod(0o711)  # the server's account passes through here
    server = EmbeddedPostgres(folder / "postgres")
    try:
        server.ensure()
        with psycopg.connect(server.admin_dsn(), autocommit=True) as connection:
            connection.execute("create database chaos owner cw_pipeline")
        migrate(server.dsn("chaos"), "connectwise", entities(EVERYTHING))
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def toll(request: pytest.FixtureRequest) -> Counter[str]:
    """What struck in the soak, by kind; told at the end."""
    return request.config.stash.setdefault(TOLL, Counter())


@pytest.fixture(scope="session")
def seen(request: pytest.FixtureRequest) -> dict[str, str]:
    """Which test saw which break of the code; told at the end."""
    return request.config.stash.setdefault(SEEN, {})


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Says how many histories there were, what struck in them, and which break was seen where."""
    for name, test in config.stash.get(SEEN, {}).items():
        terminalreporter.write_line(f"seen: {name}: {test}")
    struck = config.stash.get(TOLL, Counter[str]()).most_common()
    if told := ", ".join(f"{count} x {kind}" for kind, count in struck if count):
        terminalreporter.write_line(f"chaos: {told}")
