"""Made-up data is there where it is asked for, and nowhere by mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cw_pipeline.cli import main
from cw_pipeline.cli.configuration import demo_settings
from cw_pipeline.dev.services import prepared_home
from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import ROOT
from cw_pipeline.settings import Settings, dagster_home

COMMANDS = (
    ("sync",),
    ("backfill", "time/entries", "--since", "2026-01-01", "--until", "2026-02-01"),
    ("reconcile",),
    ("check",),
    ("status",),
    ("report",),
    ("migrate",),
    ("up",),
    ("dead-letters", "list"),
    ("dead-letters", "replay"),
    ("columns", "list"),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where state would be kept; nothing of the machine's is set."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    "half",
    [
        ("CW_WAREHOUSE_DSN", "postgresql://cw:hush-hush@127.0.0.1:9/dw", "CW_SITE"),
        ("CW_PRIVATE_KEY", "hush-hush", "CW_SITE"),
        ("CW_SITES", "na.myconnectwise.net", "did you mean 'CW_SITE'?"),
    ],
)
def test_half_a_tenant_is_an_error_of_every_command(
    command: tuple[str, ...],
    half: tuple[str, str, str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, value, said = half
    monkeypatch.setenv(name, value)
    assert main(command) == 2
    captured = capsys.readouterr()
    assert name in captured.err
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert "hush-hush" not in captured.err
    assert captured.out == ""
    assert not home.exists()  # nothing was started, nothing was written


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_with_nothing_configured_no_command_runs_outside_the_project(
    command: tuple[str, ...],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As cron would: rows of a made-up tenant, and exit code 0."""
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "no tenant is configured" in said
    assert "cw-pipeline init" in said
    assert said.count("\n") == 1
    assert not home.exists()


def test_in_the_project_the_first_line_says_that_it_is_made_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT / "tests")
    assert main(["sync", "service/nonsense"]) == 2
    assert capsys.readouterr().err.startswith("MADE-UP DATA: no tenant is configured, neither in")


@pytest.mark.parametrize(
    "configured",
    [
        {"CW_SITE": "na.myconnectwise.net", "CW_PRIVATE_KEY_FILE": "/nowhere"},
        {"CW_WAREHOUSE_DSN": "postgresql://cw@db/dw"},
        {"CW_ENV_FILE": "/nowhere"},
        {"CW_ENV_FILE": str(ROOT)},
    ],
    ids=str,
)
def test_a_demo_runs_beside_whatever_is_configured(
    configured: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in configured.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with demo_settings() as apart:
        assert apart
        assert Settings.read().is_simulated
        assert dagster_home() == home / "demo"
    assert dict(os.environ) == before


def test_dagsters_own_storage_is_found_in_the_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings").write_text("CW_DAGSTER_PG_URL=hush-hush\n")
    monkeypatch.setenv("CW_ENV_FILE", str(tmp_path / "settings"))
    with pytest.raises(ConfigError, match="CW_DAGSTER_PG_URL") as caught:
        prepared_home()
    assert "hush-hush" not in str(caught.value)


def test_an_installed_package_has_its_settings_where_its_project_is(tmp_path: Path) -> None:
    """In DAGSTER_HOME or beside it, else the nearest upwards; state is beside the settings."""
    project, deep = tmp_path / "project", tmp_path / "project" / "a" / "b"
    deep.mkdir(parents=True)
    (project / ".env").write_text("CW_SCHEMA=mine\n")
    program = (
        "from cw_pipeline import paths;"
        "paths.IS_CHECKOUT, paths.PROJECT = False, paths._nearest(paths.Path.cwd());"
        "from cw_pipeline.settings import *; s = Settings.read_unchecked();"
        "print(s.schema_, dagster_home(), paths.in_project())"
    )

    def found(folder: Path, **environment: str) -> str:
        kept = {k: v for k, v in os.environ.items() if k not in ("CW_ENV_FILE", "DAGSTER_HOME")}
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            env={**kept, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    assert found(deep) == f"mine {project / 'dagster_home'} True"
    home = project / "dagster_home"
    assert found(Path("/"), DAGSTER_HOME=str(home)).startswith(f"mine {home} ")
    assert found(tmp_path).startswith(f"connectwise {tmp_path / 'dagster_home'} False")
    named = found(Path("/"), CW_ENV_FILE=str(project / ".env"))
    assert named.startswith(f"mine {project / 'dagster_home'} ")
