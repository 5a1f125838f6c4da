"""The dagster.yaml in a DAGSTER_HOME: where Dagster keeps its runs, and how it runs them.

Written where there is none, and again where settings or a new version change it. Whoever edits it
keeps it: a copy that is no longer as this program wrote it is left alone.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, urlencode

from cw_pipeline.address import parse_address
from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import DAGSTER_YAML

FILE = "dagster.yaml"
PASSWORD_FILE = "dagster.pgpass"  # noqa: S105 - a name; libpq reads the file
_SETTING = "CW_DAGSTER_PG_URL"

_OUR_OLD_COPIES = frozenset(
    {
        "1bf1be5d95fa042403959cbde7ef3b78bb638f33d14019ec848edafe131c644b",
        "57cf3c9d216dbffe1690cb058702016945c263e1791cca784492736c90fcce96",
        "f32ec6a376dfa5a5bcbebb34c13a1a19986fe093c818cdebbba01b75ffad1f70",
        "9c7d12ff3366ad7f30aa8db8fc08b0f8a060e51feb7b25504962ad450235aa10",
    }
)
"""SHA-256 of every dagster.yaml that was put into homes before they had a last line like this."""

_STAMP = "# as cw-pipeline wrote it: "

_MOVED = {
    "cw_pipeline.orchestrate.queue": "cw_pipeline.dagster.run_coordinator",
    "cw_pipeline.dagster.embedded_storage": "cw_pipeline.dagster.storages",
}
_OLD_STORAGE = re.compile(r"cw_pipeline\.\w+\.instance_storage")


def prepare_dagster_yaml(home: Path, runs: str | Path | None) -> None:
    """Puts this version's dagster.yaml into a home, unless somebody has changed the one there.

    `runs` is where Dagster keeps its runs: the address of a Postgres database, the folder of the
    embedded server, or None: SQLite files in the home. Raises ConfigError if a changed file cannot
    work: what to write into it.
    """
    address = runs if isinstance(runs, str) else None
    file, storage = home / FILE, _storage(home, runs)
    text = file.read_text("utf-8") if file.exists() else ""
    ours = _with_stamp(f"{DAGSTER_YAML.read_text('utf-8')}\n{storage}")
    if text == ours and address is None:
        return
    if not text or _is_ours(text):
        if address is not None:
            _write(home / PASSWORD_FILE, _password_line(address))
        _write(file, ours)
        return
    if lines := [f"`{new}` for `{old}`" for old, new in _MOVED.items() if old in text]:
        raise ConfigError(
            f"{file} names modules of an older version: write {' and '.join(lines)}, or remove the"
            " file to get this version's"
        )
    lost = _SETTING if address is not None and not re.search(r"(?m)^storage\s*:", text) else None
    if lost or _OLD_STORAGE.search(text):
        why = "names a storage of an older version" if lost is None else f"does not heed {lost}"
        raise ConfigError(
            f"{file}, which was changed by hand, {why}: write these lines into it, or remove the"
            f" file to get this version's\n{storage}"
        )
    if address is not None and PASSWORD_FILE in text:
        _write(home / PASSWORD_FILE, _password_line(address))


def with_driver(address: str, password_file: Path | None = None) -> str:
    """An address as the URL that dagster-postgres needs, whatever it was written as.

    All of it stands in the query, where SQLAlchemy takes what libpq knows. With `password_file` the
    password is left to that file: Dagster shows its configuration, and hands it to processes as an
    argument. Raises ConfigError.
    """
    parameters = parse_address(address, _SETTING)
    if password_file is not None and parameters.pop("password", None) is not None:
        parameters["passfile"] = str(password_file)
    if password_file is not None and "sslpassword" in parameters:
        raise ConfigError(
            f"{_SETTING}: sslpassword cannot be kept from Dagster's pages: leave it out"
        )
    return f"postgresql+psycopg2://?{urlencode(parameters, quote_via=quote)}"


def _storage(home: Path, runs: str | Path | None) -> str:
    """The lines that name one of Dagster's own storages. A string of JSON is one of YAML, too."""
    if runs is None:
        return (
            "storage:\n  custom: # Dagster's own for SQLite, made by one process at a time\n"
            "    module: cw_pipeline.dagster.storages\n    class: SqliteStorage\n"
            f"    config:\n      base_dir: {json.dumps(str(home / 'storage'))}\n"
        )
    if isinstance(runs, Path):
        return (
            "storage:\n  custom: # Dagster's own for Postgres, which starts the embedded server\n"
            "    module: cw_pipeline.dagster.storages\n    class: EmbeddedPostgresStorage\n"
            f"    config:\n      server: {json.dumps(str(runs))}\n"
        )
    url = with_driver(runs, home / PASSWORD_FILE)
    return f"storage:\n  postgres:\n    postgres_url: {json.dumps(url)}\n"


def _password_line(address: str) -> str:
    """The password for whichever server and role the URL names, as libpq's `passfile` has it."""
    password = parse_address(address, _SETTING).get("password", "")
    escaped = re.sub(r"([:\\])", r"\\\1", password)
    return f"*:*:*:*:{escaped}\n"


def _with_stamp(text: str) -> str:
    return f"{text}{_STAMP}{sha256(text.encode()).hexdigest()}\n"


def _is_ours(text: str) -> bool:
    """Whether nobody has changed it since this program wrote it, in any version."""
    written, stamp, _ = text.rpartition(_STAMP)
    if stamp:
        return text == _with_stamp(written)
    return sha256(text.encode()).hexdigest() in _OUR_OLD_COPIES


def _write(file: Path, text: str) -> None:
    """Replaces a file whole, readable by its owner alone, if it is not like this already."""
    try:
        if file.exists() and file.read_text("utf-8") == text:
            return
        descriptor, made = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
        Path(made).replace(file)
    except OSError as error:
        raise ConfigError(f"Cannot write {file}: {error.strerror}") from error
