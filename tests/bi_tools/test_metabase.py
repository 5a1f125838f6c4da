"""The files for Metabase, read by the validator of its makers: `--metabase FOLDER`.

Metabase itself is a program of Java that no package registry has, and is not run.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bi_tools import metabase


def test_the_validator_of_its_makers_passes_every_file(request: pytest.FixtureRequest) -> None:
    given = request.config.getoption("--metabase")
    if given is None:
        pytest.skip("--metabase FOLDER names one with its validator, see tests/README.md")
    program = Path(given).absolute() / "node_modules" / ".bin" / "representations"
    done = subprocess.run(
        [str(program), "validate-schema", "--folder", str(metabase.FOLDER)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"{len(metabase.files())} passed, 0 failed" in done.stdout, done.stdout + done.stderr
