"""Settings: what is missing is named, what is secret does not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cw_pipeline.errors import ConfigError
from cw_pipeline.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no `.env` but the test's own


def test_without_anything_set_the_simulator_stands_in() -> None:
    settings = Settings.read()
    assert settings.simulated
    assert (settings.page_size, settings.requests_per_minute) == (1000, 900)
    assert (settings.overlap_seconds, settings.max_delete_fraction) == (300, 0.05)
    assert (settings.api_version, settings.schema_) == ("2025.1", "connectwise")


def test_the_environment_goes_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("CW_SCHEMA=from_file\nCW_PAGE_SIZE=7\n")
    monkeypatch.setenv("CW_PAGE_SIZE", "9")
    settings = Settings.read()
    assert (settings.schema_, settings.page_size) == ("from_file", 9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CW_PAGE_SIZE", "0"), ("CW_PAGE_SIZE", "1001"), ("CW_PAGE_SIZE", "many"),
        ("CW_SCHEMA", 'x"; drop'), ("CW_SCHEMA", "cw_sync"), ("CW_SCHEMA", "acme_reporting"),
        ("CW_OVERLAP_SECONDS", "-1"), ("CW_MAX_DELETE_FRACTION", "2"),
        ("CW_REQUESTS_PER_MINUTE", "0"), ("CW_MAX_CONCURRENCY", "0"),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name):
        Settings.read()


def test_a_site_without_keys_names_every_setting_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CW_SITE", "na.myconnectwise.net")
    monkeypatch.setenv("CW_COMPANY", "acme")
    with pytest.raises(ConfigError, match="CW_PUBLIC_KEY, CW_PRIVATE_KEY, CW_CLIENT_ID"):
        Settings.read().require_tenant()


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PUBLIC_KEY", "PRIVATE_KEY", "CLIENT_ID", "WAREHOUSE_DSN"):
        monkeypatch.setenv(f"CW_{name}", "hidden-word")
    settings = Settings.read()
    assert "hidden-word" not in f"{settings!r} {settings}"
