"""The first command anybody tries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for Dagster and the embedded parts; root's server runs under another account."""
    folder = Path(tempfile.mkdtemp(prefix="cw-demo-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def run_demo(home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """The demo of a small tenant, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "cw_pipeline", "demo", "--tickets", "150"],
        env={**os.environ, "DAGSTER_HOME": str(home), "CI": "1", **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)
def test_it_works_out_of_the_box_and_goes_on_where_it_left_off(home: Path) -> None:
    first = run_demo(home)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stderr == ""
    assert "First load" in first.stdout
    assert "lists proven equal" in first.stdout
    assert "0 open dead letters" in first.stdout
    second = run_demo(home)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "already loaded: nothing to load but what changed" in second.stdout
    # Before its working day: the tenant was remembered. What a day changes below a parent that
    # stays as it was is found when its turn comes, so something may be.
    assert re.search(r"Sync +0 new, \d changed", second.stdout), second.stdout


@pytest.mark.timeout(300)
def test_it_leaves_a_configured_tenant_and_warehouse_alone(home: Path) -> None:
    nowhere = {
        "CW_SITE": "na.myconnectwise.net",
        "CW_COMPANY": "acme",
        "CW_WAREHOUSE_DSN": "postgresql://nobody@127.0.0.1:9/none",
    }
    done = run_demo(home, **nowhere)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "were left alone" in done.stdout
    assert (home / "demo" / "postgres").exists()
    assert not (home / "postgres").exists()
