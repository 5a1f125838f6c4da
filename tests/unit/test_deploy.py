"""The files that people deploy with: valid in Dagster's eyes, and true to the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.config_schema import ensure_workspace_config

from cw_pipeline.paths import DAGSTER_YAML

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "dagster_home" / "deploy"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.mark.parametrize("more", [{}, {"run_launcher": DEPLOY / "celery" / "run_launcher.yaml"}])
def test_dagster_accepts_the_instances_settings(more: dict[str, Path], tmp_path: Path) -> None:
    config = read(DAGSTER_YAML)
    for path in more.values():
        config |= read(path)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config), "utf-8")
    accepted, _ = dagster_instance_config(str(tmp_path))
    assert accepted["run_coordinator"]["class"] == "TenantQueue"
    assert set(more) <= set(accepted)


def test_dagster_accepts_the_workspace_of_several_tenants() -> None:
    config = ensure_workspace_config(read(DEPLOY / "workspace.yaml"), str(DEPLOY))
    assert len(config["load_from"]) == 2


def test_kubernetes_gives_each_tenant_its_own_settings_and_the_same_limits() -> None:
    values = read(DEPLOY / "kubernetes" / "values.yaml")
    tenants = values["dagster-user-deployments"]["deployments"]
    for tenant in tenants:
        assert tenant["env"] == {"CW_SCHEMA": tenant["name"], "CW_CODE_LOCATION": tenant["name"]}
        assert tenant["includeConfigInLaunchedRuns"] == {"enabled": True}
    assert len({tenant["envSecrets"][0]["name"] for tenant in tenants}) == len(tenants)
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    own = read(DAGSTER_YAML)
    assert {key: queue[key] for key in ("module", "class")} == own["run_coordinator"]
    limits = own["concurrency"]["runs"]["tag_concurrency_limits"]
    assert queue["config"]["tag_concurrency_limits"] == limits


def test_the_image_is_made_of_files_that_are_there_and_holds_no_settings() -> None:
    lines = (DEPLOY / "Dockerfile").read_text("utf-8")
    copied = [
        word
        for line in re.findall(r"^COPY (.+)$", lines, re.MULTILINE)
        for word in line.split()[:-1]
    ]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert ".env" not in copied


def test_the_extras_are_of_the_same_family_as_dagster() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (postgres,) = (one for one in table["dependencies"] if one.startswith("dagster-postgres"))
    versions = postgres.removeprefix("dagster-postgres")
    extras = table["optional-dependencies"]
    assert f"dagster-celery{versions}" in extras["celery"]
    assert f"dagster-k8s{versions}" in extras["k8s"]
