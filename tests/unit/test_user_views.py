"""SQL files that users put beside ours: views like them, and never the end of everything else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.paths import PACKAGE, SQL

if TYPE_CHECKING:
    from pathlib import Path

_LOADED = """
import sys, warnings
warnings.simplefilter("ignore")
from cw_pipeline.dagster.definitions import defs
from cw_pipeline.reporting import entities, facts
graph = defs.get_repository_def().asset_graph
print(sorted(key.path[-1] for key in graph.get_all_asset_keys() if key.path[-1] in sys.argv))
print(len(facts()), len(entities()) > 0)
"""
_TENANT = {
    "CW_SITE": "psa.example.com",
    "CW_COMPANY": "acme",
    "CW_PUBLIC_KEY": "public",
    "CW_PRIVATE_KEY": "private",
    "CW_CLIENT_ID": "client",
    "CW_WAREHOUSE_DSN": "postgresql://nobody@127.0.0.1:1/none",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, to put files into."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=ignored)
    shutil.copytree(SQL, tmp_path / "sql", ignore=ignored)
    shutil.copy(SQL.with_name("pyproject.toml"), tmp_path)  # which makes it a checkout
    return tmp_path


def loaded(project: Path, *views: str) -> subprocess.CompletedProcess[str]:
    """Loads Dagster's code location there: which of the views are assets."""
    return subprocess.run(
        [sys.executable, "-c", _LOADED, *views],
        cwd=project,
        env={"PYTHONPATH": str(project), "DAGSTER_HOME": str(project), **_TENANT},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_a_new_view_is_an_asset_and_what_is_not_known_of_it_a_warning(project: Path) -> None:
    folder = project / "sql/reporting"
    (folder / "kpi_x.sql").write_text(
        "-- One row per report. Source: a report.\nselect\n    r.name, -- its name\n    1 as one\n"
        "from {{source}}.report_tickets r join {{reporting}}.kpi_nowhere n on true\n"
    )
    (folder / "dim_silent.sql").write_text("select 1 as one\n")
    (folder / "fct_silent.sql").write_text("select * from {{reporting}}.dim_silent\n")
    (folder / "kpi x (copy).sql").write_text("select")
    (folder / "._kpi_x.sql").write_bytes(b"\x00\x05\x16\x07\xff")
    done = loaded(project, "kpi_x", "dim_silent", "fct_silent", "kpi x (copy)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['dim_silent', 'fct_silent', 'kpi_x']")
    assert "kpi_x.sql: what it comes from is not known" in done.stderr
    assert "kpi_x.sql reads report_tickets, which is no table of the catalog's" in done.stderr
    assert "kpi_x.sql reads kpi_nowhere, and there is no kpi_nowhere.sql" in done.stderr
    assert "kpi x (copy).sql is left out" in done.stderr


def test_a_column_more_in_one_of_our_views_is_a_warning(project: Path) -> None:
    board = project / "sql/reporting/dim_board.sql"
    board.write_text(board.read_text().replace("select\n", "select\n    1 as own, -- mine\n", 1))
    done = loaded(project, "dim_board")
    assert done.returncode == 0, done.stderr
    assert "dim_board.sql: what own comes from is not known" in done.stderr


def test_views_that_read_each_other_are_named(project: Path) -> None:
    for name, other in (("kpi_one", "kpi_two"), ("kpi_two", "kpi_one")):
        (project / f"sql/reporting/{name}.sql").write_text(f"select from {{{{reporting}}}}.{other}")
    done = loaded(project)
    assert "ConfigError" in done.stderr
    assert "kpi_one.sql" in done.stderr
    assert "read each other in a circle" in done.stderr
