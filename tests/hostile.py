"""A database whose defaults are all otherwise than the pipeline means them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from tests.conftest import Server

HOSTILE = {
    "datestyle": "German, DMY",
    "timezone": "Asia/Kathmandu",
    "standard_conforming_strings": "off",
    "intervalstyle": "sql_standard",
    "client_encoding": "LATIN1",
    "search_path": "nowhere",
    "statement_timeout": "1234",
    "lock_timeout": "1234",
    "idle_in_transaction_session_timeout": "1234",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "quote_all_identifiers": "on",
    "array_nulls": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-3",
    "transform_null_equals": "on",
}


def make_hostile(server: Server, dsn: str) -> None:
    name = str(conninfo_to_dict(dsn)["dbname"])
    for setting, value in HOSTILE.items():
        server.execute(f"alter database {{}} set {setting} = '{value}'", name)
