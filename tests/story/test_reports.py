"""A report is a table: typed as it says of itself, brought up to date with what changed."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline import composition
from cw_pipeline.errors import ConfigError, SourceForbidden, WarehouseError
from cw_pipeline.model import Column, Kind, ReportColumn
from cw_pipeline.reports_api.api import report_entity, report_page
from cw_pipeline.reports_api.sync import sync_report
from cw_pipeline.reports_api.table import report_table
from cw_pipeline.reports_api.values import coerce_rows
from cw_pipeline.warehouse import open_store

if TYPE_CHECKING:
    from cw_pipeline.model import SyncResult
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS = "/service/tickets"
ONCALL = "/schedule/oncall"


def put(tenant: Tenant, own: int, **fields: Any) -> None:
    tenant.put(TICKETS, {"id": own, "summary": f"ticket {own}", "actualHours": 1.5, **fields})


def read(story: Story, name: str = "Service", *, full: bool = False, **options: Any) -> SyncResult:
    with story.engine(entities=TICKETS.strip("/"), **options) as engine:
        report = sync_report(engine, name, full=full)
    if report.failure:
        raise report.failure
    return report


def rows(story: Story, table: str = "report_service") -> list[dict[str, Any]]:
    return story.rows(f"select * from connectwise.{table}")  # noqa: S608


def test_a_report_becomes_a_table_of_its_columns_types(story: Story, tenant: Tenant) -> None:
    put(tenant, 1, closedFlag=True, requiredDate="2026-01-31T00:00:00Z")
    report = read(story)
    assert (report.rows_read, report.rows_inserted, report.row_count) == (1, 1, 1)
    (row,) = rows(story)
    assert (row["sr_service_rec_id"], row["summary"], row["closed_flag"]) == (1, "ticket 1", True)
    assert row["hours_actual"] == Decimal("1.5")
    assert row["date_required"] == datetime(2026, 1, 31, tzinfo=UTC)
    assert row["_extra"] is None
    (run,) = story.rows("select * from cw_sync.run where entity = 'system/reports/Service'")
    assert (run["status"], run["rows_read"]) == ("done", 1)


def test_only_what_changed_is_read_and_only_that_is_rewritten(story: Story, tenant: Tenant) -> None:
    for own in range(1, 8):
        put(tenant, own)
    tenant.advance(3600)
    assert read(story, page_size=3).rows_inserted == 7
    places = {row["summary"]: row["_synced_at"] for row in rows(story)}
    tenant.edit(TICKETS, 2, summary="edited")
    put(tenant, 8)
    report = read(story, page_size=3)
    assert (report.rows_read, report.rows_inserted, report.rows_updated) == (2, 1, 1)
    assert (report.rows_deleted, report.row_count) == (0, 8)
    now = {row["summary"]: row["_synced_at"] for row in rows(story)}
    assert {name for name in places if now.get(name) == places[name]} == {*places} - {"ticket 2"}
    again = read(story, page_size=3)
    assert (again.rows_updated, again.rows_inserted, again.rows_deleted) == (0, 0, 0)


def test_a_whole_read_takes_out_what_is_gone_but_never_much_at_once(
    story: Story, tenant: Tenant
) -> None:
    for own in range(1, 31):
        put(tenant, own)
    read(story)
    tenant.delete(TICKETS, 3)
    report = read(story, full=True)
    assert (report.rows_deleted, report.rows_unchanged, report.row_count) == (1, 29, 29)
    for own in range(10, 20):
        tenant.delete(TICKETS, own)
    report = read(story, full=True)
    assert report.rows_deleted == 0
    assert "CW_MAX_DELETE_FRACTION" in report.warnings[0]
    assert len(rows(story)) == 29


def test_a_row_that_goes_while_a_report_is_read_hides_no_other(
    story: Story, tenant: Tenant
) -> None:
    for own in range(1, 21):
        put(tenant, own)
    asked = itertools.count()
    before = story.simulator.reports.answer

    def answer(*told: Any) -> Any:
        if next(asked) == 3:
            tenant.delete(TICKETS, 1)  # of an offset, a row would move to the page before
        return before(*told)

    story.simulator.reports.answer = answer  # type: ignore[method-assign]
    read(story, page_size=4)
    assert {int(row["sr_service_rec_id"]) for row in rows(story)} >= set(range(2, 21))


def test_a_report_whose_ids_are_of_many_rows_each_is_read_by_offsets(
    story: Story, tenant: Tenant
) -> None:
    reports = story.simulator.reports
    reports.remove_column("Service", "SR_Service_RecID")  # the first id is the company's now
    for own in range(1, 12):
        put(tenant, own, company={"id": 1 + own // 9, "name": "C"})
    report = read(story, page_size=3)
    assert (report.rows_read, report.rows_inserted) == (11, 11)
    assert len({row["summary"] for row in rows(story)}) == 11


def test_a_name_that_comes_twice_is_two_columns_and_no_rows_are_no_error(
    story: Story, tenant: Tenant
) -> None:
    tenant.put("/sales/activities", {"id": 1, "name": "Call"})
    assert read(story, "Activity").rows_read == 1
    (row,) = rows(story, "report_activity")
    assert isinstance(row["last_update"], datetime)
    assert "last_update_2" in row
    assert read(story, "OnCall").rows_read == 0
    tenant.put(ONCALL, {"id": 1, "dateStart": "2026-01-01T10:00:00Z"})
    assert read(story, "OnCall").rows_inserted == 1
    assert read(story, "OnCall").rows_unchanged == 1


def test_a_column_that_is_added_removed_or_retyped_loses_nothing(
    story: Story, tenant: Tenant
) -> None:
    put(tenant, 1)
    read(story)
    reports = story.simulator.reports
    reports.add_column("Service", "Board_RecID", "Numeric", "board/id")
    reports.retype_column("Service", "Hours_Actual", "Text")
    reports.remove_column("Service", "Severity")
    put(tenant, 2, board={"id": 7, "name": "B"})
    read(story)
    before, after = sorted(rows(story), key=lambda row: int(row["sr_service_rec_id"]))
    assert (before["hours_actual"], after["hours_actual"]) == ("1.5", "1.5")
    assert (after["board_rec_id"], after["severity"]) == (7, None)
    reports.retype_column("Service", "Hours_Actual", "Numeric")
    tenant.edit(TICKETS, 2, summary="again")
    assert read(story).failure is None
    assert {row["hours_actual"] for row in rows(story)} == {"1.5"}


def test_values_that_are_not_of_their_type_are_kept_beside_the_row() -> None:
    body = (
        b'{"column_definitions": [{"N": {"type": "Numeric"}}, {"D": {"type": "DateTime"}},'
        b' {"B": {"type": "Boolean"}}, {"T": {"type": "Text"}}], "row_values": ['
        b'[10.50, "9999-12-31T00:00:00", "True", 7], ["many", "soon", "maybe", null],'
        b' [null, "", false, "a\\u0000b"]]}'
    )
    page = report_page(body, "Odd")
    columns = report_entity("Odd", page.columns).columns
    assert coerce_rows(columns, page.rows) == [
        (Decimal("10.50"), datetime(9999, 12, 31, tzinfo=UTC), True, "7", None),
        (None, None, None, None, b'{"b":"maybe","d":"soon","n":"many"}'),
        (None, None, False, "ab", None),
    ]


def test_reports_that_the_role_may_not_read_fail_with_the_right_that_is_missing(
    story: Story,
) -> None:
    story.simulator.role.forbid("/system/reports*")
    with pytest.raises(SourceForbidden, match="API Reports"):
        read(story)
    (run,) = story.rows("select status, error from cw_sync.run")
    assert run["status"] == "failed"


def test_private_columns_of_reports_are_hidden_too(story: Story, tenant: Tenant) -> None:
    put(tenant, 1, board={"id": 1, "name": "Secret"})
    private = {
        "hash_columns": "report_service.summary",
        "drop_columns": "report_service.board_*",
        "hash_key": "k",
    }
    read(story, **private)
    (row,) = rows(story)
    assert (len(row["summary"]), row["board_name"]) == (64, None)
    with psycopg.connect(story.dsn) as connection:
        (said,) = connection.execute(
            "select col_description('connectwise.report_service'::regclass, attnum)"
            " from pg_attribute where attrelid = 'connectwise.report_service'::regclass"
            " and attname = 'summary'"
        ).fetchone() or ("",)
    assert said.startswith("Hashed")
    with pytest.raises(ConfigError, match="is numeric, which holds no hash"):
        read(story, hash_columns="report_service.hours_actual", hash_key="k")


def test_what_a_killed_run_had_read_is_taken_away_by_the_next(story: Story, tenant: Tenant) -> None:
    put(tenant, 1)
    with psycopg.connect(story.dsn) as connection:
        connection.execute("create table cw_sync.staged_999999 ()")
    read(story)
    assert story.rows("select relname from pg_class where relname ~ '^staged_'") == []


def test_rows_that_a_crash_of_the_server_took_out_are_never_missed_in_silence(story: Story) -> None:
    """It empties unlogged tables; what is read after it would pass for all there is."""
    declared = report_entity("Service", [ReportColumn("Service", "Name", "Text", None, 1)])
    with (
        story.engine() as engine,
        open_store(engine.database, declared, "refresh") as hold,
        report_table(engine.database, "Service", hold.run_id) as table,
    ):
        entity = table.fit(declared)
        table.clear(entity)
        table.stage(entity, [("one", None), ("two", None)])
        assert table.rows(entity) == (0, 2)
        with psycopg.connect(story.dsn) as connection:
            connection.execute(f"truncate cw_sync.staged_{hold.run_id}".encode())
        table.stage(entity, [("three", None)])
        with pytest.raises(WarehouseError, match="of 3 rows read 1 are left"):
            table.rows(entity)


ODD_NAMES = (
    *("xmin", "ctid", "tableoid", "CMAX", "r", "n", "s", "t", "_twin", "_staged", "_row_hash"),
    *("_extra", "old", "new", "key", "at", "select", "Name", "name", "x" * 70),
)


def test_a_report_may_call_its_columns_anything(story: Story) -> None:
    named = [ReportColumn("Odd", name, "Text", None, at) for at, name in enumerate(ODD_NAMES, 1)]
    declared = report_entity("Odd", named)
    # The rows differ in their last column alone.
    rows_of = [
        [(*("same" for _ in named[1:]), own, None) for own in last]
        for last in (("one", "two", "two"), ("one", "two", "two"), ("one", "two", "three"))
    ]
    with (
        story.engine() as engine,
        open_store(engine.database, declared, "refresh") as hold,
        report_table(engine.database, "Odd", hold.run_id) as table,
    ):
        entity = table.fit(declared)
        for staged, expected in zip(rows_of, ((3, 0, 0), (0, 0, 0), (1, 1, 0)), strict=True):
            table.clear(entity)
            table.stage(entity, staged)
            assert table.merge(entity, None, whole=True) == expected
    assert len(rows(story, "report_odd")) == 3


def test_reports_that_would_be_one_table_are_refused_by_name(story: Story) -> None:
    with pytest.raises(ConfigError, match="Service and service would be one table"):
        composition.report_names(story.settings(reports="Service,Time,service,Service"))


def test_a_value_that_no_column_holds_is_kept_beside_its_row(story: Story) -> None:
    kinds = ("Numeric", "Numeric", "DateTime", "Text", "Text", "Text")
    named = [ReportColumn("Odd", f"c{at}", kind, None, at) for at, kind in enumerate(kinds)]
    entity = report_entity("Odd", named)
    body = (
        b'{"column_definitions": [' + b",".join(
            f'{{"{c.column}": {{"type": "{c.type}"}}}}'.encode() for c in named
        ) + b'], "row_values": [[1e200000, 1e99999999999999999999, "0001-01-01T00:00:00+14:00",'
        b' "cut \\ud83d", 1e99999999999999999999, [1e200000]]]}'
    )  # fmt: skip
    (row,) = coerce_rows(entity.columns, report_page(body, "Odd").rows)
    assert row[:5] == (None, None, None, "cut \ufffd", "1e99999999999999999999")
    with (
        story.engine() as engine,
        open_store(engine.database, entity, "refresh") as hold,
        report_table(engine.database, "Odd", hold.run_id) as table,
    ):
        table.fit(entity)
        table.clear(entity)
        table.stage(entity, [row])
        table.merge(entity, None, whole=True)
    (kept,) = rows(story, "report_odd")
    assert kept["_extra"] == {
        "c0": "1E+200000",
        "c1": "1e99999999999999999999",
        "c2": "0001-01-01T00:00:00+14:00",
    }


def test_words_of_a_date_are_no_date() -> None:
    """Taken for the moment at which it is read, "now" would be another one at each sync."""
    said = ["now", "today", "NaT", "infinity", "epoch", " 2025-03-01", "2025-03-01T10:00:00Z"]
    rows = coerce_rows([Column("at", ("At",), Kind.TIMESTAMPTZ)], [[each] for each in said])
    assert [at for at, _ in rows[:5]] == [None] * 5
    assert [extra for _, extra in rows[:2]] == [b'{"at":"now"}', b'{"at":"today"}']
    assert rows[6][0] == datetime(2025, 3, 1, 10, tzinfo=UTC)
