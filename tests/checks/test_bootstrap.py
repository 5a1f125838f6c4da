"""`python3 -m cw_pipeline …` works wherever there is a Python, and says so where it cannot.

These tests set up a project in small: this package's entry, a dependency that nothing has
installed, and a lock that names it by hash.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cw_pipeline import _bootstrap

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ("__init__.py", "__main__.py", "_bootstrap.py")

CLI = """
import os, subprocess, sys
import cw_probe
def run_process():
    words = sys.argv[1:]
    if words == ["child"]:
        command = "import cw_pipeline, cw_probe; print('imported')"
        return subprocess.call([sys.executable, "-c", command], cwd="/")
    print("ran", *words)
    return 7 if words == ["fail"] else 0
"""

needs_venv = pytest.mark.skipif(
    importlib.util.find_spec("ensurepip") is None and shutil.which("uv") is None,
    reason="this Python cannot make virtual environments",
)


def wheel(folder: Path, name: str, version: str) -> str:
    """Builds a wheel of a package with one module and returns its line in a lock."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{path} --hash=sha256:{digest}\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a space in its path, that was never set up."""
    made = tmp_path / "the checkout"
    package = made / "cw_pipeline"
    package.mkdir(parents=True)
    for name in ENTRY:
        shutil.copy(ROOT / "cw_pipeline" / name, package / name)
    bootstrap = (package / "_bootstrap.py").read_text()
    bootstrap = re.sub(
        r"NEEDED = \(.*?\)\n", 'NEEDED = ("cw_probe",)\n', bootstrap, flags=re.DOTALL
    )
    bootstrap = re.sub(
        r"NEEDED_BY = \{.*?\n\}\n",
        'NEEDED_BY = {"dev": (), "celery": ("cw_extra",)}\n',
        bootstrap,
        flags=re.DOTALL,
    )
    (package / "_bootstrap.py").write_text(bootstrap)
    (package / "cli.py").write_text(CLI)
    (made / "pyproject.toml").touch()
    (made / "requirements.lock").write_text(wheel(tmp_path, "cw_probe", "1.0"))
    (made / ".ci" / "locks").mkdir(parents=True)
    (made / ".ci" / "locks" / "celery.lock").write_text(wheel(tmp_path, "cw_extra", "1.0"))
    return made


def outside() -> dict[str, str]:
    """The environment without what these tests' own run has put there."""
    return {k: v for k, v in os.environ.items() if not k.startswith("CW_") and k != "PYTHONPATH"}


