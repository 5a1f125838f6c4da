"""An embedded PostgreSQL and a simulated ConnectWise, for settings that name none.

`CW_WAREHOUSE_DSN` and `CW_SITE` name real ones. Where one is not set, the embedded one takes its
place. Both are shared by all processes of the project. `dev_services` and `dev_warehouse` return
settings and leave the process alone; `export_services` is for what starts Dagster, whose processes
find in their environment where the embedded parts are.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING

from pydantic import SecretStr

from cw_pipeline.address import parse_address
from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.dev.account import keep_private
from cw_pipeline.dev.dagster_yaml import FILE, prepare_dagster_yaml
from cw_pipeline.dev.loopback import forward_port
from cw_pipeline.dev.simulator import (
    CLIENT_ID,
    COMPANY,
    PRIVATE_KEY,
    PUBLIC_KEY,
    EmbeddedSimulator,
)
from cw_pipeline.environment import NAMED_FILE, settings_file
from cw_pipeline.errors import ConfigError, WarehouseError
from cw_pipeline.paths import cli_command
from cw_pipeline.settings import Settings, dagster_home

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

UNHURRIED = 60_000
"""Requests a minute to a simulated tenant: there is nobody else to leave room for."""

PAST = timedelta(days=4 * 366)
"""How far back a simulated tenant's records go, at most."""

_FOLDERS_OF_DAGSTER = ("storage", "history", "schedules", "logs", ".logs_queue")
_OF_DAGSTER = (
    *_FOLDERS_OF_DAGSTER,
    ".telemetry",
    ".nux",
    "dagster.pgpass",
    "demo",  # the home that the demo makes for itself where a tenant is configured
    "report.html",
    "bench.json",
    "bench.html",
)
"""What Dagster and the commands write into DAGSTER_HOME."""

_servers: dict[Path, EmbeddedPostgres] = {}
_simulators: dict[Path, EmbeddedSimulator] = {}
_lock = Lock()
_said = Event()


def postgres(settings: Settings) -> EmbeddedPostgres:
    """The project's own PostgreSQL; not started."""
    return EmbeddedPostgres(Path(settings.pg_home or dagster_home() / "postgres"))


def simulator() -> EmbeddedSimulator:
    """The project's own ConnectWise; not started."""
    return EmbeddedSimulator(dagster_home() / "simulator")


@contextmanager
def dev_services(settings: Settings, tenant: EmbeddedSimulator | None = None) -> Iterator[Settings]:
    """The settings with a warehouse and a ConnectWise to use, inside the block.

    Embedded parts are stopped on the way out unless another process uses them. `tenant` is the
    simulator to use instead of the project's own. Raises ConfigError, WarehouseError or
    PipelineError that says what to do.
    """
    if not settings.is_simulated and settings.warehouse_dsn is not None:
        yield settings
        return
    with ExitStack() as stack:
        stand_in = server = None
        if settings.is_simulated:
            stand_in = stack.enter_context(tenant or simulator())  # starts beside the server
        if settings.warehouse_dsn is None:
            server = stack.enter_context(postgres(settings))
        yield _with_services(settings, server, stand_in)


@contextmanager
def dev_warehouse(settings: Settings) -> Iterator[Settings]:
    """The settings with a warehouse to look at, inside the block. No ConnectWise is started."""
    with ExitStack() as stack:
        server = None
        if settings.warehouse_dsn is None:
            server = stack.enter_context(postgres(settings))
        yield _with_services(settings, server, None)


BI_ROLE = "bi"


@contextmanager
def bi_port(settings: Settings, tenant: str, port: int) -> Iterator[str]:
    """Inside the block, BI tools reach the embedded warehouse on 127.0.0.1:`port`: the password.

    They sign in as BI_ROLE, which reads the tenant's reports and nothing else. The reporting schema
    must be there. Raises ConfigError if the warehouse is not ours, or the port cannot be had.
    """
    if settings.warehouse_dsn is not None:
        raise ConfigError(
            "--bi opens a port to the embedded warehouse, and CW_WAREHOUSE_DSN names another: point"
            " the tool at that server, as sql/bi/README.md says"
        )
    from cw_pipeline.reporting import grant_reader  # noqa: PLC0415 - half of what `up` would hold

    server = postgres(settings)
    password = server.new_password(BI_ROLE, grant_reader(server.dsn(), tenant))
    with ExitStack() as stack:
        try:
            stack.enter_context(forward_port(port, server.socket))
        except OSError as error:
            raise ConfigError(f"--bi {port}: {error.strerror}. Choose another port") from error
        yield password


def start_dev_services(settings: Settings) -> Settings:
    """The settings with a warehouse and a ConnectWise to use, until somebody stops them.

    For a code location that Dagster loads by itself: there is no block to stop them at the end of.
    Called again it finds them running. Processes that this one starts find them too.
    """
    with _lock:
        stand_in = server = None
        if settings.is_simulated:
            stand_in = simulator()
            stand_in = _simulators.setdefault(stand_in.home, stand_in)
            stand_in.begin(stays=True)
            if not _said.is_set():
                log.warning(
                    "MADE-UP DATA: no tenant is configured, neither in the environment nor in %s",
                    settings_file(),
                )
        if settings.warehouse_dsn is None:
            server = postgres(settings)
            server = _servers.setdefault(server.home, server)
            server.ensure()
        filled = _with_services(settings, server, stand_in)
        prepared_home(filled)
        os.environ.update(_environment(settings, filled))
        if (stand_in or server) and not _said.is_set():
            _said.set()
            log.warning("The embedded parts are left running: `%s` stops them", cli_command("down"))
        return filled


