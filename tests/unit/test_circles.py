"""No two files need each other, not for types either: each can be read after those it imports."""

from __future__ import annotations

import ast
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
