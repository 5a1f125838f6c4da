"""The demo's warehouse, and the dbt package set up on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from cw_pipeline.dev import EmbeddedPostgres
from tests.bi_tools import dbt

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the warehouse that `demo` leaves behind."""
    home = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "cw_pipeline", "demo", "--tickets", "2000"]
    environment = {**os.environ, "DAGSTER_HOME": str(home), "CI": "1"}
    subprocess.run(command, env=environment, check=True, timeout=1500)
    with EmbeddedPostgres(home / "postgres") as server:
        yield server.dsn()


@dataclass(frozen=True)
class Dbt:
    """A copy of the package in which dbt and MetricFlow run. `programs`: theirs."""

    folder: Path
    programs: Path

    def run(self, program: str, *arguments: str) -> str:
        """What the program said. A failure is an error with all of it."""
        environment = {
            **os.environ,
            "DBT_PROFILES_DIR": str(self.folder),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DO_NOT_TRACK": "1",
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
        }
        environment.pop("PYTHONPATH", None)  # the project's packages are not theirs
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    """The package on the demo's warehouse, if --dbt names an environment with dbt."""
    given = request.config.getoption("--dbt")
    if given is None:
        pytest.skip("--dbt FOLDER names a virtual environment with dbt, see tests/README.md")
    address = conninfo_to_dict(request.getfixturevalue("demo"))
    folder = tmp_path_factory.mktemp("dbt") / "package"
    shutil.copytree(dbt.PACKAGE, folder)
    output = {
        "type": "postgres",
        "host": address["host"],
        "port": int(str(address["port"])),
        "user": address["user"],
        "password": address["password"],
        "dbname": address["dbname"],
        "schema": "dbt_test",
        "threads": 4,
    }
    profile = {"cw_reporting": {"target": "test", "outputs": {"test": output}}}
    (folder / "profiles.yml").write_text(yaml.safe_dump(profile), "utf-8")
    return Dbt(folder, Path(given).absolute() / "bin")
