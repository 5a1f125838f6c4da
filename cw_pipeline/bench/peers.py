"""The tools a user would pick instead, on the same server and PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from cw_pipeline.bench.cases import FAST
from cw_pipeline.bench.finding import CaseResult
from cw_pipeline.bench.lab import TICKETS, BenchFailed, Lab, Measurement
from cw_pipeline.catalog import CATALOG

if TYPE_CHECKING:
    from cw_pipeline.bench.scale import Scale

_DLT = "dlt[postgres]>=1.4"
_ARROW = ("dlt[postgres,parquet]>=1.4", "orjson", "adbc-driver-postgresql", "adbc-driver-manager")
_NEEDS = {"default": (_DLT,), "tuned": (_DLT,), "arrow": _ARROW}
_SHARE = {"default": 20, "tuned": 10, "arrow": 10}  # of our rows, one in so many
_TIMES = {"default": 20, "tuned": 8, "arrow": 4}
_CALLED = {
    "default": "dlt as it comes",
    "tuned": "dlt tuned",
    "arrow": "dlt fed with hand-made Arrow",
}


def peers(lab: Lab, scale: Scale) -> CaseResult:
    """Loads fewer of the same tickets with each, in turns with a first load of ours."""
    found, name = CaseResult("peers"), f"t{scale.records}"
    pythons = {way: _environment(way) for way in _NEEDS}
    columns = lab.folder / "columns.json"
    columns.write_text(json.dumps(_columns()))
    lab.order("prepare", name, lanes=lab.lanes)
    for _ in range(scale.repeats):
        with lab.database() as dsn:
            found.add(FAST, lab.sync(dsn, name))
        for way, python in pythons.items():
            some = f"t{max(1000, scale.records // _SHARE[way])}"
            with lab.database() as dsn:
                found.add(way, _run(lab, way, python, (some, dsn, columns)))
            lab.order("forget", some)
    lab.order("forget", name)
    for way, wanted in _TIMES.items():
        times = found.rate(FAST) / found.rate(way)
        rows = found.runs[way][0]
        found.say(
            f"first load against {_CALLED[way]} ({rows.costs['version']}, {rows.rows:,} rows)",
            f"{times:.0f} × its {found.rate(way):,.0f}/s",
            f"≥ {wanted} ×",
            kept=times >= wanted,
        )
    return found


def _run(lab: Lab, way: str, python: Path, given: tuple[str, str, Path]) -> Measurement:
    dataset, dsn, columns = given
    lab.order("prepare", dataset, lanes=1)
    lab.settle()
    script = Path(__file__).with_name("peer_dlt.py")
    url = f"{lab.url}/{dataset}/apis/3.0/"
    done = subprocess.run(
        [str(python), str(script), way, url, _plain(dsn), str(columns)],
        capture_output=True,
        text=True,
        cwd=lab.folder,
        check=False,
    )
    if done.returncode:
        raise BenchFailed(f"dlt ({way}) failed: {done.stderr[-2000:]}")
    return Measurement(json.loads(done.stdout.splitlines()[-1]))


def _environment(way: str) -> Path:
    """The Python of this peer's virtual environment, made unless it is there."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = base / "cw_pipeline" / "bench" / f"dlt-{way}-{sys.version_info[0]}.{sys.version_info[1]}"
    python = home / "bin" / "python"
    if (home / "ready").exists():
        return python
    shutil.rmtree(home, ignore_errors=True)
    uv = shutil.which("uv")
    if uv:
        _do(uv, "venv", "--python", sys.executable, str(home))
        _do(uv, "pip", "install", "--python", str(python), *_NEEDS[way])
    else:
        _do(sys.executable, "-m", "venv", str(home))
        _do(str(python), "-m", "pip", "install", "--quiet", *_NEEDS[way])
    (home / "ready").touch()
    return python


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchFailed(f"{' '.join(command[:4])} failed: {done.stderr[-2000:]}")


def _plain(dsn: str) -> str:
    """The address with its socket folder in place of a host, as every libpq client takes it."""
    parts = urlsplit(dsn)
    asked = parse_qs(parts.query)
    if parts.hostname or "host" not in asked:
        return dsn
    account = parts.netloc.rpartition("@")[0]
    host, port = quote(asked["host"][0], safe=""), asked.get("port", ["5432"])[0]
    return f"postgresql://{account}@{host}:{port}{parts.path}"


def _columns() -> list[tuple[str, tuple[str, ...], str]]:
    """The catalog's columns, and the custom fields whole."""
    entity = CATALOG[TICKETS]
    arrays = [(array.field, (array.field,), "text") for array in entity.arrays]
    return [(c.name, c.path, c.kind.value) for c in entity.columns] + arrays
