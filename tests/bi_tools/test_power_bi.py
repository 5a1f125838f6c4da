"""The Power BI project, read by parsers of others: `--power-bi FOLDER`, see tests/README.md.

Power BI itself runs on Windows alone, and is not run.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bi_tools import power_bi
from tests.bi_tools.metrics import metrics
from tests.bi_tools.star import relations, tables

MODEL = power_bi.PROJECT / "ConnectWise.SemanticModel"
REPORT = power_bi.PROJECT / "ConnectWise.Report"
ACCEPTED = {
    "DAX-MEASURE-CATEGORY",  # names like `[Sales: Revenue]`, its authors' own habit
    "DAX-VAR-RETURN",  # asks for variables in one-line measures
}
READ = """
import json, pathlib, sys
from pbi_semantic_doc import ReportParser, TmdlParser
model = TmdlParser().parse(pathlib.Path(sys.argv[1]))
report = ReportParser().parse(pathlib.Path(sys.argv[2]))
print(json.dumps({
    "tables": {t.name: {c.name: c.data_type for c in t.columns} for t in model.tables},
    "measures": sorted(m.name for t in model.tables for m in t.measures or ()),
    "relations": sorted([r.from_table, r.from_column, r.to_table, r.to_column, r.is_active]
                        for r in model.relationships),
    "roles": sorted(role.name for role in model.roles),
    "pages": {page.name: len(page.visuals) for page in report.pages},
}))
"""


@pytest.fixture(scope="module")
def programs(request: pytest.FixtureRequest) -> Path:
    """Where the parsers are."""
    given = request.config.getoption("--power-bi")
    if given is None:
        pytest.skip("--power-bi FOLDER names a virtual environment, see tests/README.md")
    return Path(given).absolute() / "bin"


def ran(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_linter_of_dax_and_tmdl_finds_nothing_that_we_do_not_mean(programs: Path) -> None:
    said = ran(programs / "coop-dax-review", "check", power_bi.PROJECT, "--format", "json")
    told = json.loads(said)
    found = [one for one in told["findings"] if one["rule_id"] not in ACCEPTED]
    assert found == []
    assert told["diagnostics"] == []


def test_another_parser_reads_what_the_schema_and_the_metrics_say(programs: Path) -> None:
    told: dict[str, Any] = json.loads(ran(programs / "python", "-c", READ, MODEL, REPORT))
    assert told["tables"].pop("Metrics") == {"none": "string"}
    assert told["tables"].pop("access") == {"role_name": "string", "company_id": "int64"}
    for name, columns in told["tables"].items():
        assert columns == {
            column.name: power_bi.TYPES[column.type]
            for column in tables()[name].columns
            if column.type in power_bi.TYPES
        }
    known = {(own.fact, own.column, own.dimension, own.key) for own in relations()}
    assert {tuple(own[:4]) for own in told["relations"]} <= known
    assert len(told["relations"]) == len(power_bi.related())
    assert told["measures"] == sorted(metric.label for metric in metrics().values())
    assert told["roles"] == ["Client", "Client by CustomData"]
    assert set(told["pages"]) == {"service", "people", "money", "clients"}
    assert min(told["pages"].values()) >= 8


def test_a_validator_of_reports_passes_all_its_rules(programs: Path) -> None:
    said = ran(programs / "pbir-utils", "validate", REPORT, "--strict")
    assert re.search(r"All \d+ rules passed", said)
