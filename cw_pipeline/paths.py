"""Where the files beside the code are: in a checkout, and in an installed wheel."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
"""The checkout; for an installed wheel, the folder that holds installed packages."""

IS_CHECKOUT = (ROOT / "pyproject.toml").is_file() and (ROOT / "sql").is_dir()

SQL = ROOT / "sql" if IS_CHECKOUT else PACKAGE / "sql"
"""Holds `migrations/` and `reporting/`. A wheel carries them inside the package."""

DAGSTER_YAML = ROOT / "dagster_home" / "dagster.yaml" if IS_CHECKOUT else PACKAGE / "dagster.yaml"
"""How Dagster is to run; belongs into the folder that DAGSTER_HOME names."""

PROJECT = ROOT if IS_CHECKOUT else Path.cwd()
"""Holds `dagster_home/` and `workspace.yaml`. A wheel keeps no data among installed packages."""


def child_environment() -> dict[str, str]:
    """Our environment, for a process of Python's that is to find this package."""
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
