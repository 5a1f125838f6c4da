"""What may happen to the warehouse's server while a sync writes to it, as the dice will have it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from cw_pipeline.dev.account import Account
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from tests.chaos.world import EVERYTHING, entities, kill_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cw_pipeline.dev import EmbeddedPostgres
    from tests.chaos.world import World

_ROLE = "cw_pipeline"
_DISK = "64m"
_MOST_CUT = 15  # backends in one sync: it would never get anywhere else
_LOCKED = 3  # tables in one sync


@contextmanager
def small_disk(ground: EmbeddedPostgres) -> Iterator[Path | None]:
    """A file system of its own, with a tablespace `small_disk` on it; None where none can be had.

    The log of transactions stays outside: a server whose log finds no room crashes, as by kill -9.
    """
    folder = ground.home / "small_disk"
    folder.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        Account.choose().make_private(folder / "tablespace")
        with psycopg.connect(ground.admin_dsn(), autocommit=True) as connection:
            location = sql.Literal(str(folder / "tablespace"))
            connection.execute(sql.SQL("create tablespace small_disk location {}").format(location))
        yield folder
        ground.ensure()
        with psycopg.connect(ground.admin_dsn(), autocommit=True) as connection:
            connection.execute("drop tablespace small_disk")
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


class ServerFaults:
    """The server's faults in one world. Each strikes while a sync is going on, and is over after.

    `disk`: the file system that the world's database is on, if it has one of its own. `turn`: which
    tables are locked, so that so many turns come to all of them.
    """

    def __init__(self, world: World, disk: Path | None = None, turn: int = 0) -> None:
        self._world = world
        self._turn = turn
        self._ground = world.ground
        self._disk = disk

    def strike_mildly(self) -> None:
        """One of those that strike this world's database alone, and within a second."""
        mild = (self.cut_backends, self.cancel_statements, self.time_out, self.lock_tables)
        self._turn = self._world.dice.randrange(100)
        self._world.dice.choice(mild)()

    @property
    def kinds(self) -> list[Callable[[], None]]:
        """Every fault that can be had here."""
        usual = [
            *(self.cut_backends, self.cancel_statements, self.kill, self.restart),
            *(self.read_only, self.time_out, self.lock_tables, self.few_connections),
        ]
        return [*usual, self.fill_disk] if self._disk else usual

    def cut_backends(self) -> None:
        """An administrator, or a failing network, ends sessions."""
        self._strike_backends("pg_terminate_backend", "backend terminated")

    def cancel_statements(self) -> None:
        """Statements are cancelled, as by a time-out of the server's."""
        self._strike_backends("pg_cancel_backend", "statement cancelled")

    def kill(self) -> None:
        """The server dies at once."""
        with self._syncing():
            time.sleep(self._world.dice.random() * 0.4)
            kill_server(self._ground)
        self._world.struck["kill -9 of Postgres"] += 1

    def restart(self) -> None:
        """The server is restarted, as for an upgrade."""
        with self._syncing():
            time.sleep(self._world.dice.random() * 0.4)
            self._ground.stop()
            self._ground.ensure()
        self._world.struck["restart of Postgres"] += 1

    def read_only(self) -> None:
        """A switch-over: the server comes back as a standby, which is promoted later."""
        with self._syncing():
            time.sleep(self._world.dice.random() * 0.3)
            self._ground.stop()
            (self._ground.home / "data" / "standby.signal").touch()
            self._ground.ensure()
            self._world.sync()  # one that begins on the standby
        self._administer("select pg_promote(true, 60)")
        self._world.struck["switch-over to a read-only standby"] += 1

    def time_out(self) -> None:
        """Whoever runs the server gives our role a short `statement_timeout`."""
        self._administer(f"alter role {_ROLE} set statement_timeout = '3ms'")
        with self._syncing():
            pass
        self._administer(f"alter role {_ROLE} reset statement_timeout")
        self._world.struck["statement_timeout of 3 ms"] += 1

    def lock_tables(self) -> None:
        """Somebody locks some of our tables, one after the other."""
        tables = self._ask(
            "select schemaname, tablename from pg_tables where schemaname in"
            " ('connectwise', 'cw_sync') order by 1, 2"
        )
        for at in range(_LOCKED * self._turn, _LOCKED * (self._turn + 1)):
            schema, table = tables[at % len(tables)]
            lock = sql.SQL("lock table {} in access exclusive mode").format(
                sql.Identifier(schema, table)
            )
            with psycopg.connect(self._admin) as connection:
                connection.execute(lock)
                with self._syncing():
                    time.sleep(0.3)
                    connection.rollback()
            self._world.struck["table locked"] += 1
            self._world.locked.add(f"{schema}.{table}")

    def few_connections(self) -> None:
        """The role may open four connections."""
        self._administer(f"alter role {_ROLE} connection limit 4")
        with self._syncing():
            pass
        self._administer(f"alter role {_ROLE} connection limit -1")
        self._world.struck["limit of 4 connections"] += 1

    def fill_disk(self) -> None:
        """The disk that the tables are on has no byte left."""
        assert self._disk is not None
        for _ in range(30):
            self._world.people.create()
        ballast = self._disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        with self._syncing():
            pass
        ballast.unlink()
        full = self._ask("select count(*) from cw_sync.run where error like '%No space left%'")
        self._world.struck["disk full"] += 1
        self._world.struck["run that a full disk ended"] += full[0][0] > 0

    def _strike_backends(self, function: str, kind: str) -> None:
        dice = self._world.dice
        with self._syncing() as syncing, psycopg.connect(self._admin, autocommit=True) as admin:
            struck = 0
            while syncing.is_alive() and struck < _MOST_CUT:
                time.sleep(dice.random() * 0.02)
                pids = admin.execute(
                    "select pid from pg_stat_activity where usename = %s"
                    " and datname = current_database() order by 1",
                    [_ROLE],
                ).fetchall()
                if pids:
                    admin.execute(f"select {function}(%s)", dice.choice(pids))
                    struck += 1
        self._world.struck[kind] += struck

    @contextmanager
    def _syncing(self) -> Iterator[threading.Thread]:
        """A sync goes on in the block, and has ended after it."""
        plan, world = SyncRequest(full=self._world.dice.random() < 0.5), self._world
        everything = entities(EVERYTHING)
        syncing = threading.Thread(
            target=lambda: world.tolerant(lambda engine: sync_entities(everything, engine, plan))
        )
        syncing.start()
        try:
            yield syncing
        finally:
            syncing.join()

    @property
    def _admin(self) -> str:
        """The superuser's address of the world's database."""
        name = psycopg.conninfo.conninfo_to_dict(self._world.dsn)["dbname"]
        return psycopg.conninfo.make_conninfo(self._ground.admin_dsn(), dbname=name)

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._admin) as connection:
            return connection.execute(query.encode()).fetchall()

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self._ground.admin_dsn(), autocommit=True) as connection:
            connection.execute(statement.encode())
