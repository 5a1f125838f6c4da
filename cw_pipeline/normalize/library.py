"""The code of the compiled way: C that reads a page as its entity's plan says (`c/records.c`).

It is made by the machine's own C compiler when it is first needed, and kept as Python keeps its
bytecode. Where there is no compiler, Python types every record: the same rows, at a quarter of the
rate.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

_SOURCES = Path(__file__).parent / "c"
_FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC")


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code; None if this machine cannot make it.

    `CC` names the compiler, if it is not `cc`; an empty one stands for none. `CFLAGS` are for it.
    """
    compiler = shutil.which(os.environ.get("CC", "cc") or "none")
    if compiler is None:
        log.info("no C compiler: records are typed by Python, at a quarter of the rate")
        return None
    for folder in _folders():
        try:
            made = _made(compiler, folder)
            return ctypes.CDLL(str(made))
        except OSError as error:
            log.debug("no compiled code in %s: %s", folder, error)
        except subprocess.CalledProcessError as error:
            log.warning("%s cannot make %s: %s", compiler, _SOURCES, error.stderr.strip()[-500:])
            return None
    return None


def _folders() -> tuple[Path, ...]:
    """Where compiled code may lie: beside ours, or with the user's own, but nowhere shared."""
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(__file__).parent / "__pycache__", own / "cw_pipeline"


def _made(compiler: str, folder: Path) -> Path:
    """The library's file. Raises OSError where none can be written, and CalledProcessError."""
    made = folder / f"records-{_edition()}.so"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        making = made.with_suffix(f".{os.getpid()}")  # others may be making it, too
        command = [compiler, *_flags(), "-o", str(making), str(_SOURCES / "records.c")]
        if not os.access(folder, os.W_OK):
            raise PermissionError(folder)
        subprocess.run(command, check=True, capture_output=True, text=True)
        making.replace(made)
    return made


def _flags() -> list[str]:
    return [*_FLAGS, *shlex.split(os.environ.get("CFLAGS", ""))]


def _edition() -> str:
    """Other sources, or another kind of machine on the same disk, make another file."""
    told = "".join(source.read_text() for source in sorted(_SOURCES.iterdir()))
    where = f"{sys.platform} {platform.machine()} {platform.libc_ver()[0]}"
    return hashlib.sha256(f"{where} {_flags()} {told}".encode()).hexdigest()[:16]
