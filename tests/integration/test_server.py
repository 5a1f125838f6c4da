"""The server that `CW_TEST_DSN` names is left as it was found."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.conftest import Server

LEFT = """
select (select count(*) from pg_roles where rolname = %(name)s),
       (select count(*) from pg_database where datname = %(name)s)
"""


@pytest.mark.parametrize(("days", "left"), [(-1, (0, 0)), (1, (1, 1))])
def test_what_a_killed_test_run_left_behind_is_dropped_a_day_later(
    server: Server, days: int, left: tuple[int, int]
) -> None:
    name = f"cw_test_{secrets.token_hex(4)}"
    server.create_role(name, life=timedelta(days))
    server.execute("create database {} owner {}", name, name)
    try:
        server.drop_leftovers()
        with psycopg.connect(server.admin) as connection:
            assert connection.execute(LEFT, {"name": name}).fetchone() == left
    finally:
        server.execute("drop database if exists {}", name)
        server.execute("drop role if exists {}", name)
