"""Builds, checks and loads the compiled reader: C that reads a page by its layout (`c/records.c`).

It is built for all who run the code when that is set up, packed as a wheel or put into an image
(`build_library`). Only in a checkout that was never set up is it compiled at first use. Where there
is none, Python decodes every record: the same rows, at a third of the rate.

Standard library only: set-up and the build of a wheel run this file by its path, with nothing
installed.

    CC, CFLAGS   the compiler (`cc`), with its arguments, and options; `CC=`: none
    CW_COMPILED  `off`: Python decodes every record, whatever is built
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent / "c"
BUILT = SOURCES / "built"
"""Where set-up, wheel and image have it. Not in `__pycache__`, which images are rid of."""
TIME_LIMIT = 60.0
"""Seconds that a compiler may take; it needs two."""

_FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC")
_FOR_ALL, _FOR_ITS_OWNER = 0o755, 0o700
_OTHERS_WRITE = 0o022
_loading = Lock()  # lists are read side by side, and one compiler at work is enough


class BuildFailedError(Exception):
    """Why the compiled reader cannot be built, and what to do about it."""


class _UnusableError(Exception):
    """Why a library that was built is not used."""


@cache
def load_library(answers: Callable[[ctypes.CDLL], bool]) -> ctypes.CDLL | None:
    """The compiled reader; None, which a warning explains, where Python has to read everything.

    `answers` tells whether a library answers as it should. One that does not, or that others than
    us, root and the owner of this code could have written, is built anew.
    """
    if os.environ.get("CW_COMPILED", "").strip().lower() in ("off", "no", "false", "0"):
        return None
    refused: list[str] = []
    with _loading:
        name = f"records-{_edition()}-*.so"
        for file in (file for folder, _ in _places() for file in sorted(folder.glob(name))):
            try:
                return _load(file, answers)
            except (OSError, _UnusableError) as error:
                refused.append(f"{file} is not used: {error}")
                log.info("%s", refused[-1])
        try:
            return _build_and_load(answers)
        except (BuildFailedError, _UnusableError) as error:
            reasons = "; ".join([*refused, str(error)])
            log.warning("Python decodes every record, at a third of the rate: %s", reasons)
            return None


def build_library(folder: Path = BUILT, mode: int = _FOR_ALL) -> Path:
    """Compiles the reader into this folder, which only its owner can write to, whatever the umask.

    Raises OSError where that cannot be, and BuildFailedError. It need not be loadable from there:
    see `_refuse_noexec`.
    """
    _make_folder(folder, mode)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch, "records.so")
        _compile(made)
        made.chmod(mode)
        stem = f"records-{_edition()}"
        library = folder / f"{stem}-{_digest(made.read_bytes())}.so"
        made.replace(library)
    for other in folder.glob(f"{stem}-*.so"):
        if other != library:  # was damaged, or did not answer
            other.unlink(missing_ok=True)
    return library


def _build_and_load(answers: Callable[[ctypes.CDLL], bool]) -> ctypes.CDLL:
    """A library that is built now. Raises BuildFailedError and _UnusableError."""
    refused = []
    for folder, mode in _places():
        try:
            _refuse_noexec(folder)
            return _load(build_library(folder, mode), answers)
        except OSError as error:
            refused.append(f"{folder}: {error.strerror or error}")
    raise BuildFailedError(
        f"no folder can hold compiled code ({'; '.join(refused)})."
        " Let the owner of the code run `cw-pipeline setup`"
    )


def _refuse_noexec(folder: Path) -> None:
    """Raises OSError where nothing could be loaded, before a compiler works for that in vain."""
    if os.name != "nt":
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if os.statvfs(there).f_flag & getattr(os, "ST_NOEXEC", 0):
            raise PermissionError("its disk is mounted with `noexec`")


def _places() -> list[tuple[Path, int]]:
    """Where compiled code may lie, with its mode: beside ours, or with the user's own."""
    home = os.environ.get("HOME")
    cached = os.environ.get("XDG_CACHE_HOME") or (home and f"{home}/.cache")
    caches = [(Path(cached) / "cw_pipeline", _FOR_ITS_OWNER)] if cached else []
    return [(BUILT, _FOR_ALL), *caches]


