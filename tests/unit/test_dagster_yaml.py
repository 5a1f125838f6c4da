"""The dagster.yaml in a user's home: ours is renewed, theirs is left alone."""

from __future__ import annotations

import re
import subprocess
import sys
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.psycopg2 import dialect

from cw_pipeline.dev import dagster_yaml, services
from cw_pipeline.dev.dagster_yaml import prepare_dagster_yaml
from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import DAGSTER_YAML, PROJECT

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "postgresql://me:p%40ss:word@db.example.com/runs"


def storage(home: Path) -> Any:
    return yaml.safe_load((home / "dagster.yaml").read_text())["storage"]


def test_a_home_without_one_gets_one_that_keeps_runs_in_files_of_the_home(tmp_path: Path) -> None:
    prepare_dagster_yaml(tmp_path, None)
    assert storage(tmp_path)["custom"]["config"] == {"base_dir": str(tmp_path / "storage")}
    assert (tmp_path / "dagster.yaml").read_text().startswith(DAGSTER_YAML.read_text())


def test_a_database_for_dagsters_runs_is_named_and_its_password_is_not(tmp_path: Path) -> None:
    prepare_dagster_yaml(tmp_path, ADDRESS)
    (url,) = storage(tmp_path)["postgres"].values()
    _, connected = dialect().create_connect_args(make_url(url))
    file = tmp_path / "dagster.pgpass"
    assert connected == {
        "user": "me", "host": "db.example.com", "dbname": "runs", "passfile": str(file)
    }  # fmt: skip
    assert "ss" not in url.replace("passfile", "").replace("pgpass", "")
    assert file.read_text() == "*:*:*:*:p@ss\\:word\n"
    assert file.stat().st_mode & 0o77 == 0  # else libpq does not read it


def test_the_address_of_that_database_may_be_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "address").write_text(f"{ADDRESS}\n")
    monkeypatch.setenv("CW_DAGSTER_PG_URL_FILE", str(tmp_path / "address"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with services.environment_kept():
        home = services.prepared_home()
    (url,) = storage(home)["postgres"].values()
    _, connected = dialect().create_connect_args(make_url(url))
    assert (connected["host"], connected["dbname"]) == ("db.example.com", "runs")
    assert (home / "dagster.pgpass").read_text() == "*:*:*:*:p@ss\\:word\n"


def test_the_embedded_server_is_named_by_its_folder_and_no_password_is(tmp_path: Path) -> None:
    prepare_dagster_yaml(tmp_path, tmp_path / "post gres")
    custom = storage(tmp_path)["custom"]
    assert custom["config"] == {"server": str(tmp_path / "post gres")}
    assert getattr(import_module(custom["module"]), custom["class"])
    assert not (tmp_path / "dagster.pgpass").exists()


def test_ours_follows_the_settings(tmp_path: Path) -> None:
    prepare_dagster_yaml(tmp_path, ADDRESS)
    prepare_dagster_yaml(tmp_path, None)
    assert storage(tmp_path)["custom"]["class"] == "SqliteStorage"


def test_a_copy_of_an_older_version_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = b"run_coordinator: {module: cw_pipeline.orchestrate.queue, class: TenantQueue}"
    monkeypatch.setattr(dagster_yaml, "_OUR_OLD_COPIES", {sha256(old).hexdigest()})
    (tmp_path / "dagster.yaml").write_bytes(old)
    prepare_dagster_yaml(tmp_path, None)
    assert storage(tmp_path)["custom"]["class"] == "SqliteStorage"


@pytest.mark.parametrize("address", [None, ADDRESS])
def test_a_changed_one_is_left_alone(address: str | None, tmp_path: Path) -> None:
    prepare_dagster_yaml(tmp_path, address)
    mine = (tmp_path / "dagster.yaml").read_text().replace("limit: 1 ", "limit: 2 ")
    (tmp_path / "dagster.yaml").write_text(mine)
    prepare_dagster_yaml(tmp_path, address)
    assert (tmp_path / "dagster.yaml").read_text() == mine


@pytest.mark.parametrize(
    ("mine", "address", "says"),
    [
        ("module: cw_pipeline.orchestrate.queue # mine", None, "write `cw_pipeline.dagster.run_"),
        ("module: cw_pipeline.dagster.embedded_storage", None, "write `cw_pipeline.dagster.s"),
        ("module: cw_pipeline.dagster.instance_storage # mine", None, "base_dir: "),
        ("module: cw_pipeline.orchestrate.instance_storage", ADDRESS, "postgres_url: "),
        ("telemetry: {enabled: false}", ADDRESS, "does not heed CW_DAGSTER_PG_URL"),
    ],
)
def test_a_changed_one_that_cannot_work_says_what_to_write(
    mine: str, address: str | None, says: str, tmp_path: Path
) -> None:
    (tmp_path / "dagster.yaml").write_text(mine)
    with pytest.raises(ConfigError, match=re.escape(says)) as refused:
        prepare_dagster_yaml(tmp_path, address)
    assert "word" not in str(refused.value)
    assert (tmp_path / "dagster.yaml").read_text() == mine


def test_the_copies_of_all_versions_so_far_are_known() -> None:
    """Else a home would go on with an old one that names modules which are gone."""
    versions = ["log", "--format=%H", "--", "dagster_home/dagster.yaml"]
    for commit in git(*versions).decode().split()[1:]:
        found = sha256(git("show", f"{commit}:dagster_home/dagster.yaml")).hexdigest()
        assert found in dagster_yaml._OUR_OLD_COPIES


def git(*arguments: str) -> bytes:
    command = ["git", "-c", "safe.directory=*", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        pytest.skip("not a git checkout with its history")
    return done.stdout


def test_the_old_name_of_the_code_location_still_loads_for_one_release() -> None:
    program = "from cw_pipeline.orchestrate.definitions import defs; print(len(defs.assets) > 0)"
    command = [sys.executable, "-W", "default", "-c", program]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert "write cw_pipeline.dagster.definitions instead" in done.stderr
