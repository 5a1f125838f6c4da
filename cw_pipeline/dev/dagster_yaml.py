"""The dagster.yaml in a DAGSTER_HOME: made where there is none, renewed where it is an old one."""

from __future__ import annotations

import shutil
from hashlib import sha256
from typing import TYPE_CHECKING

from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import DAGSTER_YAML

if TYPE_CHECKING:
    from pathlib import Path

_OUR_OLD_COPIES = frozenset(
    {
        "1bf1be5d95fa042403959cbde7ef3b78bb638f33d14019ec848edafe131c644b",
        "57cf3c9d216dbffe1690cb058702016945c263e1791cca784492736c90fcce96",
        "f32ec6a376dfa5a5bcbebb34c13a1a19986fe093c818cdebbba01b75ffad1f70",
    }
)
"""SHA-256 of every dagster.yaml that this program has put into homes before."""

_MOVED = {
    "cw_pipeline.orchestrate.instance_storage": "cw_pipeline.dagster.instance_storage",
    "cw_pipeline.orchestrate.queue": "cw_pipeline.dagster.run_coordinator",
}


def prepare_dagster_yaml(home: Path) -> None:
    """Puts this version's dagster.yaml into a home, unless somebody has changed the one there.

    Raises ConfigError if a changed one names modules that are not there any more.
    """
    file = home / "dagster.yaml"
    if not file.exists() or sha256(file.read_bytes()).hexdigest() in _OUR_OLD_COPIES:
        shutil.copyfile(DAGSTER_YAML, file)
    text = file.read_text(encoding="utf-8")
    lines = [f"`{new}` for `{old}`" for old, new in _MOVED.items() if old in text]
    if lines:
        raise ConfigError(
            f"{file} names modules of an older version: write {' and '.join(lines)}, or remove the"
            " file to get this version's"
        )
