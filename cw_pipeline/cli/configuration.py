"""The settings, as commands take them: what stands in is said before anything else is."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.settings import Settings

_OF_THIS_MACHINE = ("CW_COMPILED", "CW_PG_BIN", "CW_PYTHON", "CW_VENV")
"""What a demo leaves as it is set; all else of `CW_` is somebody's tenant and warehouse."""

_SHARED = ("CW_PG_BIN", "CW_PG_HOME", "CW_TIME_ZONE")
"""What a demo shares with the commands that follow it where no tenant is configured."""


def read_settings() -> Settings:
    """The settings. Where nothing is configured, a line on stderr says what stands in for it.

    Raises ConfigError where made-up data could only come from a mistake: nothing is configured, and
    the command is run outside the project's folder, as by cron.
    """
    from cw_pipeline.environment import settings_file  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.errors import ConfigError  # noqa: PLC0415
    from cw_pipeline.paths import cli_command, in_project  # noqa: PLC0415
    from cw_pipeline.settings import Settings  # noqa: PLC0415

    settings = Settings.read()
    if not settings.is_simulated:
        return settings
    missing = f"no tenant is configured, neither in the environment nor in {settings_file()}"
    if not in_project():
        raise ConfigError(
            f"{missing}: `{cli_command('init')}` asks for what is needed, CW_ENV_FILE names another"
            f" file of settings, and `{cli_command('demo')}` shows made-up data"
        )
    click.echo(f"MADE-UP DATA: {missing}. `{cli_command('init')}` sets one up", err=True)
    return settings


@dataclass(frozen=True, slots=True)
class Sources:
    """Where settings are read from, and where Dagster's and the embedded parts' state is kept."""

    settings: str
    state: str


def sources() -> Sources:
    """Both as they are found from every folder. Raises ConfigError."""
    from cw_pipeline.environment import given_values, settings_file  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.settings import dagster_home  # noqa: PLC0415

    file = settings_file()
    names = sorted(
        name for name, each in given_values().items() if each.file is None and each.value
    )
    place = str(file) if file.exists() else f"{file} (not there)"
    return Sources(
        f"{place}, and of the environment {', '.join(names)}" if names else place,
        str(dagster_home().absolute()),
    )


def settings_warnings() -> list[str]:
    """What about the settings is not wrong, but most likely not meant. Raises ConfigError."""
    from cw_pipeline.environment import is_open_to_others, settings_file  # noqa: PLC0415
    from cw_pipeline.settings import unknown_names  # noqa: PLC0415

    file, warnings = settings_file(), unknown_names()
    if is_open_to_others(file):
        warnings.append(f"other accounts of this machine can read {file}: chmod 600 {file}")
    ignored = Path.cwd() / ".env"
    if ignored.is_file() and not (file.exists() and ignored.samefile(file)):
        warnings.append(f"{ignored} is not read, {file} is: CW_ENV_FILE names another file")
    return warnings


def warehouse_place(settings: Settings) -> str:
    """Which warehouse it is and which schema in it, for people; no password."""
    from cw_pipeline.address import describe_address  # noqa: PLC0415
    from cw_pipeline.dev import services  # noqa: PLC0415 - see cli/__init__.py

    if settings.warehouse_dsn is None:
        place = f"the project's own PostgreSQL in {services.postgres(settings).home}"
    else:
        place = describe_address(settings.warehouse_dsn.get_secret_value())
    return f"{place}, schema {settings.schema_}"


@contextmanager
def demo_settings() -> Iterator[bool]:
    """Inside the block, the settings of a made-up tenant alone: whether its folder is apart.

    Where a tenant or a warehouse is configured, rightly or not, all of it is left alone, and
    everything of the demo, Dagster's runs too, goes into a folder of its own.
    """
    before = dict(os.environ)
    home, apart, environment = _demo_home()
    for name in [name for name in os.environ if name.startswith("CW_")]:
        del os.environ[name]
    # No file of settings, for the processes that are started either.
    os.environ.update(environment, CW_ENV_FILE=os.devnull, DAGSTER_HOME=str(home))
    try:
        yield apart
    finally:
        os.environ.clear()
        os.environ.update(before)


def _demo_home() -> tuple[Path, bool, dict[str, str]]:
    """Where a demo keeps its state, whether apart from ours, and what else is set for it."""
    from cw_pipeline.environment import given_values  # noqa: PLC0415
    from cw_pipeline.errors import ConfigError  # noqa: PLC0415
    from cw_pipeline.paths import PROJECT  # noqa: PLC0415
    from cw_pipeline.settings import dagster_home, is_configured  # noqa: PLC0415

    environment = {name: os.environ[name] for name in _OF_THIS_MACHINE if name in os.environ}
    try:
        values, home = given_values(), dagster_home().absolute()
        if not is_configured():
            shared = {name: values[name] for name in _SHARED if name in values}
            if (pg_home := shared.pop("CW_PG_HOME", None)) and pg_home.value:
                environment["CW_PG_HOME"] = str(pg_home.path)
            return home, False, environment | {name: each.value for name, each in shared.items()}
    except ConfigError:  # what cannot be read may be somebody's
        home = Path(os.environ.get("DAGSTER_HOME") or PROJECT / "dagster_home").absolute()
    return home / "demo", True, environment
