"""What the command line says before it does anything."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from cw_pipeline.cli import main, output
from cw_pipeline.cli.app import COMMANDS
from cw_pipeline.cli.sync import failure_advice, line, summary
from cw_pipeline.errors import SourceForbidden
from cw_pipeline.model import SyncResult
from cw_pipeline.wording import age

CONTRACT = {
    *("demo", "sync", "reconcile", "status", "check", "dead-letters", "backfill", "migrate"),
    *("up", "simulate", "test", "down", "catalog"),
}


def loaded_by(*arguments: str) -> set[str]:
    """The modules in memory after a command."""
    program = (
        "import sys; from cw_pipeline.cli import main; main(sys.argv[1:]);"
        " print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_help_waits_for_nothing_heavy() -> None:
    heavy = {"dagster", "pandas", "sqlalchemy", "httpx", "psycopg", "pydantic", "rich"}
    assert loaded_by("--help") & heavy == set()


@pytest.mark.parametrize("command", sorted(CONTRACT))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if command == "test":
        assert command in COMMANDS  # its arguments are pytest's, --help too
        return
    assert main([command, "--help"]) == 0
    assert "Usage: cw-pipeline" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["snyc"], "There is no command 'snyc'; did you mean 'sync'?"),
        (["qqq"], "There is no command 'qqq'; it is one of demo, sync,"),
        (["dead-letters", "lst"], "There is no command 'lst'; did you mean 'list'?"),
        (["sync", "--ful"], "There is no option --ful; did you mean '--full'?"),
        (["--verbos", "status"], "There is no option --verbos; did you mean '--verbose'?"),
        (["sync", "-q"], "There is no option -q; `--help` lists them"),
        (["sync", "servce/*"], "did you mean 'service/*'?"),
        (["dead-letters", "list", "--entity", "service/tickts"], "mean 'service/tickets'?"),
        (["columns", "list", "--entity", "service/*"], "means several entities: name one"),
        (["columns", "promote", "service/tickts", "field"], "mean 'service/tickets'?"),
    ],
)
def test_a_misspelled_word_is_a_usage_error_that_says_what_was_meant(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_setting_that_makes_no_sense_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CW_PAGE_SIZE", "5000")
    assert main(["status"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("cw-pipeline: CW_PAGE_SIZE:")
    assert said.count("\n") == 1


def test_half_a_tenant_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CW_SITE", "na.myconnectwise.net")
    monkeypatch.setenv("CW_PRIVATE_KEY", "hush-hush")
    assert main(["sync"]) == 2
    said = capsys.readouterr().err
    assert "CW_COMPANY, CW_PUBLIC_KEY, CW_CLIENT_ID not set" in said
    assert "hush-hush" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sync", "service/ticket"], "did you mean 'service/tickets'"),
        (["sync", "--until", "2026-11-01"], "--until needs --since"),
        (["sync", "--since", "yesterday"], "is no time"),
        (["sync", "--full", "--since", "2026-11-01"], "choose one"),
        (["backfill", "time/entries", "--since", "2026-11-02", "--until", "2026-11-01"], "before"),
        (["backfill", "--since", "2026-11-01", "--until", "2026-11-02"], "Missing argument"),
        (["up", "--port", "70000"], "70000 is not in the range 1<=x<=65535"),
        (["up", "--demo", "--bi", "0"], "0 is not in the range 1<=x<=65535"),
        (["simulate", "--port", "0"], "0 is not in the range 1<=x<=65535"),
    ],
)
def test_usage_errors_say_what_to_write(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_run_without_news_is_not_worth_a_line() -> None:
    report = SyncResult("time/entries", "refresh", rows_read=12, rows_unchanged=12)
    assert line(report) == ""


def test_a_run_is_told_in_one_line() -> None:
    report = SyncResult("time/entries", "refresh", rows_inserted=1200, dead_letters=1)
    assert line(report) == "✓ time/entries: 1,200 new, 1 dead letter"


def test_a_forbidden_list_says_which_right_the_role_needs() -> None:
    report = SyncResult(
        "finance/agreements/additions", "refresh", failure=SourceForbidden("no", 403)
    )
    assert "Finance > Agreements, Inquire: All" in failure_advice(report)


def test_the_summary_counts_what_failed() -> None:
    reports = [
        SyncResult("a", "refresh", rows_read=2, rows_inserted=2, requests=3),
        SyncResult("b", "r"),
    ]
    reports[1].failure = SourceForbidden("no", 403)
    assert summary(reports, 1.25) == (
        "1 of 2 entities up to date in 1.2 s: 2 read, 2 new, 0 changed, 0 deleted; 3 requests"
    )


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0 s"), (40, "40 s"), (119, "119 s"), (720, "12 min"), (8000, "2 h"), (259_200, "3 d")],
)
def test_ages_are_short(seconds: int, shown: str) -> None:
    assert age(timedelta(seconds=seconds)) == shown


def test_json_holds_times_as_iso_text_and_spans_as_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    output.print_json({"at": at, "age": timedelta(minutes=2), "report": SyncResult("a", "refresh")})
    said = capsys.readouterr().out
    assert '"at": "2026-11-24T00:00:00+00:00"' in said
    assert '"age": 120.0' in said
    assert '"entity": "a"' in said
