"""The code of the compiled way: C that reads a page as its entity's plan says (`c/records.c`).

It is made by the machine's own C compiler when it is first needed, and kept as Python keeps its
bytecode. Where there is no compiler, Python types every record: the same rows, at a third of the
rate.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from threading import Lock

log = logging.getLogger(__name__)

_SOURCES = Path(__file__).parent / "c"
_making = Lock()  # lists are read side by side, and one compiler at work is enough
_FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC")


@cache
def load_library() -> ctypes.CDLL | None:
    """The compiled code; None if there is none and this machine cannot make it.

    `CC` names the compiler, if it is not `cc`; if it is empty, nothing compiled is used. `CFLAGS`
    are for it.
    """
    compiler = os.environ.get("CC", "cc")
    for folder in _folders() if compiler else ():
        try:
            return ctypes.CDLL(str(_build_library(compiler, folder)))
        except OSError as error:
            log.debug("no compiled code in %s: %s", folder, error)
        except subprocess.CalledProcessError as error:
            log.warning("%s cannot make %s: %s", compiler, _SOURCES, error.stderr.strip()[-500:])
            break
    log.info("no compiled code: records are typed by Python")
    return None


def _folders() -> list[Path]:
    """Where compiled code may lie: beside ours, or with the user's own, but nowhere shared."""
    home = os.environ.get("HOME")
    cached = os.environ.get("XDG_CACHE_HOME") or (home and f"{home}/.cache")
    return [
        Path(__file__).parent / "__pycache__",
        *([Path(cached) / "cw_pipeline"] if cached else []),
    ]


def _build_library(compiler: str, folder: Path) -> Path:
    """The library's file. Raises OSError where none can be written, and CalledProcessError."""
    made = folder / f"records-{_edition()}.so"
    with _making:
        if made.exists():
            return made
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(folder)
        making = made.with_suffix(f".{os.getpid()}")  # others may be making it, too
        command = [compiler, *_flags(), "-o", str(making), str(_SOURCES / "records.c")]
        subprocess.run(command, check=True, capture_output=True, text=True)
        making.replace(made)
    return made


def _flags() -> list[str]:
    return [*_FLAGS, *shlex.split(os.environ.get("CFLAGS", ""))]


def _edition() -> str:
    """Other sources, or another kind of machine on the same disk, make another file."""
    told = "".join(source.read_text() for source in sorted(_SOURCES.glob("*.[ch]")))
    where = f"{sys.platform} {platform.machine()} {platform.libc_ver()[0]}"
    return hashlib.sha256(f"{where} {_flags()} {told}".encode()).hexdigest()[:16]
