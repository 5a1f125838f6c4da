"""connectwise-rest, a client for Node.js, reads every list of the simulator. Opt-in.

npm install connectwise-rest typescript, and CW_NODE_MODULES names the folder `node_modules`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.simulator import Simulator, seed_tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

MODULES = os.environ.get("CW_NODE_MODULES", "")
SCRIPT = Path(__file__).parents[1] / "data" / "connectwise_rest.cjs"
pytestmark = pytest.mark.skipif(
    not MODULES or not (Path(MODULES) / "connectwise-rest").is_dir(),
    reason="CW_NODE_MODULES names no folder with connectwise-rest",
)


def test_it_reads_every_record_and_they_are_of_its_types(tmp_path: Path) -> None:
    tenant = seed_tenant(tickets=120)
    (tmp_path / "paths.json").write_text(json.dumps(tenant.paths()))
    check = tmp_path / "check.ts"
    with Simulator(tenant) as simulator:
        told = json.loads(
            _node(SCRIPT, MODULES, simulator.url, tmp_path / "paths.json", check).stdout
        )
    assert told["unknown"] == []
    for path in tenant.paths():
        assert told["read"][path] == list(tenant.records(path)), path
    options = {"strict": True, "noEmit": True, "skipLibCheck": True, "types": []}
    project = {"compilerOptions": options, "files": ["check.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(project))
    _node(Path(MODULES) / "typescript" / "bin" / "tsc", "-p", tmp_path)


def _node(*command: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [shutil.which("node") or "node", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{_short(done.stdout.splitlines())}\n{done.stderr[-2000:]}"
    return done


def _short(lines: Sequence[str]) -> str:
    return "\n".join(line[:400] for line in lines[:20])
