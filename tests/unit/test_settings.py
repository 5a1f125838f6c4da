"""Settings: what is missing is named, what is secret does not show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.cli.configuration import sources
from cw_pipeline.environment import path_setting, setting, settings_file
from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import ROOT
from cw_pipeline.settings import Settings, dagster_home, known_names, unknown_names

if TYPE_CHECKING:
    from pathlib import Path


NO_SECRETS = ("CW_ENV_FILE", "CW_CA_FILE")


@pytest.fixture
def env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The settings file of this test; empty."""
    path = tmp_path / ".env"
    path.touch()
    monkeypatch.setenv("CW_ENV_FILE", str(path))
    return path


def test_without_anything_set_the_simulator_stands_in() -> None:
    settings = Settings.read()
    assert settings.is_simulated
    assert (settings.page_size, settings.requests_per_minute) == (1000, 900)
    assert (settings.overlap_seconds, settings.max_delete_fraction) == (300, 0.05)
    assert (settings.api_version, settings.schema_) == ("2025.1", "connectwise")


def test_the_environment_goes_before_the_file(
    monkeypatch: pytest.MonkeyPatch, env_file: Path
) -> None:
    env_file.write_text("CW_SCHEMA=from_file\nCW_PAGE_SIZE=7\n")
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
    monkeypatch.setenv("CW_SITE", "na.myconnectwise.net")
    for name in ("PUBLIC_KEY", "PRIVATE_KEY", "CLIENT_ID"):
        monkeypatch.setenv(f"CW_{name}", "hidden-word")
    monkeypatch.setenv("CW_WAREHOUSE_DSN", "postgresql://cw:hidden-word@db/dw")
    settings = Settings.read()
    assert "hidden-word" not in f"{settings!r} {settings}"


def refused(*words: str) -> str:
    """What Settings.read() says when it refuses; all of these words are in it."""
    with pytest.raises(ConfigError) as caught:
        Settings.read()
    said = str(caught.value)
    assert [word for word in words if word not in said] == []
    assert "\n" not in said
    return said


