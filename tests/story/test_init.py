"""`init`: from nothing to settings that were tried."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.cli import main
from cw_pipeline.cli.configuration import settings_warnings
from cw_pipeline.cli.init import machine_time_zone, with_password
from cw_pipeline.environment import read_settings_file, write_settings_file
from cw_pipeline.errors import ConfigError
from cw_pipeline.simulator import CLIENT_ID
from tests.processes import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from cw_pipeline.simulator import Simulator


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the settings are to go; nothing is there."""
    path = tmp_path / "settings"
    monkeypatch.setenv("CW_ENV_FILE", str(path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster_home"))
    return path


@pytest.fixture
def environment(simulator: Simulator, dsn: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """All that is needed, in the environment."""
    names = {
        "CW_SITE": simulator.url,
        "CW_COMPANY": "demo",
        "CW_PUBLIC_KEY": "public",
        "CW_PRIVATE_KEY": "private",
        "CW_CLIENT_ID": CLIENT_ID,
        "CW_WAREHOUSE_DSN": dsn,
        "CW_TIME_ZONE": "Europe/Berlin",
    }
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    return names


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestAtATerminal:
    def test_what_is_refused_is_asked_again_and_what_is_accepted_is_kept(
        self, file: Path, simulator: Simulator, dsn: str
    ) -> None:
        eastern = {"id": 1, "name": "US Eastern", "offset": -5, "defaultFlag": True}
        simulator.tenant.put("/system/timeZoneSetups", eastern)
        file.write_text("# mine\nOTHER=1\nCW_PAGE_SIZE=500\nCW_SITE=\n")
        file.chmod(0o644)
        command = [sys.executable, "-m", "cw_pipeline", "init"]
        with Terminal(command, umask=0) as terminal:
            terminal.answer("ConnectWise site", simulator.url.removeprefix("http://"))
            terminal.expect("begin with http://")  # said before anything else is asked
            terminal.answer("ConnectWise site", simulator.url)
            terminal.expect("ConnectWise answers")
            terminal.answer("Company id", simulator.url)
            terminal.expect("CW_COMPANY: the company id of the login page")
            terminal.answer("ConnectWise site", simulator.url)
            terminal.answer("Company id", "nobody")
            terminal.expect("CW_COMPANY='nobody' is not known")
            terminal.answer("ConnectWise site", "")
            terminal.answer("Company id", "demo")
            terminal.answer("Public key (hidden)", "public")
            terminal.answer("Private key (hidden)", "not-the-right-key")
            terminal.answer("clientId", CLIENT_ID)
            terminal.expect("401")
            terminal.answer("Public key (hidden, Enter keeps it)", "")
            terminal.answer("Private key (hidden, Enter keeps it)", "private")
            terminal.answer("clientId", "")
            terminal.expect("keys and clientId: accepted")
            terminal.answer("Warehouse:", "postgresql://cw:a#b/c@db/dw")
            terminal.expect("percent-encode")
            terminal.answer("Warehouse:", dsn)
            terminal.expect("✓ warehouse: PostgreSQL")
            terminal.answer("Time zone of the reports [America/New_York]", "America/Chicago")
            terminal.expect("is written, for its owner alone")
            terminal.expect("cw-pipeline check")
            assert terminal.wait() == 0
        assert "not-the-right-key" not in terminal.screen
        assert file.read_text().startswith("# mine\nOTHER=1\nCW_PAGE_SIZE=500\nCW_SITE=http")
        assert read_settings_file(file)["CW_PRIVATE_KEY"] == "private"
        assert read_settings_file(file)["CW_TIME_ZONE"] == "America/Chicago"
        assert mode(file) == 0o600

    def test_whoever_gives_up_finds_nothing_written(self, file: Path) -> None:
        with Terminal([sys.executable, "-m", "cw_pipeline", "init"]) as terminal:
            terminal.expect("ConnectWise site")
            terminal.interrupt()
            terminal.expect("Nothing was written")
            assert terminal.wait() == 130
        assert not file.exists()

    def test_without_one_the_way_for_scripts_is_named(self, file: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "cw_pipeline", "init"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "--from-env" in done.stderr
        assert not file.exists()


class TestForScripts:
    def test_it_writes_what_was_tried_and_nobody_else_may_read_it(
        self, file: Path, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = os.umask(0)
        try:
            assert main(["init", "--from-env"]) == 0
        finally:
            os.umask(before)
        assert "✓ keys and clientId: accepted" in capsys.readouterr().out
        assert read_settings_file(file) == environment
        assert mode(file) == 0o600
        assert main(["init", "--from-env"]) == 0  # the same again replaces nothing

    def test_what_lacks_is_named(
        self,
        file: Path,
        environment: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert environment
        monkeypatch.delenv("CW_PRIVATE_KEY")
        monkeypatch.setenv("CW_CLIENT_ID", "")
        assert main(["init", "--from-env"]) == 2
        said = capsys.readouterr().err
        assert "not set in the environment: CW_PRIVATE_KEY, CW_CLIENT_ID" in said
        assert said.count("\n") == 1
        assert not file.exists()

    @pytest.mark.usefixtures("environment")
    @pytest.mark.parametrize(
        ("name", "wrong", "said"),
        [
            ("CW_COMPANY", "nobody", "✗ company: CW_COMPANY"),
            ("CW_PRIVATE_KEY", "wrong-key", "✗ keys and clientId"),
            ("CW_WAREHOUSE_DSN", "postgresql://cw:hush-hush@127.0.0.1:9/dw", "✗ warehouse"),
        ],
    )
    def test_what_is_not_accepted_is_not_written(
        self,
        file: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        name: str,
        wrong: str,
        said: str,
    ) -> None:
        monkeypatch.setenv(name, wrong)
        assert main(["init", "--from-env"]) == 2
        captured = capsys.readouterr()
        assert said in captured.out
        assert "Nothing was written" in captured.err
        assert "wrong-key" not in captured.out + captured.err
        assert "hush-hush" not in captured.out + captured.err
        assert not file.exists()

    def test_a_secret_in_a_file_stays_there(
        self,
        file: Path,
        environment: dict[str, str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        assert environment
        (tmp_path / "key").write_text("private\n")
        monkeypatch.delenv("CW_PRIVATE_KEY")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CW_PRIVATE_KEY_FILE", "key")
        assert main(["init", "--from-env"]) == 0
        written = read_settings_file(file)
        assert written["CW_PRIVATE_KEY_FILE"] == str(tmp_path / "key")
        assert "CW_PRIVATE_KEY" not in written

    def test_other_values_are_replaced_only_when_that_is_asked_for(
        self,
        file: Path,
        environment: dict[str, str],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        file.write_text("CW_COMPANY=another\nCW_PUBLIC_KEY=\nKEPT=1\n")
        assert main(["init", "--from-env"]) == 2
        assert "has other values for CW_COMPANY: --overwrite" in capsys.readouterr().err
        assert file.read_text() == "CW_COMPANY=another\nCW_PUBLIC_KEY=\nKEPT=1\n"
        assert main(["init", "--from-env", "--overwrite"]) == 0
        assert read_settings_file(file) == {**environment, "KEPT": "1"}

    def test_a_folder_that_cannot_be_written_is_named(
        self,
        environment: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert environment
        monkeypatch.setenv("CW_ENV_FILE", "/nowhere/settings")
        assert main(["init", "--from-env"]) == 2
        assert "/nowhere/settings cannot be written" in capsys.readouterr().err


class TestTheFile:
    @pytest.mark.parametrize("value", ["a b", "it's", "back\\slash\\", "a#b", " #x", '"', "$HOME"])
    def test_holds_every_value_as_it_is(self, tmp_path: Path, value: str) -> None:
        path = tmp_path / "env"
        write_settings_file(path, {"CW_PRIVATE_KEY": value, "CW_COMPANY": "acme"})
        assert read_settings_file(path) == {"CW_PRIVATE_KEY": value, "CW_COMPANY": "acme"}

    @pytest.mark.parametrize("value", ["a${HOME}b", "a\nb${X}"])
    def test_refuses_what_would_be_read_otherwise(self, tmp_path: Path, value: str) -> None:
        with pytest.raises(ConfigError, match="CW_PRIVATE_KEY_FILE"):
            write_settings_file(tmp_path / "env", {"CW_PRIVATE_KEY": value})
        assert not (tmp_path / "env").exists()

    def test_a_link_stays_one(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_text("A=1\n")
        (tmp_path / "env").symlink_to("real")
        write_settings_file(tmp_path / "env", {"CW_SITE": "x"})
        assert (tmp_path / "env").is_symlink()
        assert (tmp_path / "real").read_text() == "A=1\nCW_SITE=x\n"

    def test_check_warns_of_one_that_others_can_read(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file.write_text("CW_SITE=na.myconnectwise.net\nCW_SITES=x\n")
        file.chmod(0o600)
        monkeypatch.chdir(tmp_path)
        (misspelled,) = settings_warnings()
        assert "CW_SITES" in misspelled
        file.chmod(0o640)
        assert f"chmod 600 {file}" in settings_warnings()[-1]
        (tmp_path / ".env").touch()
        assert f"{tmp_path / '.env'} is not read" in settings_warnings()[-1]


@pytest.mark.parametrize(
    ("address", "whole"),
    [
        ("postgresql://cw@db:5432/dw", "postgresql://cw:p%40s%2F%23@db:5432/dw"),
        ("postgresql://db/dw?user=cw", "postgresql://db/dw?user=cw&password=p%40s%2F%23"),
        ("host=db user=cw", "host=db user=cw password='p@s/#'"),
    ],
)
def test_a_password_is_put_into_every_form_of_address(address: str, whole: str) -> None:
    assert with_password(address, "p@s/#") == whole


def test_the_time_zone_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ":America/New_York")
    assert machine_time_zone() == "America/New_York"
    monkeypatch.setenv("TZ", "/no/such/zone")
    assert machine_time_zone()
