"""The limit: binary COPY of rows that are ready, with nothing else to do, in a process of its own.

The tables have the keys and indexes of a first load's. Which rows are in which file is the
lab's affair: each `*.copy` is named for its table.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from cw_pipeline.bench.meter import Meter, peak_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

_PIECE = 1 << 20


def main(server: int | None, folder: Path, connections: int) -> None:
    """Copies every file, over so many connections, and prints what it cost as JSON."""
    dsn = os.environ["CW_WAREHOUSE_DSN"]
    parts = sorted(path for path in folder.iterdir() if path.is_dir())
    with psycopg.connect(dsn, autocommit=True) as connection:
        meter = Meter(connection, server)
        with ThreadPoolExecutor(connections) as pool:
            rows = sum(pool.map(lambda part: _copy(dsn, part.glob("*.copy")), parts))
        spent = meter.cost()
    costs = {**spent.plain(), "rows_read": rows, "failures": [], "memory": peak_memory()}
    sys.stdout.write(json.dumps(costs | {"process_cpu": time.process_time()}))


def _copy(dsn: str, files: Iterable[Path]) -> int:
    """Copies files into their tables: how many rows the entity's own table got."""
    rows = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set cw_pipeline.writes = on")  # no work for triggers, as in a sync
        for file in sorted(files, key=lambda path: len(path.name)):
            count = _copy_file(connection, file)
            rows += count if "__" not in file.name else 0
    return rows


def _copy_file(connection: psycopg.Connection[Any], file: Path) -> int:
    schema, table = file.stem.split(".")
    statement = sql.SQL("copy {} from stdin (format binary)").format(sql.Identifier(schema, table))
    with connection.cursor() as cursor:
        with file.open("rb") as source, cursor.copy(statement) as stream:
            while piece := source.read(_PIECE):
                stream.write(piece)
        return cursor.rowcount


if __name__ == "__main__":
    main(int(sys.argv[1]) or None, Path(sys.argv[2]), int(sys.argv[3]))