class TestPlainWords:
    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("CW_PAGE_SIZE", "many", "a whole number from 1 to 1000"),
            ("CW_OVERLAP_SECONDS", "-1", "a whole number from 0 to 1000000000"),
            ("CW_COMPANY", "https://na.myconnectwise.net", "the company id of the login page"),
            ("CW_CHILDREN_SHARE", "0", "a number above 0 and up to 1"),
            ("CW_USER_TYPE", "boss", "one of member, integrator"),
            ("CW_BACKFILL_START", "soon", "a day such as 2015-01-01"),
            ("CW_TIME_ZONE", "Mars/Olympus", "an IANA time zone, such as America/New_York"),
            ("CW_TIMEOUT_SECONDS", "inf", "a number above 0 and up to 86400"),
            ("CW_MAX_ANSWER_MB", "1e400", "a number above 0 and up to 2000"),
            ("CW_OVERLAP_SECONDS", "9" * 30, "a whole number from 0 to 1000000000"),
            ("CW_API_VERSION", "\uff12\uff10\uff12\uff15.1", "a version such as 2025.1"),
            ("CW_SCHEMA", "Acme", "a name of up to 31 small letters"),
            ("CW_SCHEMA", "cw_sync", "another name than cw_sync"),
            ("CW_SCHEMA", "pg_catalog", "another name than pg_catalog"),
            ("CW_SCHEMA", "information_schema", "another name than information_schema"),
        ],
    )
    def test_say_what_a_setting_takes(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
    ) -> None:
        monkeypatch.setenv(name, value)
        assert "Input" not in refused(name, said, "in the environment")

    @pytest.mark.parametrize("name", Settings.model_fields)
    def test_are_found_for_every_setting_that_can_be_wrong(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """No word of the library that checks them comes through."""
        variable = f"CW_{name.rstrip('_').upper()}"
        monkeypatch.setenv("CW_SITE", "na.myconnectwise.net")
        monkeypatch.setenv(variable, "~ ~")
        try:
            Settings.read()
            said = f"{variable} takes it"
        except ConfigError as error:
            said = str(error)
        assert variable in said
        assert not re.search(r"[Ii]nput|valid|string|parse|literal", said)

    def test_name_the_file_where_the_setting_is(self, env_file: Path) -> None:
        env_file.write_text("CW_PAGE_SIZE=many\n")
        refused("CW_PAGE_SIZE", f"in {env_file}")


class TestHalfATenant:
    @pytest.mark.parametrize(
        "name", ["COMPANY", "PUBLIC_KEY", "PRIVATE_KEY", "CLIENT_ID", "AUTH", "API_VERSION"]
    )
    def test_any_setting_of_a_tenant_needs_its_site(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv(f"CW_{name}", "keys")
        refused(f"CW_{name} is set, and CW_SITE is not", "cw-pipeline init")

    def test_a_warehouse_needs_a_tenant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CW_WAREHOUSE_DSN", "postgresql://cw:hidden-word@db/dw")
        assert "hidden-word" not in refused("CW_WAREHOUSE_DSN", "tenant", "CW_SITE")

    def test_a_secret_in_a_file_is_a_setting_too(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "key").write_text("k")
        monkeypatch.setenv("CW_PRIVATE_KEY_FILE", str(tmp_path / "key"))
        refused("CW_PRIVATE_KEY", "CW_SITE")

    def test_blank_ones_are_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("COMPANY", "PUBLIC_KEY", "WAREHOUSE_DSN", "PAGE_SIZE"):
            monkeypatch.setenv(f"CW_{name}", "")
        assert Settings.read().is_simulated


class TestMisspelled:
    @pytest.mark.parametrize(
        ("wrong", "right"),
        [
            ("CW_SITES", "CW_SITE"),
            ("CW_WAREHOUSE_DNS", "CW_WAREHOUSE_DSN"),
            ("CW_PRIVATEKEY", "CW_PRIVATE_KEY"),
            ("CW_COMPANY_ID", "CW_COMPANY"),
            ("CW_PRIVAT_KEY_FILE", "CW_PRIVATE_KEY_FILE"),
            ("CW_DROP_COLUMS", "CW_DROP_COLUMNS"),
            ("CW_ENTITES", "CW_ENTITIES"),
            ("cw_sites", "CW_SITE"),
        ],
    )
    def test_what_decides_where_data_goes_is_refused(
        self, env_file: Path, wrong: str, right: str
    ) -> None:
        env_file.write_text(f"{wrong}=x\n")
        refused(wrong.upper(), f"did you mean '{right}'?", str(env_file))

    def test_it_is_named_although_everything_else_is_there(self, env_file: Path) -> None:
        """The made-up tenant would go into somebody's warehouse."""
        env_file.write_text(
            "CW_SITES=na.myconnectwise.net\nCW_COMPANY=acme\nCW_PUBLIC_KEY=a\nCW_PRIVATE_KEY=b\n"
            "CW_CLIENT_ID=c\nCW_WAREHOUSE_DSN=postgresql://cw@db/dw\n"
        )
        refused("CW_SITES", "did you mean 'CW_SITE'?")

    def test_beside_the_right_one_it_is_somebody_elses(
        self, env_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        env_file.write_text("CW_SITE=na.myconnectwise.net\nCW_SITES=x\n")
        monkeypatch.setenv("CW_AGENT_MODE", "x")
        assert Settings.read().site == "na.myconnectwise.net"
        site, mode = sorted(unknown_names(), reverse=True)
        assert site == f"CW_SITES (in {env_file}) is no setting: did you mean 'CW_SITE'?"
        assert mode.startswith("CW_AGENT_MODE (in the environment) is no setting")

    def test_every_name_of_the_example_is_known(self) -> None:
        names = re.findall(r"^#?(CW_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
        assert set(names) - known_names() == set()


class TestSecretsInFiles:
    SECRETS = (
        "PRIVATE_KEY", "PUBLIC_KEY", "CLIENT_ID", "WAREHOUSE_DSN", "HASH_KEY", "DAGSTER_PG_URL",
        "ALERT_URLS",
    )  # fmt: skip

    @pytest.mark.parametrize("name", SECRETS)
    def test_every_secret_may_be_in_one(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
    ) -> None:
        (tmp_path / "secret").write_bytes(b"\xef\xbb\xbfpostgresql://cw:p@db/dw\r\n")
        monkeypatch.setenv("CW_SITE", "na.myconnectwise.net")
        monkeypatch.setenv(f"CW_{name}_FILE", str(tmp_path / "secret"))
        value = getattr(Settings.read(), name.lower())
        assert value.get_secret_value() == "postgresql://cw:p@db/dw"
        assert setting(f"CW_{name}") == "postgresql://cw:p@db/dw"

    def test_all_secrets_are_meant(self) -> None:
        assert {f"CW_{name}_FILE" for name in self.SECRETS} == {
            name for name in known_names() if name.endswith("_FILE") and name not in NO_SECRETS
        }

    def test_one_named_by_the_settings_file_lies_beside_it(
        self, env_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (env_file.parent / "key").write_text("k3y")
        env_file.write_text("CW_SITE=na.myconnectwise.net\nCW_PRIVATE_KEY_FILE=key\n")
        monkeypatch.chdir("/")
        key = Settings.read().private_key
        assert key is not None
        assert key.get_secret_value() == "k3y"

    @pytest.mark.parametrize("name", ["CW_CA_FILE", "CW_PG_HOME", "CW_PG_BIN"])
    def test_so_does_every_file_and_folder_that_it_names(
        self, env_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        env_file.write_text(f"{name}=own/place\n")
        monkeypatch.chdir("/")
        settings = Settings.read_unchecked()
        paths = {"CW_CA_FILE": settings.ca_file, "CW_PG_HOME": settings.pg_home}
        assert str(paths.get(name) or path_setting(name)) == str(env_file.parent / "own/place")
        monkeypatch.setenv(name, "own/place")  # of the environment: as a shell would take it
        assert str(path_setting(name)) == "/own/place"

    def test_a_value_and_a_file_are_one_too_many(
        self, env_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        env_file.write_text("CW_PRIVATE_KEY_FILE=key\n")
        monkeypatch.setenv("CW_PRIVATE_KEY", "hidden-word")
        said = refused("CW_PRIVATE_KEY (in the environment)", f"CW_PRIVATE_KEY_FILE (in {env_file}")
        assert "hidden-word" not in said

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "cannot be read (No such file or directory)"),
            (b" \n", "is empty"),
            (b"hidden\xfc", "is no UTF-8 text"),
            (b"hidden\0", "holds more than one secret would"),
            (b"hidden" * 20_000, "holds more than one secret would"),
        ],
    )
    def test_one_that_holds_no_secret_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, said: str
    ) -> None:
        path = tmp_path / "key"
        if content is not None:
            path.write_bytes(content)
        monkeypatch.setenv("CW_PRIVATE_KEY_FILE", str(path))
        assert "hidden" not in refused(f"CW_PRIVATE_KEY_FILE names {path}", said)

    def test_a_folder_is_no_secret(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("CW_HASH_KEY_FILE", str(tmp_path))
        refused("CW_HASH_KEY_FILE", "Is a directory")


class TestTheSettingsFile:
    def test_a_mark_before_its_first_line_does_no_harm(self, env_file: Path) -> None:
        env_file.write_bytes(b"\xef\xbb\xbfCW_SCHEMA=acme\r\nCW_PAGE_SIZE=7\r\n")
        assert (Settings.read().schema_, Settings.read().page_size) == ("acme", 7)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("CW_COMPANY=Müller-hidden".encode("latin-1"), "is not UTF-8 text (line 1)"),
            ("A=1\nCW_COMPANY=hidden".encode("utf-16"), "UTF-16: save it as UTF-8"),
            (b"A=1\nCW_PRIVATE_KEY='hidden\n", "line 2, cannot be read"),
            (b"CW_PRIVATE_KEY hidden\n", "line 1, cannot be read"),
        ],
    )
    def test_one_that_cannot_be_understood_is_named_with_the_line(
        self, env_file: Path, content: bytes, said: str
    ) -> None:
        env_file.write_bytes(content)
        assert "hidden" not in refused(str(env_file), said)

    def test_a_folder_of_its_name_is_told(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("CW_ENV_FILE", str(tmp_path))
        refused(str(tmp_path), "is a folder")

    def test_one_that_is_named_must_be_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CW_ENV_FILE", "/nowhere/env")
        refused("CW_ENV_FILE names /nowhere/env, which is not there")

    def test_lines_of_other_programs_may_be_as_they_like(self, env_file: Path) -> None:
        env_file.write_text("what is this\nCW_SCHEMA=acme\nOTHER='open\n")
        assert Settings.read().schema_ == "acme"

    def test_a_checkout_has_its_own_from_every_folder(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("CW_ENV_FILE")
        (tmp_path / ".env").write_text("CW_SCHEMA=another_projects\n")
        monkeypatch.chdir(tmp_path)
        assert settings_file() == ROOT / ".env"

    def test_its_paths_start_at_its_folder(
        self, env_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        env_file.write_text("CW_PG_HOME=pg\nDAGSTER_HOME=state\n")
        monkeypatch.chdir("/")
        assert Settings.read().pg_home == str(env_file.parent / "pg")
        assert dagster_home() == env_file.parent / "state"

    def test_state_is_beside_it_so_that_tenants_are_kept_apart(
        self, env_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        env_file.write_text("CW_SCHEMA=acme\n")
        assert dagster_home() == env_file.parent / "dagster_home"
        assert sources().state == str(env_file.parent / "dagster_home")

    def test_are_said_of_every_number_that_is_too_large_to_reckon_with(self) -> None:
        for name, field in Settings.model_fields.items():
            if field.annotation in (int, float, int | None):
                with pytest.raises(ConfigError, match=f"CW_{name.upper()}"):
                    Settings.of({f"CW_{name.upper()}": "1" + "0" * 400})