def start(checkout: Path, *words: str, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cw_pipeline", *words],
        cwd=checkout,
        env=outside() | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(checkout: Path, *words: str, **settings: str) -> tuple[int, str, str]:
    """The exit code of a command, and what it printed."""
    process = start(checkout, *words, **settings)
    output, complaints = process.communicate(timeout=100)
    return process.returncode, output, complaints


@needs_venv
def test_the_first_command_sets_up_and_runs_and_the_next_just_runs(checkout: Path) -> None:
    code, output, said = run(checkout, "hello", "you")
    assert (code, output) == (0, "ran hello you\n"), said
    assert "setting up" in said
    assert run(checkout, "hello") == (0, "ran hello\n", "")
    assert run(checkout, "fail") == (7, "ran fail\n", "")
    assert run(checkout, "child") == (0, "imported\n", "")


@needs_venv
def test_what_was_set_up_runs_from_any_folder_by_its_path_even_one_with_blanks(
    checkout: Path, tmp_path: Path
) -> None:
    run(checkout, "hello")
    program = str(checkout / ".venv" / "bin" / "cw-pipeline")
    done = subprocess.run(
        [program, "a", "b c"], cwd="/", env=outside(), capture_output=True, check=True
    )
    assert done.stdout == b"ran a b c\n"
    python = str(checkout / ".venv" / "bin" / "python")
    subprocess.run([python, "-c", "import cw_pipeline.cli"], cwd="/", env=outside(), check=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "linked").symlink_to(program)
    assert subprocess.check_output([tmp_path / "bin" / "linked"], env=outside()) == b"ran\n"


@needs_venv
def test_set_up_builds_the_compiled_reader_and_goes_on_where_it_cannot(checkout: Path) -> None:
    reader = checkout / _bootstrap.READER.relative_to(ROOT)
    reader.parent.mkdir()
    reader.write_text('import sys\nprint(sys.prefix)\nsys.exit("no compiler")\n')
    code, output, said = run(checkout, "hello")
    assert (code, output) == (0, "ran hello\n")
    assert f"{checkout / '.venv'}\n" in said
    assert said.count("no compiler") == 1
    assert run(checkout, "hello") == (0, "ran hello\n", "")


@needs_venv
def test_a_checkout_that_was_moved_is_set_up_again_where_it_is(checkout: Path) -> None:
    run(checkout, "hello")
    moved = checkout.rename(checkout.with_name("moved"))
    code, _, said = run(moved, "hello")
    assert code == 0
    assert "setting up" in said
    command = moved / ".venv" / "bin" / "cw-pipeline"
    assert subprocess.check_output([command], cwd="/", env=outside()) == b"ran\n"


@needs_venv
def test_an_extra_is_installed_when_it_is_asked_for_and_stays(checkout: Path) -> None:
    code, _, said = run(checkout, "setup", "--extra", "celery")
    assert code == 0, said
    (checkout / "requirements.lock").write_text(wheel(checkout, "cw_probe", "2.0"))
    assert run(checkout, "setup")[0] == 0
    packages = {path.name for path in checkout.glob(".venv/lib/*/site-packages/*.dist-info")}
    assert {"cw_probe-2.0.dist-info", "cw_extra-1.0.dist-info"} <= packages


def test_no_package_of_the_system_is_installed_unasked(checkout: Path, tmp_path: Path) -> None:
    """A Python without ensurepip, as Debian has it, and an apt-get that writes down its calls."""
    programs = tmp_path / "bin"
    programs.mkdir()
    bare = programs / "python3"
    bare.write_text(
        f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"\n'
    )
    (programs / "apt-get").write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/calls"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    settings = {"PATH": f"{programs}:/usr/bin:/bin", "CW_PYTHON": str(bare)}
    code, _, said = run(checkout, "hello", **settings)
    assert code == 2
    package = f"python3.{sys.version_info.minor}-venv"
    assert f"apt-get install -y --no-install-recommends {package}" in said
    assert not (tmp_path / "calls").exists()
    run(checkout, "setup", "--install-packages", **settings)
    installed = (tmp_path / "calls").exists()
    assert installed == (os.geteuid() == 0)


def test_set_up_says_how_far_it_is() -> None:
    pip = (
        "Ignoring colorama: markers\nIgnoring pywin32: markers\nCollecting a==1\n"
        "  Downloading a-1-py3-none-any.whl (1.5 MB)\nProcessing /wheels/b.whl\n"
        "Collecting c==2\n  Downloading c-2.whl (500 kB)\n"
    )
    assert _bootstrap._progress_text("\n" + pip, 93) == "fetching 3 of 91 packages, 2 MB"
    installing = _bootstrap._progress_text("\n" + pip + "Installing collected packages: a", 93)
    assert re.fullmatch(r"\d+ of 91 packages installed", installing)
    uv = "Using Python 3.11\nResolved 93 packages in 7ms\nDownloading a (9.0MiB)\n"
    assert _bootstrap._progress_text(uv, 98) == "fetching 93 packages, 9 MB"


@needs_venv
def test_a_changed_lock_is_installed_by_the_next_command(checkout: Path) -> None:
    run(checkout, "hello")
    lock = checkout / "requirements.lock"
    lock.write_text(wheel(checkout, "cw_probe", "2.0"))
    code, _, said = run(checkout, "hello")
    assert code == 0
    assert "setting up" in said
    assert list(checkout.glob(".venv/lib/*/site-packages/cw_probe-2.0.dist-info"))


@needs_venv
def test_a_set_up_that_was_cut_short_is_made_anew(checkout: Path) -> None:
    run(checkout, "hello")
    (checkout / ".venv" / ".cw-stamp").write_text(_bootstrap.UNFINISHED)
    for half in checkout.glob(".venv/lib/*/site-packages/cw_probe.py"):
        half.unlink()
    code, output, _ = run(checkout, "hello")
    assert (code, output) == (0, "ran hello\n")


@needs_venv
def test_two_first_commands_at_once_do_not_break_each_other(checkout: Path) -> None:
    both = [start(checkout, "hello"), start(checkout, "hello")]
    said = [process.communicate(timeout=100)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("setting up" in words for words in said) == 1


@needs_venv
def test_a_file_that_is_not_the_locked_one_is_not_installed(checkout: Path) -> None:
    lock = checkout / "requirements.lock"
    lock.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", lock.read_text()))
    code, output, said = run(checkout, "hello")
    assert (code, output) == (2, "")
    assert "set-up failed" in said


def test_an_unsupported_python_is_told_which_ones_are(checkout: Path) -> None:
    code, _, said = run(checkout, "hello", CW_PYTHON=shutil.which("false") or "/bin/false")
    assert code == 2
    assert "needs Python 3.11 to 3.14" in said


def test_the_versions_it_names_are_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest, newest = _bootstrap.OLDEST, _bootstrap.NEWEST
    assert project["requires-python"] == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"


@pytest.mark.parametrize("name", ENTRY)
def test_old_pythons_can_read_the_entry(name: str) -> None:
    source = (ROOT / "cw_pipeline" / name).read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    futures = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert "__future__" not in [node.module for node in futures]


def test_the_entry_needs_nothing_that_is_not_in_python_itself() -> None:
    command = "import cw_pipeline.__main__"
    subprocess.run([sys.executable, "-S", "-c", command], cwd=ROOT, check=True)


def test_an_environment_that_has_the_dependencies_runs_at_once() -> None:
    assert _bootstrap.missing_requirements(["sync"]) == []
    assert _bootstrap.missing_requirements(["test"]) == []


def test_every_dependency_is_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    modules = packages_distributions()
    looked_for = {
        canonicalize_name(distribution)
        for name in _bootstrap.NEEDED + _bootstrap.NEEDED_BY["dev"]
        for distribution in modules.get(name, ())
    }
    stubs = {"pandas-stubs"}  # holds no module
    assert {canonicalize_name(Requirement(line).name) for line in declared} - stubs <= looked_for
