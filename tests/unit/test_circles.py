"""The code can be read in one order, and a name in it means one thing."""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter

from cw_pipeline.paths import PACKAGE


def test_no_files_import_each_other_in_a_circle() -> None:
    """import-linter looks at rooms; this looks at files, and counts imports for types."""
    paths = {path.relative_to(PACKAGE.parent): path for path in PACKAGE.rglob("*.py")}
    modules = {".".join(short.with_suffix("").parts): path for short, path in paths.items()}
    imports: dict[str, set[str]] = {}
    for name, path in modules.items():
        if path.name == "__init__.py":
            continue  # it only names what its folder gives to others
        found = imports.setdefault(name, set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {*inner, node.module or ""} & modules.keys()
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names} & modules.keys()
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as circle:
        raise AssertionError(" is imported by ".join(circle.args[1])) from None


def test_a_name_is_given_to_one_class() -> None:
    """A reader who searches for a name finds what is meant, and not its namesakes."""
    trees = (ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py"))
    classes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    names = Counter(each.name for each in classes)
    assert {name: count for name, count in names.items() if count > 1} == {}
