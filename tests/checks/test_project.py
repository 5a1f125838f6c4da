"""The house rules, and the promises of files that no code can check for itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cw_pipeline import _bootstrap
from cw_pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
LONGEST_MODULE = 500
LONGEST_TEST = 500  # a test module is read test by test
TABLES = {"tests/chaos/mutants.py"}  # read entry by entry
TOP_LEVEL = {
    ".ci",
    ".dockerignore",
    ".env.example",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "cw_pipeline",
    "dagster_home",
    "pyproject.toml",
    "requirements.lock",
    "sql",
    "tests",
    "workspace.yaml",
}
ELSEWHERE = {  # what would tie the project to one machine or to one place on the network
    "a package index": re.compile(r"\bpypi\b|pythonhosted\.org|artifactory|--(extra-)?index-url"),
    "someone's home": re.compile(r"(?<![\w.])/(root|home|Users)/\w"),
    "this checkout": re.compile(re.escape(f"{ROOT}/")),
}


@cache
def kept_files() -> list[Path]:
    """The files git keeps or would keep, relative to the checkout."""
    # The checkout may belong to another account, as in a container.
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others"]
    try:
        done = subprocess.run(
            [*command, "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, so it is not known which files are the project's")
    names = [Path(name) for name in done.stdout.split("\0") if name]
    return [name for name in names if (ROOT / name).is_file()]


def modules() -> list[Path]:
    return [path for path in kept_files() if path.suffix == ".py"]


@cache
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def declared(*extras: str) -> list[Requirement]:
    """The dependencies in pyproject.toml, with those of these extras."""
    table = project()["project"]
    assert isinstance(table, dict)
    lines = [*table["dependencies"]]
    for extra in extras:
        lines += table["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


EXTRAS = ("arrow", "dev", "ui", "celery", "k8s")
GROUPS = ("dbt", "power-bi")
"""Environments of their own, with a lock each."""


@cache
def locked(*extras: str) -> dict[str, list[Requirement]]:
    """What the locks pin, by name; several where Pythons or platforms differ."""
    pins: dict[str, list[Requirement]] = {}
    for line in lock_entries(*extras):
        pin = Requirement(line.split(" --hash")[0])
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


def lock_entries(*extras: str) -> list[str]:
    """The lines of requirements.lock and of what these extras add to it."""
    files = [ROOT / "requirements.lock", *(ROOT / f".ci/locks/{each}.lock" for each in extras)]
    joined = re.sub(r"\s*\\\n\s*", " ", "".join(file.read_text() for file in files))
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def passes(*command: str) -> None:
    """Fails with the tool's own words."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def test_the_code_keeps_the_lint_rules() -> None:
    passes("ruff", "check", "--quiet", ".")


def test_the_code_is_formatted() -> None:
    passes("ruff", "format", "--check", "--quiet", ".")


@pytest.mark.timeout(300)  # nothing is cached on a clean checkout
def test_the_types_hold() -> None:
    passes("mypy")


@pytest.mark.timeout(300)
def test_the_types_are_there_for_a_project_that_uses_the_package() -> None:
    assert (ROOT / "cw_pipeline" / "py.typed").is_file()  # or they are not looked at
    passes("mypy", "tests/host/definitions.py")


def test_the_rooms_import_only_what_they_may() -> None:
    program = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def test_modules_are_short_enough_to_read() -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in modules()}
    most = {"tests": LONGEST_TEST}
    too_long = {
        str(path): length
        for path, length in lengths.items()
        if length > most.get(path.parts[0], LONGEST_MODULE) and str(path) not in TABLES
    }
    assert too_long == {}


def test_the_top_level_holds_only_what_a_reader_expects() -> None:
    assert {path.parts[0] for path in kept_files()} - TOP_LEVEL == set()


@pytest.mark.parametrize("what", ELSEWHERE)
def test_no_file_points_to_one_machine_or_index(what: str) -> None:
    mine = Path(__file__).resolve().relative_to(ROOT)
    guilty = [
        f"{path}: {found[0]}"
        for path in kept_files()
        if path != mine
        and (found := ELSEWHERE[what].search((ROOT / path).read_text(errors="replace")))
    ]
    assert guilty == []


