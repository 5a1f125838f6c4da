"""Whether the rows in the warehouse are what the records say, worked out without the pipeline."""

from __future__ import annotations

import gzip
import http.client
import json
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from cw_pipeline.bench.lab import SCHEMA, TICKETS
from cw_pipeline.bench.server import LIST
from cw_pipeline.catalog import CATALOG
from cw_pipeline.model import Column, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNKNOWN = "benchField"


def faults(dsn: str, url: str, dataset: str) -> list[str]:
    """Every difference between the list and its tables, in words; none is what is hoped for."""
    entity = CATALOG[TICKETS]
    found = []
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        rows = _by(connection, entity.table, "id")
        fields = _by(connection, entity.arrays[0].table, "parent_id", "position")
    records = 0
    for record in _records(url, dataset):
        records += 1
        row = rows.get((record["id"],))
        if row is None:
            found.append(f"{record['id']} is missing")
            continue
        found += _differences(record, row, entity.columns)
        if (row["_extra"] or {}).get(_UNKNOWN) != record.get(_UNKNOWN):
            found.append(f"{record['id']}: {_UNKNOWN}")
        for at, field in enumerate(record["customFields"]):
            found += _differences(field, fields[record["id"], at], entity.arrays[0].columns)
    if records != len(rows):
        found.append(f"{records} records, {len(rows)} rows")
    return found


def _differences(
    record: dict[str, Any], row: dict[str, Any], columns: tuple[Column, ...]
) -> Iterator[str]:
    for column in columns:
        wanted = _value_in_warehouse(_at(record, column.path), column.kind)
        if row[column.name] != wanted:
            yield f"{record['id']}.{column.name}: {row[column.name]!r} is not {wanted!r}"


def _at(record: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON
    for key in path:
        record = (record or {}).get(key)
    return record


def _value_in_warehouse(value: Any, kind: Kind) -> Any:  # noqa: ANN401 - JSON
    if value is None:
        return None
    if kind is Kind.TIMESTAMPTZ:
        return datetime.fromisoformat(value)
    if kind is Kind.DATE:
        return datetime.fromisoformat(value).date()
    return float(value) if kind is Kind.JSONB and isinstance(value, Decimal) else value


def _records(url: str, dataset: str) -> Iterator[dict[str, Any]]:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        last = 0
        while True:
            connection.request("GET", f"/{dataset}{LIST}?pageSize=1000&pageId={last}")
            body = gzip.decompress(connection.getresponse().read())
            page = json.loads(body, parse_float=Decimal)
            if not page:
                return
            yield from page
            last = page[-1]["id"]


def _by(
    connection: psycopg.Connection[dict[str, Any]], table: str, *key: str
) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = connection.execute(sql.SQL("select * from {}").format(sql.Identifier(SCHEMA, table)))
    return {tuple(row[name] for name in key): row for row in rows}
