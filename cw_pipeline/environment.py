"""Settings as they are given: by the environment, by the settings file, by files that hold secrets.

Which names there are and what their values mean is `settings`' part. The environment goes before
the file, and an empty value counts as not set.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import IS_CHECKOUT, PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "CW_"
NAMED_FILE = "CW_ENV_FILE"
IN_A_FILE = "_FILE"
"""`CW_PRIVATE_KEY_FILE` names a file that holds what `CW_PRIVATE_KEY` would."""

_LARGEST = 1 << 16  # bytes; what is larger is no secret, and /dev/zero never ends


@dataclass(frozen=True, slots=True)
class GivenValue:
    """A setting as it is written somewhere. `file` is the settings file, None the environment."""

    value: str
    file: Path | None = None

    @property
    def place(self) -> str:
        """Where to change it, for messages."""
        return f"in {self.file}" if self.file else "in the environment"

    @property
    def path(self) -> Path:
        """The value as a path: relative to the settings file's folder where that names it."""
        return path_from(self.file.parent if self.file else Path.cwd(), self.value)


def settings_file() -> Path:
    """The one file that settings are read from, there or not. The same from every folder.

    The file that CW_ENV_FILE names; else a checkout's own `.env`. Where the package is installed:
    `.env` in DAGSTER_HOME or beside it, else the nearest one from the working directory upwards.
    Raises ConfigError if CW_ENV_FILE names none.
    """
    if named := os.environ.get(NAMED_FILE, "").strip():
        path = path_from(Path.cwd(), named)
        if not path.exists():
            raise ConfigError(f"{NAMED_FILE} names {path}, which is not there")
        return path
    if IS_CHECKOUT:
        return PROJECT / ".env"
    home = os.environ.get("DAGSTER_HOME")
    beside = [Path(home).absolute(), Path(home).absolute().parent] if home else []
    folders = [*beside, Path.cwd(), *Path.cwd().parents]
    candidates = (folder / ".env" for folder in folders if (folder / ".env").is_file())
    return next(candidates, PROJECT / ".env")


def read_settings_file(path: Path) -> dict[str, str]:
    """The names and values that a settings file holds; none where there is no file.

    Raises ConfigError that says why it cannot be read.
    """
    text = settings_text(path)
    for line in parse_stream(StringIO(text)):
        # Lines of others are theirs; dotenv skips what it cannot read, a key without a quote too.
        if line.error and PREFIX in line.original.string:
            raise ConfigError(
                f"{path}, line {line.original.line}, cannot be read: write NAME=value, and close"
                " quotes that are opened"
            )
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(text)).items()}


def settings_text(path: Path) -> str:
    """The text of a settings file; empty where there is no file.

    Raises ConfigError that names the file and the line, and never what is written in it.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return ""
    except IsADirectoryError:
        raise ConfigError(
            f"{path} is a folder, and settings are read from a file: move the folder away, or name"
            f" the file in {NAMED_FILE}"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): give it to the account that runs this"
            " command, with mode 0600"
        ) from None
    advice = "save it as UTF-8"
    if text.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in text:
        raise ConfigError(f"{path} is not UTF-8 text but, it seems, UTF-16: {advice}")
    try:
        return text.decode("utf-8-sig")  # editors on Windows put a mark before the first line
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} is not UTF-8 text (line {line}): {advice}") from None


def write_settings_file(path: Path, values: Mapping[str, str]) -> None:
    """Puts values into a settings file, which only its owner can read afterwards.

    Lines that give none of these names stay as they are. The file is whole at every moment. Raises
    ConfigError if it cannot be written.
    """
    text = settings_text(path) or "# Settings of cw_pipeline: .env.example explains them all.\n"
    lines, written = list[str](), set[str]()
    for line in parse_stream(StringIO(text)):
        if line.key is None or line.key not in values:
            lines.append(line.original.string)
        elif line.key not in written:
            written.add(line.key)
            same = line.value == values[line.key]
            lines.append(line.original.string if same else _assignment(line.key, values[line.key]))
    if lines and not lines[-1].endswith("\n"):
        lines.append("\n")
    lines += [_assignment(name, value) for name, value in values.items() if name not in written]
    text_after = "".join(lines)
    as_read = dotenv_values(stream=StringIO(text_after))
    if refused := [name for name, value in values.items() if as_read.get(name) != value]:
        raise ConfigError(
            f"{', '.join(refused)} cannot be written into {path}, because of a ${{ or an end of"
            f" line: put the value into a file of its own, and name that in {refused[0]}{IN_A_FILE}"
        )
    try:
        _replace(path.resolve(), text_after.encode())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}): {NAMED_FILE} names another file"
        ) from None


def given_values() -> dict[str, GivenValue]:
    """All that begins with `CW_`, by name, whether it is a setting or not. Raises ConfigError."""
    path = settings_file()
    values = {n.upper(): GivenValue(v.strip(), path) for n, v in read_settings_file(path).items()}
    values |= {n.upper(): GivenValue(v.strip()) for n, v in os.environ.items()}
    return {name: each for name, each in values.items() if name.startswith(PREFIX)}


def secret_value(name: str, everything: Mapping[str, GivenValue]) -> str | None:
    """The value of a setting that a file may hold instead, if it is set. Raises ConfigError."""
    plain, file = (everything.get(each) for each in (name, name + IN_A_FILE))
    if file is None or not file.value:
        return plain.value if plain else None
    if plain is not None and plain.value:
        raise ConfigError(
            f"{name} ({plain.place}) and {name}{IN_A_FILE} ({file.place}) are both set: keep one"
        )
    return _read_secret_file(name + IN_A_FILE, file.path)


def setting(name: str) -> str | None:
    """One setting that is needed where the others are not, if it is set. Raises ConfigError."""
    return secret_value(name, given_values()) or None


def path_setting(name: str) -> Path | None:
    """The same for a file or folder: from the settings file's folder on where that names it."""
    each = given_values().get(name)
    return each.path if each and each.value else None


def path_from(folder: Path, name: str) -> Path:
    """A path that is written somewhere: from that folder on, if it is relative."""
    # pathlib's own raises RuntimeError for the home of somebody who has none.
    return folder / os.path.expanduser(name)  # noqa: PTH111


def is_open_to_others(path: Path) -> bool:
    """Whether other accounts of this machine may read a file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return os.name != "nt" and stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def _assignment(name: str, value: str) -> str:
    """Without quotes where they are not needed: Docker's --env-file would keep them."""
    if re.fullmatch(r"[\w./:@%+,=~?&*\[\]-]*", value, re.ASCII):
        return f"{name}={value}\n"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'\n"


def _replace(path: Path, content: bytes) -> None:
    """Raises OSError. The owner stays who it was, when root writes for somebody."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no plain file")
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            if os.name != "nt":
                os.fchmod(number, stat.S_IRUSR | stat.S_IWUSR)  # whatever the umask takes away
                if path.exists() and path.stat().st_uid != os.geteuid():
                    os.fchown(number, path.stat().st_uid, path.stat().st_gid)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read_secret_file(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(
            f"{name} names {path}, which cannot be read ({error.strerror}): give the account that"
            " runs this command a file it may read"
        ) from None
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{name} names {path}, which is no UTF-8 text") from None
    if not text or len(content) > _LARGEST or "\0" in text:
        fault = "is empty" if not text else "holds more than one secret would"
        raise ConfigError(f"{name} names {path}, which {fault}: write the value alone into it")
    return text
