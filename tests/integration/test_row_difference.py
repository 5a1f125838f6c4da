"""Of a table that follows changes, the rows that differ are replaced, and no others."""

from __future__ import annotations

import psycopg

from cw_pipeline.reporting.row_difference import write_difference


def test_a_row_in_which_only_a_sign_changes_is_replaced(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "create temp table kept as select * from (values (1, 2.5), (2, 7)) v (id, amount)"
        )
        connection.execute("create temp table changed as select 1 as id")
        write_difference(connection, ("pg_temp", "kept"), ["id"], "select 1 as id, -2.5 as amount")
        rows = connection.execute("select id, amount::float from kept order by 1, 2").fetchall()
    assert rows == [(1, -2.5), (2, 7)]
