"""The dagster.yaml in a user's home: ours is renewed, theirs is left alone."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.dev import dagster_yaml
from cw_pipeline.dev.dagster_yaml import prepare_dagster_yaml
from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import DAGSTER_YAML, PROJECT

if TYPE_CHECKING:
    from pathlib import Path

OURS = DAGSTER_YAML.read_text()


def test_a_home_without_one_gets_one(tmp_path: Path) -> None:
    prepare_dagster_yaml(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == OURS


def test_a_copy_of_an_older_version_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = b"run_coordinator: {module: cw_pipeline.orchestrate.queue, class: TenantQueue}"
    monkeypatch.setattr(dagster_yaml, "_OUR_OLD_COPIES", {sha256(old).hexdigest()})
    (tmp_path / "dagster.yaml").write_bytes(old)
    prepare_dagster_yaml(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == OURS


def test_a_changed_one_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    prepare_dagster_yaml(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == "telemetry: {enabled: false}"


def test_a_changed_one_that_names_old_modules_says_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("module: cw_pipeline.orchestrate.queue # mine")
    with pytest.raises(ConfigError, match="names modules of an older version"):
        prepare_dagster_yaml(tmp_path)


def test_the_copies_of_all_versions_so_far_are_known() -> None:
    """Else a home would go on with an old one that names modules which are gone."""
    versions = ["log", "--format=%H", "--", "dagster_home/dagster.yaml"]
    for commit in git(*versions).decode().split()[1:]:
        found = sha256(git("show", f"{commit}:dagster_home/dagster.yaml")).hexdigest()
        assert found in dagster_yaml._OUR_OLD_COPIES | {sha256(OURS.encode()).hexdigest()}


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
