"""What is stored in warehouses, kept in Dagster or read by scripts stays as it is.

Code may be moved and renamed as one likes; what is pinned here may not. A pin that must change
needs a migration, or a release that knows both spellings.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.cli import output
from cw_pipeline.cli.app import COMMANDS
from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.model import Array, Audit, Column, Entity, Kind, SyncMode, SyncResult
from cw_pipeline.reporting.script import ReportingSchema, ViewScript, scripts
from cw_pipeline.settings import Settings
from cw_pipeline.sync.capabilities import ListCapabilities
from cw_pipeline.transform import PageReader
from cw_pipeline.transform.pages import EDITION, RecordFingerprints, text_of_seed
from cw_pipeline.warehouse.dead_letters import DeadLetter, DeadLetterEvent
from cw_pipeline.warehouse.promotions import Promotion, SchemaDriftEntry
from cw_pipeline.warehouse.status import DeleteCandidate, EntityStatus, LastRun
from tests.unit.mangled import reading_by

if TYPE_CHECKING:
    import dagster as dg

CHOSEN = "service/tickets,service/boards,service/boards/types,service/tickets/changelogs"


@pytest.mark.parametrize(
    ("entity", "seed"),
    [
        ("service/tickets", 3170408598876406473),
        ("company/companies", 674995744147904234),
        ("service/boards/types", 3414718175119062897),
    ],
)
def test_the_seed_of_the_stored_hashes_stays(entity: str, seed: int) -> None:
    """With another one, each record of each tenant is typed again once: slow, not wrong."""
    assert RecordFingerprints(CATALOG[entity]).seed == seed


def test_the_text_behind_the_seed_names_each_column_and_array() -> None:
    columns = (Column("id", ("id",), Kind.BIGINT), Column("it_s", ("it's", "x"), Kind.TEXT))
    array = Array("made_up__parts", "parts", (Column("at", ("at",), Kind.TIMESTAMPTZ),))
    entity = Entity("made/up", "/up", "made_up", "made", SyncMode.INCREMENTAL, columns, (array,))
    assert text_of_seed(entity) == (
        "(2, (Column(name='id', path=('id',), kind=<Kind.BIGINT: 'bigint'>), Column(name='it_s',"
        " path=(\"it's\", 'x'), kind=<Kind.TEXT: 'text'>)), (Array(table='made_up__parts',"
        " field='parts', columns=(Column(name='at', path=('at',),"
        " kind=<Kind.TIMESTAMPTZ: 'timestamptz'>),)),))"
    )


@pytest.mark.parametrize("compiler", ["cc", ""], ids=["compiled", "python"])
@pytest.mark.parametrize(
    ("entity", "body", "row_hash"),
    [
        (
            "service/tickets",
            b'[{"id":7,"summary":"caf\xc3\xa9","future":[1.50]}]',
            4704229851968786646,
        ),
        (
            "time/entries",
            b'[{"id":8,"actualHours":1.25,"_info":{"lastUpdated":null}}]',
            -7536338506769219928,
        ),
        (
            "company/companies",
            b'[{"id":9,"types":[{"id":1,"name":"Client"}]}]',
            6302498910225263235,
        ),
    ],
)
def test_the_hash_of_a_stored_row_stays(
    entity: str, body: bytes, row_hash: int, compiler: str
) -> None:
    """With another one, each row counts as changed once, with a version in its history."""
    with reading_by(compiler):
        assert PageReader(CATALOG[entity]).read_page(body).hashes == [row_hash]


ODD = {
    "service/tickets": (
        b'{"id":1,"summary":null,"closedFlag":"true","board":{"id":"7","name":5}}',
        b'{"id":2,"budgetHours":"1.50","actualHours":1e3,"requiredDate":"2026-02-29T00:00:00Z"}',
        b'{"id":3,"requiredDate":"2026-02-28T13:00:00Z","dateResolved":"2026-02-28T13:00:00+02:00"}',
        b'{"id":4,"dateEntered":"2019-01-17T09:21:03Z","enteredBy":"zadmin"}',
        b'{"id":5,"summary":"cut \\ud83d","initialDescription":"a\\u0000b"}',
        b'{"id":6,"status":"New","customFields":[{"id":1,"value":1e3},{"id":2,"value":[]}]}',
        b'{"id":7,"new_href":"http://x","future":{"a":[1.50,null]},"_info":{"what":1}}',
        b'{"id":8,"budgetHours":1e200000,"board":[]}',
        b'{"id":9,"estimatedStartDate":"0001-01-01T00:00:00Z","id":10}',
    ),
    "time/entries": (
        b'{"id":1,"actualHours":0.1,"timeStart":"9999-12-31T23:59:59Z","invoiceHours":-0}',
        b'{"id":2,"chargeToId":9223372036854775808,"notes":"caf\xc3\xa9"}',
        b'{"id":3,"actualHours":123456789012345678901234567890.123,"billableOption":true}',
    ),
    "company/companies": (
        b'{"id":1,"types":[{"id":1,"name":"Client","other":1},{"id":"2"}],"deletedFlag":0}',
        b'{"id":2,"types":null,"site":{"id":3,"name":"Main"},"dateAcquired":"2026-01-01"}',
    ),
}
"""Records that try each rule of what becomes of a value."""


@pytest.mark.parametrize("compiler", ["cc", ""], ids=["compiled", "python"])
def test_rows_of_another_content_have_another_edition(compiler: str) -> None:
    """Else rows that are stored as the code made them until now would stay, and differ for ever."""
    made = hashlib.sha256()
    with reading_by(compiler):
        for entity, records in ODD.items():
            page = PageReader(CATALOG[entity]).read_page(b"[" + b",".join(records) + b"]")
            for table in page.tables:
                made.update(table.data)
    digest = "251ff73389b0712001ee0af296f451a0a597e61960cb96ad5400b2eee0b06754"
    assert (EDITION, made.hexdigest()) == (2, digest), (
        "raise EDITION in transform/pages.py, so that every record is decoded again; pin it here"
    )


def test_a_view_that_an_older_version_published_is_not_made_again() -> None:
    """Nor is a table filled again, which takes minutes: what tells them apart is the same."""
    query = "-- One row.\nselect {{tenant}}, {{time_zone}} from {{source}}.x, {{reporting}}.y"
    script = ViewScript(
        "made_up", f"{query} where {{{{only: id}}}}", "select 1 where {{since}} > '1'"
    )
    digest = script.digest(ReportingSchema("connectwise", "Europe/Zurich"))
    assert digest == "22c6db690162f9176455923d9d03ab1ef5c94e3fc94cbeb4a178c8f39f1f5f80"


KEYS = (
    (
        SyncResult,
        (
            "entity kind rows_read rows_inserted rows_updated rows_unchanged dead_letters"
            " rows_deleted rows_healed requests retries throttled_seconds pages watermark"
            " row_count source_rows failure warnings"
        ),
    ),
    (
        Audit,
        (
            "entity kind source_rows warehouse_rows missing stale extra healed deleted drift proven"
            " detail failure"
        ),
    ),
    (
        EntityStatus,
        (
            "entity complete_through age rows pass_open dead_letters drift reread column_drift"
            " quarantined oldest_parent audited_at proven readable counted_at source_rows "
            " counted_rows last_run"
        ),
    ),
    (
        LastRun,
        (
            "kind status started_at finished_at requests rows_read rows_inserted rows_updated"
            " rows_deleted error"
        ),
    ),
    (
        DeadLetter,
        (
            "id entity record_id parent_id request payload reason detail attempts first_seen"
            " last_seen retry_at resolved_at resolution run_id"
        ),
    ),
    (DeadLetterEvent, "at what detail"),
    (DeleteCandidate, "entity record_id parent_id seen_at reason"),
    (SchemaDriftEntry, "entity field change first_seen last_seen sample"),
    (Promotion, "table field column kind rows"),
    (ListCapabilities, "entity readable count filterable forward_only by_id records detail"),
)


@pytest.mark.parametrize(("shown", "keys"), KEYS, ids=[each.__name__ for each, _ in KEYS])
def test_programs_find_the_same_keys_in_json(
    shown: type, keys: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output.print_json(shown(**{field.name: None for field in fields(shown)}))
    assert set(keys.split()) <= set(json.loads(capsys.readouterr().out))


def test_programs_find_the_same_keys_of_an_entity(capsys: pytest.CaptureFixture[str]) -> None:
    from cw_pipeline.cli import main  # noqa: PLC0415

    assert main(["catalog", "list", "service/boards", "--json"]) == 0
    (entity,) = json.loads(capsys.readouterr().out)
    names = "name path table key keeping parent core description columns"
    assert set(names.split()) <= set(entity)
    assert entity["keeping"] == "window"
    assert set(entity["columns"][0]) == {"table", "column", "type", "key", "field"}


def test_no_command_is_lost() -> None:
    names = "demo sync status check reconcile backfill dead-letters columns up down simulate report"
    assert {*names.split(), "migrate", "catalog", "bench", "test"} <= set(COMMANDS)


@pytest.fixture(scope="module")
def loaded() -> dg.Definitions:
    return definitions(Settings(reports="Service"), select(CHOSEN))


def test_dagster_finds_the_assets_it_knows(loaded: dg.Definitions) -> None:
    """Their history, and what is switched on or off, goes by these names."""
    graph = loaded.resolve_asset_graph()
    groups = {node.key.to_user_string(): node.group_name for node in graph.asset_nodes}
    views = {f"reporting/{script.name}": "reporting" for script in scripts()}
    assert groups == views | {
        "connectwise/service_tickets": "service",
        "connectwise/service_tickets_changelogs": "service",
        "connectwise/service_boards": "service",
        "connectwise/service_boards_types": "service",
        "connectwise/audit": "proof",
        "connectwise/reread": "proof",
        "connectwise/full_sync": "proof",
        "connectwise/report_columns": "reports",
        "connectwise/report_service": "reports",
    }


@pytest.mark.parametrize(
    ("asset", "names"),
    [
        ("connectwise/service_tickets", "count dead_letters drift fresh proven sync_ok"),
        ("connectwise/service_boards_types", "dead_letters fresh proven sync_ok"),
        ("connectwise/report_columns", "sync_ok unchanged"),
        ("connectwise/report_service", "sync_ok"),
        ("reporting/fct_activity", "keys"),
    ],
)
def test_dagster_finds_the_checks_it_knows(loaded: dg.Definitions, asset: str, names: str) -> None:
    keys = loaded.resolve_asset_graph().asset_check_keys
    found = {key.name for key in keys if key.asset_key.to_user_string() == asset}
    assert found == set(names.split())


def test_dagster_finds_the_jobs_and_ops_it_knows(loaded: dg.Definitions) -> None:
    jobs = loaded.get_repository_def().get_all_jobs()
    ops = {job.name: " ".join(sorted(node.name for node in job.nodes)) for job in jobs}
    ops.pop("__ASSET_JOB")
    assert ops == {
        "maintenance": "delete_old_runs",
        "promises": "compare_clocks judge_promises",
        "reconcile": "connectwise__audit judge_promises",
        "refresh": "refresh_reporting sync",
        "report_columns": "snapshot_report_columns",
        "report_tables": "sync_report_tables",
        "reporting": "judge_keys refresh_reporting",
        "reporting_keys": "judge_keys",
        "reread": "connectwise__reread judge_promises",
    }


def test_dagster_finds_the_schedules_and_sensors_it_knows(loaded: dg.Definitions) -> None:
    """One that somebody switched off would be on again under another name."""
    repository = loaded.get_repository_def()
    jobs = {each.name: each.job_name for each in repository.schedule_defs}
    assert jobs == {
        "maintenance": "maintenance",
        "promises": "promises",
        "reconcile": "reconcile",
        "reference": "refresh",
        "refresh": "refresh",
        "report_columns": "report_columns",
        "report_tables": "report_tables",
        "reporting_keys": "reporting_keys",
        "reread": "reread",
    }
    sensors = {each.name for each in repository.sensor_defs}
    assert sensors == {"alerts", "live_events"}


def test_runs_and_assets_keep_their_tags(loaded: dg.Definitions) -> None:
    """Concurrency limits in users' own dagster.yaml, and searches in the UI, name them."""
    tags = {job.name: dict(job.tags) for job in loaded.get_repository_def().get_all_jobs()}
    retried = {"dagster/max_retries": "1", "dagster/retry_strategy": "FROM_ASSET_FAILURE"}
    ours = {"cw/tenant": "connectwise"}
    assert tags["refresh"] == ours | retried
    assert tags["reconcile"] == ours | retried | {"cw/yielding": "true"}
    assert tags["promises"] == ours
    graph = loaded.resolve_asset_graph()
    (tickets,) = [node for node in graph.asset_nodes if node.key.path[-1] == "service_tickets"]
    assert {tag: tickets.tags[tag] for tag in ("cw/keeping", "cw/core")} == {
        "cw/keeping": "window",
        "cw/core": "true",
    }
