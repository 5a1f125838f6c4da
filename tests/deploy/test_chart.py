"""Dagster's Helm chart, rendered with our values: Kubernetes and Dagster accept what comes of it.

Opt-in: `--chart` names the folder of the chart, of whatever version, and the packages
`helm-python-sdk` and `kubernetes-validate` are installed. No cluster is needed, and none is asked.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.config_schema import ensure_workspace_config

from cw_pipeline.paths import DAGSTER_YAML, ROOT

if TYPE_CHECKING:
    from pathlib import Path

VALUES = ROOT / "dagster_home" / "deploy" / "kubernetes" / "values.yaml"


@pytest.fixture
def rendered(request: pytest.FixtureRequest, tmp_path: Path) -> list[dict[str, Any]]:
    """The resources that the chart makes of our values, which its own schema accepts."""
    given = request.config.getoption("--chart")
    if given is None:
        pytest.skip("--chart names no chart")
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed")
    shutil.copytree(given, tmp_path / "dagster")
    for schema in (tmp_path / "dagster").rglob("values.schema.json"):
        schema.write_text(json.dumps(_without_network(json.loads(schema.read_text("utf-8")))))
    chart = helm.Chart.load(tmp_path / "dagster")
    texts = chart.render(_for(chart.values, yaml.safe_load(VALUES.read_text("utf-8"))))
    found = [each for text in texts.values() for each in _documents(text)]
    assert len(found) > 15
    return found


def test_kubernetes_accepts_every_resource(rendered: list[dict[str, Any]]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for each in rendered:
        validator.validate(each, validator.latest_version(), strict=True)


def test_dagster_gets_our_queue_and_finds_each_tenants_code(
    rendered: list[dict[str, Any]], tmp_path: Path
) -> None:
    texts = {name: text for each in rendered for name, text in each.get("data", {}).items()}
    (tmp_path / "dagster.yaml").write_text(texts["dagster.yaml"], "utf-8")
    accepted, _ = dagster_instance_config(str(tmp_path))
    own = yaml.safe_load(DAGSTER_YAML.read_text("utf-8"))
    assert accepted["run_coordinator"]["class"] == own["run_coordinator"]["class"]
    for same in ("telemetry", "python_logs"):
        assert accepted[same] == own[same]
    places = ensure_workspace_config(yaml.safe_load(texts["workspace.yaml"]), str(tmp_path))
    names = [each["grpc_server"]["location_name"] for each in places["load_from"]]
    assert names == ["acme", "globex"]


def _for(usual: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Our values under the names that an older chart has for them."""
    if "dagsterWebserver" not in usual:  # before Dagster 1.4
        values["dagit"] = values.pop("dagsterWebserver")
        for each in values["dagster-user-deployments"]["deployments"]:
            each["dagsterApiGrpcArgs"] = each.pop("codeServerArgs")
    return values


def _without_network(schema: Any) -> Any:
    """The schema without what it refers to elsewhere: Kubernetes' own parts, which we validate."""
    if isinstance(schema, list):
        return [_without_network(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_network(each)
        for name, each in schema.items()
        if not (name == "$ref" and str(each).startswith("https:"))
    }


def _documents(text: str) -> list[dict[str, Any]]:
    """The resources of a template; none for its notes, which are no YAML."""
    if "apiVersion:" not in text:
        return []
    return [each for each in yaml.safe_load_all(text) if each]