def stop_dev_services(settings: Settings) -> list[str]:
    """Stops the embedded parts, whoever uses them: which were running."""
    stopped = {
        "simulator": simulator().stop(),
        "PostgreSQL": settings.warehouse_dsn is None and postgres(settings).stop(),
    }
    return [name for name, was_running in stopped.items() if was_running]


def local_data(settings: Settings) -> list[Path]:
    """The folders and files on this machine that hold what was synced, made up or recorded.

    The embedded server's data, the simulator's tenant, Dagster's runs and schedules, pages that
    were written. Neither settings, nor dagster.yaml, nor the warehouse of CW_WAREHOUSE_DSN.
    """
    home = dagster_home().absolute()
    found = [postgres(settings).home, simulator().home]
    found += [home / name for name in _OF_DAGSTER]
    return [path for path in dict.fromkeys(found) if path.exists()]


def delete_local_data(settings: Settings) -> list[Path]:
    """Stops the embedded parts and deletes all of that: what was deleted.

    Raises WarehouseError naming what could not be deleted, for example another account's.
    """
    stop_dev_services(settings)
    postgres(settings).stop()  # one of before CW_WAREHOUSE_DSN was set may run, too
    doomed = local_data(settings)
    for path in doomed:
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            raise WarehouseError(f"Cannot delete {path}: {error.strerror}") from error
    if (dagster_home() / FILE).exists():
        # Which may name the server that was, where CW_WAREHOUSE_DSN is set by now.
        prepare_dagster_yaml(dagster_home().absolute(), _runs_place(settings))
    return doomed


def prepared_home(settings: Settings | None = None) -> Path:
    """The folder that DAGSTER_HOME names, with a dagster.yaml in it, and named for children.

    Dagster keeps its runs in the database of CW_DAGSTER_PG_URL, else beside the embedded warehouse
    where that is used, else in SQLite files. Raises ConfigError.
    """
    home = dagster_home().absolute()
    # Passable for root's embedded server, which runs under another account.
    home.mkdir(mode=0o700 if getattr(os, "geteuid", int)() else 0o711, parents=True, exist_ok=True)
    for name in _FOLDERS_OF_DAGSTER:
        keep_private(home / name)
    prepare_dagster_yaml(home, _runs_place(settings or Settings.read_unchecked()))
    os.environ["DAGSTER_HOME"] = str(home)
    if (file := settings_file()).exists():  # for children that run in another folder
        os.environ[NAMED_FILE] = str(file)
    # What a run is going to do, two events for each entity, is written at once.
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    return home


def _runs_place(settings: Settings) -> str | Path | None:
    """Where Dagster keeps its runs, as `prepare_dagster_yaml` wants it."""
    if settings.dagster_pg_url is not None:
        return settings.dagster_pg_url.get_secret_value()
    if settings.warehouse_dsn is None:
        return postgres(settings).home
    address = settings.warehouse_dsn.get_secret_value()
    # A child process is told of the embedded server as of any other.
    if not parse_address(address).get("host", "").startswith("/"):
        return None
    server = postgres(settings)
    return server.home if server.was_made() and server.dsn() == address else None


def _with_services(
    settings: Settings, server: EmbeddedPostgres | None, stand_in: EmbeddedSimulator | None
) -> Settings:
    """The settings with what was started put in."""
    found: dict[str, str | int | date] = {}
    if server is not None:
        found["warehouse_dsn"] = server.dsn()
    if stand_in is not None:
        found |= {
            "site": stand_in.url(),
            "company": COMPANY,
            "public_key": PUBLIC_KEY,
            "private_key": PRIVATE_KEY,
            "client_id": CLIENT_ID,
            "auth": "keys",
        }
        unset: dict[str, int | date] = {
            "requests_per_minute": UNHURRIED,
            "backfill_start": _birth(stand_in),
        }
        found |= {n: v for n, v in unset.items() if n not in settings.model_fields_set}
    secret = {"warehouse_dsn", "public_key", "private_key", "client_id"}
    return settings.model_copy(
        update={n: SecretStr(str(v)) if n in secret else v for n, v in found.items()}
    )


def _birth(stand_in: EmbeddedSimulator) -> date:
    """The month in which a simulated tenant's past begins: before it there is nothing to read."""
    born = datetime.fromisoformat(stand_in.about()["born"])
    return (born - PAST).date().replace(day=1)


def _environment(settings: Settings, filled: Settings) -> dict[str, str]:
    """What tells another process where the embedded parts are that fill these settings."""
    changed = {
        name: getattr(filled, name)
        for name in type(settings).model_fields
        if getattr(filled, name) != getattr(settings, name)
    }
    return {
        f"CW_{name.upper()}": str(
            value.get_secret_value() if isinstance(value, SecretStr) else value
        )
        for name, value in changed.items()
    }


@contextmanager
def export_services(settings: Settings, filled: Settings) -> Iterator[None]:
    """Names the embedded parts in the environment, and Dagster's folder, inside the block.

    For a command that starts Dagster: what it starts inherits them. `filled` is what became of
    `settings` in `dev_services`.
    """
    with environment_kept():
        prepared_home(filled)
        os.environ.update(_environment(settings, filled))
        yield


@contextmanager
def environment_kept() -> Iterator[None]:
    """Puts the environment back at the end of the block."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