def _load(file: Path, answers: Callable[[ctypes.CDLL], bool]) -> ctypes.CDLL:
    """Raises OSError, and _UnusableError if it is damaged or not to be trusted."""
    file = file.resolve()
    for path in (file, file.parent):
        if why := _distrust(path):
            raise _UnusableError(f"{path} {why}")
    # A file that was cut off would end the process where it is loaded.
    if _digest(file.read_bytes()) != file.stem.rpartition("-")[2]:
        raise _UnusableError("it is damaged")
    code = ctypes.CDLL(str(file))
    if not answers(code):
        raise _UnusableError("it does not answer as it should")
    return code


def _distrust(path: Path) -> str | None:
    """Why others could have written this file, or what is in this folder; None if none could.

    Who can write this very file is trusted: with the same right they change what Python runs.
    """
    if os.name == "nt":
        return None  # has no modes to look at
    code, found = Path(__file__).parent.stat(), path.stat()
    if found.st_uid not in (0, os.geteuid(), code.st_uid):
        return f"belongs to another user ({found.st_uid})"
    writable = found.st_mode & _OTHERS_WRITE
    if found.st_gid == code.st_gid:
        writable &= ~(code.st_mode & 0o020)
    return f"can be written by others (mode {found.st_mode & 0o777:o})" if writable else None


def _make_folder(folder: Path, mode: int) -> None:
    """Makes the folder, and those above that are missing. Raises OSError if others can write it."""
    for path in reversed([folder, *folder.parents]):
        if not path.exists():
            path.mkdir(mode, exist_ok=True)
            path.chmod(mode)
    if _distrust(folder) and folder.stat().st_uid == os.geteuid():
        folder.chmod(mode)
        for planted in folder.glob("records-*.so"):  # by whoever could write here until now
            planted.unlink()
    if why := _distrust(folder):
        raise PermissionError(f"it {why}")


def _compile(made: Path) -> None:
    """Raises BuildFailedError if there is no compiler, or if it fails or hangs."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    again = "then run `cw-pipeline setup`"
    if not compiler:
        raise BuildFailedError(f"it is not built, and CC is empty. Unset CC, {again}")
    options = [*_FLAGS, *shlex.split(os.environ.get("CFLAGS", ""))]
    command = [*compiler, *options, "-o", str(made), str(SOURCES / "records.c")]
    named = shlex.join(compiler)
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            # In a session of its own: what `ccache gcc` has started ends with it.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise BuildFailedError(
                f"the C compiler {named} does not start ({error.strerror})."
                f" Install one, such as gcc, or name it in CC, {again}"
            ) from error
        with _end_afterwards(process):
            try:
                code = process.wait(TIME_LIMIT)
            except subprocess.TimeoutExpired:
                raise BuildFailedError(
                    f"the C compiler {named} did not end in {TIME_LIMIT:.0f} s and was stopped."
                    f" Name another in CC, {again}"
                ) from None
        output.seek(0)
        said = output.read().strip()[-500:]
    if code or not made.exists():
        raise BuildFailedError(
            f"the C compiler {named} failed: {said or f'exit code {code}'}."
            f" Install gcc and the headers of the C library, {again}"
        )


@contextmanager
def _end_afterwards(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends the process, and all that it has started, with the block."""
    try:
        yield
    finally:
        if process.poll() is None:
            if os.name == "nt":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _edition() -> str:
    """Other sources, or another kind of machine on the same disk, make another file."""
    text = "".join(source.read_text() for source in sorted(SOURCES.glob("*.[ch]")))
    where = f"{sys.platform} {platform.machine()} {platform.libc_ver()[0]}"
    return _digest(f"{where} {_FLAGS} {text}".encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def main() -> int:
    """Builds the library beside the code, for all who run that, unless it is there.

    The exit code is 1 if that fails, which is said.
    """
    try:
        _refuse_noexec(BUILT)
        for file in BUILT.glob(f"records-{_edition()}-*.so"):
            with suppress(OSError, _UnusableError):
                _load(file, lambda _: True)  # who uses it asks it whether it answers
                return 0
        build_library()
    except OSError as error:
        sys.stderr.write(
            f"cw-pipeline: {BUILT} cannot hold compiled code: {error.strerror or error}. Where"
            " there is a C compiler, each user's own cache gets it at first use; else Python"
            " decodes every record, at a third of the rate\n"
        )
        return 1
    except BuildFailedError as error:
        sys.stderr.write(
            f"cw-pipeline: Python will decode every record, at a third of the rate: {error}\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
