"""What the documents name exists: files, links, settings, commands, messages that they quote."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import textwrap
from functools import cache
from typing import TYPE_CHECKING

import click
import pytest

from cw_pipeline.catalog import select
from cw_pipeline.catalog.declare import build_entity, entity
from cw_pipeline.cli.app import COMMANDS, Commands
from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.model import Column, Kind
from cw_pipeline.paths import ROOT
from cw_pipeline.reporting.script import ViewScript
from cw_pipeline.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

DOCS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob(".github/*.md")),
    *sorted(ROOT.glob("*/README.md")),
    *sorted(ROOT.glob("*/*/README.md")),
]
RUNNING = ROOT / "dagster_home" / "README.md"
ARCHITECTURE = ROOT / "cw_pipeline" / "README.md"
README_BYTES = 12_000
RECORD_LINES = 8

BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w.-]*/?(?:[\w.-]+/)*[\w.-]+\.(?:py|sql|json|ya?ml|md|toml|lock)|(?:[\w-]+/)+")
SYMBOL = re.compile(r"`([\w/]+\.py)`(?:: | \()`([\w.]+)`")
SETTING = re.compile(r"\bCW_[A-Z][A-Z_]*[A-Z]\b")
PLACEHOLDER = re.compile(r"NAME|NNNN|EXTRA")
INVOCATION = re.compile(
    r"\s*(?:\w+=\S* )?(?:python3? -m cw_pipeline|(?:\.venv/bin/)?cw-pipeline) ([a-z].*)"
)
MADE = {"bench.json", "dagster.yaml", ".changed.sql"}
"""Written by commands, or no name of a file."""
EXAMPLES = {"CW_SITES", "CW_X_FILE", "CW_REEXECUTED"}


def texts(path: Path) -> str:
    return path.read_text("utf-8")


def prose(path: Path) -> str:
    """A document without its blocks of code."""
    return BLOCK.sub("", texts(path))


def blocks(language: str) -> list[tuple[Path, str]]:
    return [
        (path, body)
        for path in DOCS
        for kind, body in BLOCK.findall(texts(path))
        if kind == language
    ]


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


def is_there(path: Path, name: str) -> bool:
    """Whether a document names a file: from its own folder, the package's, the top, or by name."""
    folders = (path.parent, ROOT / "cw_pipeline", ROOT)
    return any((folder / name).exists() for folder in folders) or (
        "/" not in name and path.parent != ROOT and any(path.parent.rglob(name))
    )


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


@pytest.mark.parametrize("path", DOCS, ids=by_name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(prose(path)):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", DOCS[2:], ids=by_name)
def test_files_that_are_named_exist(path: Path) -> None:
    named = {word for word in CODE.findall(prose(path)) if FILE.fullmatch(word)}
    named = {word for word in named if not PLACEHOLDER.search(word)} - MADE
    assert [word for word in sorted(named) if not is_there(path, word)] == []


def test_functions_that_the_architecture_names_are_in_those_files() -> None:
    named = SYMBOL.findall(texts(ARCHITECTURE))
    assert len(named) > 5
    for file, symbol in named:
        tree = ast.parse((ARCHITECTURE.parent / file).read_text("utf-8"))
        for name in symbol.split("."):
            inside = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
            ]
            assert inside, f"{file}: {symbol}"
            tree = ast.Module([inside[0]], [])


def test_every_room_is_explained() -> None:
    rooms = {
        path.name
        for path in ARCHITECTURE.parent.iterdir()
        if (path / "__init__.py").exists() and path.name != "orchestrate"
    }
    assert rooms == set(re.findall(r"^\| `(\w+)/` \|", texts(ARCHITECTURE), re.MULTILINE))


def test_decision_records_are_short_and_dated() -> None:
    decisions = texts(ARCHITECTURE).partition("## Decisions")[2]
    records = re.split(r"^(?=- \*\*)", decisions, flags=re.MULTILINE)
    assert len(records) > 50
    for record in records[1:]:
        assert re.match(r"- \*\*\d{4}-\d\d-\d\d\. ", record), record
        assert len(record.partition("\n\n")[0].splitlines()) <= RECORD_LINES, record


@pytest.mark.parametrize("path", DOCS, ids=by_name)
def test_settings_that_are_named_exist(path: Path) -> None:
    known = texts(ROOT / ".env.example") + "".join(strings())
    unknown = {
        name
        for name in set(SETTING.findall(texts(path))) - EXAMPLES
        if not re.search(rf"\b({name}|{name.removesuffix('_FILE')})\b", known)
    }
    assert unknown == set()


