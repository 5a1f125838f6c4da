"""Writes the starting points anew. See the package."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import psycopg

from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.reporting import entities, publish
from cw_pipeline.warehouse import migrate
from tests.bi_tools import dbt, metabase, power_bi, superset
from tests.bi_tools.star import TYPES, published_types


@cache
def made() -> dict[Path, str]:
    """Every generated file, by path."""
    return dbt.files() | metabase.files() | power_bi.files() | superset.files()


def write() -> None:
    """Writes what differs, and says so."""
    for path, text in made().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            sys.stdout.write(f"{path}\n")


def write_types() -> None:
    """Publishes the reporting schema in a new server, and writes down the types of its columns."""
    folder = Path(tempfile.mkdtemp(prefix="cw-types-"))
    folder.chmod(0o711)  # root's server runs under another account, which passes through here
    postgres = EmbeddedPostgres(folder / "postgres", durable=False)
    try:
        dsn = postgres.ensure()
        migrate(dsn, "connectwise", entities())
        publish(dsn, "connectwise")
        with psycopg.connect(dsn) as connection:
            types = published_types(connection)
    finally:
        postgres.stop()
        shutil.rmtree(folder)
    TYPES.write_text(json.dumps(types, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    if "--types" in sys.argv[1:]:
        write_types()
    write()
