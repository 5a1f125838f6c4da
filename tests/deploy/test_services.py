"""What is copied from here to a server works there: systemd's units and the lines for cron."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import yaml

from cw_pipeline.paths import ROOT
from cw_pipeline.simulator import CLIENT_ID

if TYPE_CHECKING:
    from cw_pipeline.simulator import Simulator, Tenant

SYSTEMD = ROOT / "dagster_home" / "deploy" / "systemd"
PROGRAMS = Path(sys.executable).parent
COMMAND = PROGRAMS / "cw-pipeline"

needs_command = pytest.mark.skipif(
    not COMMAND.exists(), reason="the project is not set up in this environment"
)


def here(text: str) -> str:
    """The text with this checkout and its environment in the places of the documented ones."""
    return text.replace("/opt/cw_pipeline/.venv/bin", str(PROGRAMS)).replace(
        "/opt/cw_pipeline", str(ROOT)
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.parametrize("unit", ["webserver", "daemon", "live"])
def test_systemd_accepts_the_units_and_finds_their_programs(unit: str, tmp_path: Path) -> None:
    if " " in str(ROOT) or " " in str(PROGRAMS):
        pytest.skip("a path with blanks would need quotes in a unit")
    text = here((SYSTEMD / f"cw-pipeline-{unit}.service").read_text("utf-8"))
    copy = tmp_path / f"cw-pipeline-{unit}.service"
    copy.write_text(text.replace("User=cw-pipeline", "User=root"), "utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_dagster_gets_an_absolute_home_as_it_asks_for() -> None:
    for unit in SYSTEMD.glob("*.service"):
        assert "DAGSTER_HOME=/opt/cw_pipeline/dagster_home" in unit.read_text("utf-8")


def test_the_lines_for_cron_have_five_times_and_name_commands_by_their_whole_path() -> None:
    lines = [
        line for line in (SYSTEMD / "crontab").read_text("utf-8").splitlines() if line[0] != "#"
    ]
    assert lines
    for line in lines:
        assert re.match(r"(\S+\s+){5}/opt/cw_pipeline/\.venv/bin/cw-pipeline \w+", line), line


@needs_command
def test_the_sync_of_cron_works_in_crons_bare_environment(
    dsn: str, simulator: Simulator, tenant: Tenant, tmp_path: Path
) -> None:
    tenant.put("/service/boards", {"id": 1, "name": "Help Desk"})
    first = next(line for line in (SYSTEMD / "crontab").read_text().splitlines() if line[0] != "#")
    settings = {
        "CW_SITE": simulator.url,
        "CW_COMPANY": "demo",
        "CW_PUBLIC_KEY": "public",
        "CW_PRIVATE_KEY": "private",
        "CW_CLIENT_ID": CLIENT_ID,
        "CW_WAREHOUSE_DSN": dsn,
        "CW_ENTITIES": "service/boards",
        "DAGSTER_HOME": str(tmp_path / "dagster"),
    }
    environment = {"HOME": "/", "LOGNAME": "nobody", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["/bin/sh", "-c", here(first.split(maxsplit=5)[5])],
        cwd="/",
        env=environment | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select id from connectwise.service_boards").fetchall() == [(1,)]


PROXIES = ROOT / "dagster_home" / "deploy" / "proxy"


def test_nothing_that_is_documented_listens_to_strangers() -> None:
    """But in a container, whose ports compose publishes on this machine's own address alone."""
    deploy = ROOT / "dagster_home"
    texts = [*deploy.rglob("*.md"), *deploy.rglob("*.service"), ROOT / "README.md"]
    for path in texts:
        assert not re.search(r"-h 0\.0\.0\.0", path.read_text("utf-8")), path
    compose = yaml.safe_load((deploy / "deploy" / "compose" / "compose.yaml").read_text("utf-8"))
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:3000:3000", "127.0.0.1:8460:8460"]  # the UI's, and callbacks'


@pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx here")
@pytest.mark.parametrize("name", ["nginx.conf", "callbacks.conf"])
def test_nginx_accepts_the_proxy(tmp_path: Path, name: str) -> None:
    text = re.sub(r"ssl_.*|listen .*", "", (PROXIES / name).read_text("utf-8"))
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; events {{}} http {{ access_log off;\n{text}\n}}"
    )
    command = ["nginx", "-t", "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