@cache
def strings() -> tuple[str, ...]:
    """Every text constant of the package, and the state schema's SQL."""
    statements = [path.read_text("utf-8") for path in sorted(ROOT.glob("sql/migrations/*/*.sql"))]
    files = sorted((ROOT / "cw_pipeline").rglob("*.py"))
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8"))))
    constants = (node.value for node in nodes if isinstance(node, ast.Constant))
    return (*statements, *(text for text in constants if isinstance(text, str)))


def test_messages_that_are_quoted_are_said() -> None:
    table = texts(RUNNING).partition("## When it breaks")[2].partition("\n## ")[0]
    quoted = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    assert len(quoted) > 20
    said = "\n".join(strings())
    for message in quoted:
        for part in message.split("..."):
            words = re.sub(r"\bN\b.*|^CW_\w+", "", part).strip(" :,=")  # names and numbers vary
            assert words in said, f"{words!r} of {message!r}"


def test_the_schedules_are_those_that_dagster_has() -> None:
    table = texts(RUNNING).partition("## Schedules")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    loaded = definitions(
        Settings(reports="Service"), select("service/tickets,service/tickets/changelogs")
    )
    found = {one.name: str(one.cron_schedule) for one in loaded.get_repository_def().schedule_defs}
    assert set(told) == set(found)
    own = re.search(r"`connectwise`: (\d+)\)", texts(RUNNING))
    assert own
    for name, when in told.items():
        if clock := re.fullmatch(r"(\d\d):(\d\d)", when):
            minute, hour = found[name].split()[:2]
            late = 60 * int(hour) + int(minute) - 60 * int(clock[1]) - int(clock[2])
            assert late == int(own[1]), name
    assert found["promises"] == f"{own[1]} * * * *"
    assert found["refresh"] == f"{int(own[1]) % 15}-59/15 * * * *"


def invocations() -> dict[str, list[str]]:
    """Every command of ours in a document: in blocks of shell, and in the text."""
    found = {}
    for path in DOCS:
        shell = [body for kind, body in BLOCK.findall(texts(path)) if kind in ("sh", "")]
        for line in [*"\n".join(shell).splitlines(), *CODE.findall(prose(path))]:
            if match := INVOCATION.match(line):
                words = shlex.split(match[1], comments=True)
                found[f"{by_name(path)}: {' '.join(words)}"] = words
    return found


@pytest.mark.parametrize("words", [pytest.param(w, id=name) for name, w in invocations().items()])
def test_commands_that_are_shown_are_understood(words: list[str]) -> None:
    if words[0] == "test":
        return  # pytest's own arguments
    group: click.Command = Commands(name="cw-pipeline")
    context = click.Context(group)
    while isinstance(group, click.Group):
        assert words, "a group without its command"
        command = group.get_command(context, words[0])
        assert command is not None, f"{words[0]}: there are {', '.join(COMMANDS)}"
        group, words = command, words[1:]
        context = click.Context(command, parent=context)
    options = {
        option for each in group.params if isinstance(each, click.Option) for option in each.opts
    }
    asked = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert asked <= options | {"--help"}


def test_blocks_of_shell_are_shell() -> None:
    for path, body in blocks("sh"):
        command = ["/bin/sh", "-n"]
        done = subprocess.run(command, input=body, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{by_name(path)}: {done.stderr}"


def test_blocks_of_python_are_python() -> None:
    for path, body in blocks("python"):
        assert ast.parse(textwrap.dedent(body)), by_name(path)


def test_the_lines_that_add_a_list_declare_one_with_its_table() -> None:
    (body,) = (body for path, body in blocks("python") if path.name == "CONTRIBUTING.md")
    names = {"entity": entity, "Column": Column, "Kind": Kind}
    lines = [ast.unparse(line) for line in ast.parse(textwrap.dedent(body)).body]
    new, notes, unknown = (eval(line, names) for line in lines)  # noqa: S307 - ours
    assert (new.table, new.core, notes.table) == (
        "service_new_things",
        True,
        "service_new_things_notes",
    )
    assert [column.name for column in build_entity(unknown).columns] == ["id", "name"]


def test_the_view_that_is_shown_describes_itself() -> None:
    (body,) = (body for path, body in blocks("sql") if path.name == "CONTRIBUTING.md")
    shown = ViewScript("kpi_shown", textwrap.dedent(body))
    assert shown.comment.startswith("One row per board")
    assert list(shown.columns) == ["board_id", "tickets"]
    assert shown.needs == {"fct_ticket"}