def test_what_is_imported_is_declared() -> None:
    names = packages_distributions()
    allowed = {canonicalize_name(one.name) for one in [*declared(), *declared("arrow")]}
    allowed |= {canonicalize_name(f"{one.name}-{e}") for one in declared() for e in one.extras}
    package = [path for path in modules() if path.parts[0] == "cw_pipeline"]
    guilty = [
        f"{path}: {name}"
        for path in package
        for name in imported(ROOT / path) - set(sys.stdlib_module_names) - {"cw_pipeline"}
        if not {canonicalize_name(one) for one in names.get(name, [name])} & allowed
    ]
    assert guilty == []


def imported(module: Path) -> set[str]:
    """The top-level names a module imports, wherever it does."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in whole | parts}


def test_the_locks_pin_every_file_by_hash_and_name_no_place() -> None:
    for entry in lock_entries(*EXTRAS, *GROUPS):
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==[\w.!+]+( ;[^@]*)? --hash=sha256:", entry), entry
        assert re.search(r"://|file:| -[a-z] ", entry) is None, entry


def test_every_extra_has_its_lock_and_set_up_knows_what_it_brings() -> None:
    table = project()["project"]
    assert isinstance(table, dict)
    groups = project()["dependency-groups"]
    assert isinstance(groups, dict)
    kept = {path.stem for path in (ROOT / ".ci/locks").glob("*.lock")} - set(groups)
    assert set(table["optional-dependencies"]) == set(EXTRAS) == kept == set(_bootstrap.NEEDED_BY)


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_locks_hold_what_pyproject_asks_for_in_one_version_each(extra: str) -> None:
    missing = [str(wanted) for wanted in declared(extra) if not is_locked(wanted, extra)]
    assert missing == [], "write the locks anew with .ci/lock"
    moved = [
        name
        for name, pins in locked().items()
        if {str(pin.specifier) for pin in pins}
        != {str(pin.specifier) for pin in locked(extra)[name]}
    ]
    assert moved == [], "an extra would install another version of what is there"


def test_the_locks_hold_what_their_packages_ask_for() -> None:
    """They are installed without dependencies, so what is not in them is missed at run time."""
    waiting, seen = declared("dev"), set[str]()
    while waiting:
        wanted = waiting.pop()
        assert is_locked(wanted, "dev"), wanted
        extras = wanted.extras or {""}
        if (key := f"{canonicalize_name(wanted.name)}[{sorted(extras)}]") not in seen:
            seen.add(key)
            waiting += needs(wanted.name, extras)


def needs(name: str, extras: set[str]) -> list[Requirement]:
    """What an installed distribution requires on this machine."""
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        pytest.fail(f"{name} is not installed here")
    all_needed = [Requirement(line) for line in lines]
    return [
        one
        for one in all_needed
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def is_locked(wanted: Requirement, extra: str) -> bool:
    """Whether each pin of this name satisfies it."""
    pins = locked(extra).get(canonicalize_name(wanted.name), [])
    versions = [next(iter(pin.specifier)).version for pin in pins]
    return bool(pins) and all(wanted.specifier.contains(v, prereleases=True) for v in versions)


def test_every_setting_is_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    names = {
        field.validation_alias or f"CW_{name.upper()}"
        for name, field in Settings.model_fields.items()
    }
    assert {name for name in names if not re.search(rf"^#?{name}=", example, re.MULTILINE)} == set()


def test_both_of_dagsters_ways_to_load_the_project_agree() -> None:
    (workspace,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    tool = project()["tool"]
    assert isinstance(tool, dict)
    dg = tool["dg"]["project"]
    assert workspace["python_module"]["module_name"] == dg["code_location_target_module"]
    assert workspace["python_module"]["location_name"] == dg["code_location_name"]


def test_the_launcher_finds_its_files_wherever_it_runs() -> None:
    program = "from cw_pipeline.paths import SQL; print((SQL / 'migrations').is_dir())"
    environment = {"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}"}
    command = [sys.executable, "-c", program]
    assert subprocess.check_output(command, cwd="/", env=environment, text=True) == "True\n"
