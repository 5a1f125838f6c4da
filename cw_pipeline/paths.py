"""Where the files beside the code are: in a checkout, and in an installed wheel."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
"""The checkout; for an installed wheel, the folder that holds installed packages."""

IS_CHECKOUT = (ROOT / "pyproject.toml").is_file() and (ROOT / "sql").is_dir()

SQL = ROOT / "sql" if IS_CHECKOUT else PACKAGE / "sql"
"""Holds `migrations/` and `reporting/`. A wheel carries them inside the package."""

DAGSTER_YAML = PACKAGE / "dagster" / "dagster.yaml"
"""How Dagster is to run; `dev.dagster_yaml` puts it into the folder that DAGSTER_HOME names."""


def _nearest(start: Path) -> Path:
    folders = (start, *start.parents)
    marked = (f for f in folders if (f / ".env").is_file() or (f / "dagster_home").is_dir())
    return next(marked, start)


PROJECT = ROOT if IS_CHECKOUT else _nearest(Path.cwd())
"""Holds `.env`, `dagster_home/` and `workspace.yaml`: the checkout, wherever a command is run.

A wheel keeps no data among installed packages. Its project is the nearest folder that holds one of
the first two, from the working directory upwards; without one, the working directory.
"""


def in_project() -> bool:
    """Whether the working directory is the project's folder or in it."""
    marked = IS_CHECKOUT or any((PROJECT / name).exists() for name in (".env", "dagster_home"))
    return marked and Path.cwd().resolve().is_relative_to(PROJECT.resolve())


def child_environment() -> dict[str, str]:
    """Our environment, for a process of Python's that is to find this package."""
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def cli_command(*words: str) -> str:
    """A command of ours as the reader can type it here, whatever folder they are in.

    `cw-pipeline` where that is on the PATH and is ours, else its path, else Python's `-m`.
    """
    beside = Path(sys.executable).with_name("cw-pipeline")
    on_path = shutil.which("cw-pipeline")
    if on_path is not None and Path(on_path).resolve() == beside.resolve():
        start = ["cw-pipeline"]
    elif beside.exists():
        start = [str(beside)]
    else:
        start = [sys.executable, "-m", "cw_pipeline"]
    return shlex.join([*start, *words])
