"""dlt on the same server and PostgreSQL, in a virtual environment of its own.

Run by that environment's Python, which knows nothing of cw_pipeline, as ours knows nothing of what
is imported here: `peer_dlt.py WAY URL DSN COLUMNS`. COLUMNS is a JSON file of [name, path, kind].
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

WAYS = ("default", "tuned", "arrow")
_TUNED = {
    "DATA_WRITER__BUFFER_MAX_ITEMS": "10000",
    "DATA_WRITER__DISABLE_COMPRESSION": "true",
    "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": "25000",
    "EXTRACT__WORKERS": "4",
    "LOAD__WORKERS": "4",
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "25000",
    "NORMALIZE__WORKERS": "2",
}
_FORMATS = {"default": "insert_values", "tuned": "csv", "arrow": "parquet"}
_UPSERT = {"disposition": "merge", "strategy": "upsert"}
_AS_TEXT = {"value": {"name": "value", "data_type": "text"}}
_BEGIN = "1970-01-01T00:00:00Z"


def main(way: str, url: str, dsn: str, columns: Path) -> None:
    """Loads the tickets once, and prints what it cost as JSON."""
    os.environ |= {
        "DESTINATION__POSTGRES__CREDENTIALS": dsn,
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        **({} if way == "default" else _TUNED),
    }
    dlt = import_module("dlt")  # reads the environment

    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            f"bench_{way}", destination="postgres", dataset_name=way, pipelines_dir=folder
        )
        source = _arrow(url, columns) if way == "arrow" else _rest(url, tuned=way == "tuned")
        started, cpu = time.monotonic(), _cpu()
        pipeline.run(source, loader_file_format=_FORMATS[way])
        wall, cpu = time.monotonic() - started, _cpu() - cpu
        with pipeline.sql_client() as client:
            rows = client.execute_sql("select count(*) from tickets")[0][0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    costs = {"wall": wall, "client": cpu, "rows_read": rows, "memory": peak, "failures": []}
    sys.stdout.write(json.dumps(costs | {"version": dlt.__version__}))


def _cpu() -> float:
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, whose))


def _rest(url: str, *, tuned: bool) -> Any:  # noqa: ANN401
    """The REST source that dlt brings: as its documentation has it, or with what makes it fast."""
    endpoint = {
        "path": "service/tickets",
        "params": {
            "pageSize": 1000,
            "pageId": 0,
            "conditions": "lastUpdated > [{incremental.start_value}]",
        },
        "paginator": {"type": "header_link"},
        "data_selector": "$",
        "incremental": {"cursor_path": "_info.lastUpdated", "initial_value": _BEGIN},
    }
    tickets: dict[str, Any] = {"name": "tickets", "primary_key": "id", "endpoint": endpoint}
    tickets["write_disposition"] = _UPSERT if tuned else "merge"
    if tuned:
        tickets["processing_steps"] = [{"map": _slim}]
        tickets["max_table_nesting"] = 1
        tickets["columns"] = {"customFields": {"data_type": "json"}}
    client = {"base_url": url, "headers": {"Accept-Encoding": "gzip"}}
    rest = import_module("dlt.sources.rest_api")
    source = rest.rest_api_source({"client": client, "resources": [tickets]}, name="cw")
    if not tuned:
        # It takes a custom field's date for the type of all of them, and fails at the next text.
        source.tickets.apply_hints(nested_hints={"customFields": {"columns": _AS_TEXT}})
    return source


def _slim(record: dict[str, Any]) -> dict[str, Any]:
    """The record without the links of its references."""
    for key, value in record.items():
        if isinstance(value, dict) and key != "_info":
            value.pop("_info", None)
    return record


def _arrow(url: str, columns: Path) -> Any:  # noqa: ANN401
    """Typed Arrow tables made by hand, the fastest that dlt can be fed."""
    dlt = import_module("dlt")

    known = json.loads(columns.read_text())

    def tickets(
        cursor: Any = dlt.sources.incremental(  # noqa: ANN401, B008 - dlt's way
            "last_updated", initial_value=datetime(1970, 1, 1, tzinfo=UTC)
        ),
    ) -> Iterator[Any]:
        since = cursor.last_value.strftime("[%Y-%m-%dT%H:%M:%SZ]")
        yield from _tables(url, f"lastUpdated > {since}", known)

    return dlt.resource(tickets, name="tickets", primary_key="id", write_disposition=_UPSERT)


def _tables(url: str, conditions: str, columns: list[Any]) -> Iterator[Any]:
    orjson, pa, requests = map(import_module, ("orjson", "pyarrow", "requests"))

    kinds = {
        "bigint": pa.int64(),
        "numeric": pa.float64(),
        "boolean": pa.bool_(),
        "timestamptz": pa.timestamp("us", "UTC"),
    }
    session = requests.Session()
    asked = {"pageSize": "1000", "pageId": "0", "conditions": conditions}
    following: str | None = f"{url}service/tickets"
    while following:
        answer = session.get(following, params=asked, timeout=60)
        records = orjson.loads(answer.content)
        asked = {}
        if records:
            yield pa.table(
                {
                    name: _column([_at(r, path) for r in records], kinds.get(kind), pa)
                    for name, path, kind in columns
                }
            )
        following = answer.links.get("next", {}).get("url")


def _column(values: list[Any], kind: Any, pa: Any) -> Any:  # noqa: ANN401
    if kind is None:
        texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
        return pa.array(texts, pa.string())
    if str(kind).startswith("timestamp"):
        return pa.array(values, pa.string()).cast(kind)
    return pa.array(values, kind)


def _at(record: Any, path: list[str]) -> Any:  # noqa: ANN401
    for key in path:
        record = record.get(key) if record else None
    return record


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
