"""The simulation's PostgreSQL: a clock of ours, and a warehouse to empty for each history."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.dev.cluster import ALWAYS
from cw_pipeline.warehouse import migrate
from tests.conftest import memory
from tests.simulation.clock import ClockFace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cw_pipeline.model import Entity

_LONG_AGO = datetime(2001, 2, 3, tzinfo=UTC)
_SOURCE = Path(__file__).with_name("server_clock.c")
_SETTINGS = {
    "autovacuum": "off",  # nothing happens that no seed decides
    "jit": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "8GB",  # no checkpoint comes in between
    "checkpoint_timeout": "1d",
}
_TABLES = """
select format('%I.%I', schemaname, tablename) from pg_tables
where schemaname in ('connectwise', 'cw_sync') order by 1
"""
_SEQUENCES = """
select format('%I.%I', schemaname, sequencename) from pg_sequences
where schemaname in ('connectwise', 'cw_sync') order by 1
"""


class Warehouse:
    """One migrated warehouse. `ops` is a superuser's connection to it, of the tests' own."""

    def __init__(self, dsn: str, admin: str, face: ClockFace) -> None:
        self.dsn = dsn
        self.face = face
        self.ops = psycopg.connect(admin, autocommit=True)
        self.look = psycopg.connect(dsn, autocommit=True)
        names = [name for (name,) in self.ops.execute(_TABLES)]
        filled = {*self._filled(names)}
        self._tables = [name for name in names if name not in filled]
        self._sequences = [name for (name,) in self.ops.execute(_SEQUENCES)]

    def empty(self) -> None:
        """Brings it back to where it was when it was migrated."""
        if used := self._filled(self._tables):
            self.ops.execute(f"truncate {', '.join(used)}".encode())
        calls = ", ".join(f"setval('{name}', 1, false)" for name in self._sequences)
        self.ops.execute(f"select {calls}".encode())

    def _filled(self, names: Sequence[str]) -> list[str]:
        """Those of these tables that have rows: one question about all of them."""
        asked = ", ".join(f"exists (select from {name})" for name in names)  # the server's spelling
        found = self.ops.execute(f"select {asked}".encode()).fetchone() or ()
        return [name for name, has_rows in zip(names, found, strict=True) if has_rows]

    def close(self) -> None:
        """Lets go of it."""
        self.ops.close()
        self.look.close()


@contextmanager
def simulated_warehouse(entities: Sequence[Entity]) -> Iterator[Warehouse]:
    """A server with a warehouse for these entities; skips where its clock cannot be simulated."""
    with _folder(memory()) as folder, _folder() as programs:  # in memory, nothing may be run
        server = EmbeddedPostgres(folder / "postgres", durable=False)
        face = ClockFace(folder / "clock")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in _SETTINGS.items():
                patch.setitem(ALWAYS, name, value)
            patch.setenv("CW_SIMULATED_CLOCK", str(folder / "clock"))
            patch.setenv("LD_PRELOAD", str(_built(programs)))
            server.ensure()
        try:
            with closing(_warehouse(server, face, entities)) as warehouse:
                yield warehouse
        finally:
            server.stop()


def _warehouse(server: EmbeddedPostgres, face: ClockFace, entities: Sequence[Entity]) -> Warehouse:
    admin, name = server.admin_dsn(), "simulation"
    face.show(_LONG_AGO)
    with psycopg.connect(admin, autocommit=True) as connection:
        if connection.execute("select clock_timestamp()").fetchone() != (_LONG_AGO,):
            pytest.skip("the server does not take the time from a preloaded clock")
        face.show_real_time()
        connection.execute(f"create database {name} owner cw_pipeline".encode())
    migrate(server.dsn(name), "connectwise", entities)
    return Warehouse(server.dsn(name), psycopg.conninfo.make_conninfo(admin, dbname=name), face)


@contextmanager
def _folder(place: Path | None = None) -> Iterator[Path]:
    """A passing folder that the server's account can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="cw-simulation-", dir=place))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _built(folder: Path) -> Path:
    """The library that the server is started with."""
    library = folder / "server_clock.so"
    command = [os.environ.get("CC") or "cc", "-O2", "-shared", "-fPIC", "-o", library, _SOURCE]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler: the server's clock cannot be simulated")
    library.chmod(0o755)
    return library
