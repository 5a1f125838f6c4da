"""Every setting: what it is called, what it may be, and which mistakes are refused."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from cw_pipeline.environment import (
    IN_A_FILE,
    NAMED_FILE,
    GivenValue,
    given_values,
    path_from,
    read_settings_file,
    secret_value,
    settings_file,
)
from cw_pipeline.errors import ConfigError
from cw_pipeline.model import ApiVersions
from cw_pipeline.paths import PROJECT, cli_command
from cw_pipeline.suggest import closest, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

TENANT = ("CW_SITE", "CW_COMPANY", "CW_PUBLIC_KEY", "CW_PRIVATE_KEY", "CW_CLIENT_ID")
"""What it takes to ask a tenant."""

_OF_A_TENANT = (
    *TENANT[1:],
    "CW_AUTH",
    "CW_IMPERSONATE",
    "CW_USER_TYPE",
    "CW_API_VERSION",
    "CW_CA_FILE",
)
"""What makes no sense without CW_SITE."""

_DECISIVE = (
    *TENANT,
    NAMED_FILE,
    "CW_WAREHOUSE_DSN",
    "CW_SCHEMA",
    "CW_ENTITIES",
    "CW_HASH_COLUMNS",
    "CW_HASH_KEY",
    "CW_DROP_COLUMNS",
)
"""What decides whose data goes where, and what of it is hidden. Misspelled, it is refused."""

_OF_OTHERS = (
    NAMED_FILE,
    "CW_BENCH_DSN",
    "CW_COMPILED",
    "CW_PG_BIN",
    "CW_PYTHON",
    "CW_REEXECUTED",
    "CW_TEST_DSN",
    "CW_VENV",
)
"""Names that are read elsewhere: by the set-up, the tests, the embedded server."""


def _no_blank(value: object) -> object:
    """An empty value (`CW_SITE=`) means "not set"."""
    return None if value == "" else value


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("an IANA time zone, such as America/New_York") from error
    return name


def _api_version(text: str) -> str:
    ApiVersions.of(text)
    return text


def _company_id(company: str | None) -> str | None:
    """A company id is a word of the login page, never the address of that page."""
    if company and not re.fullmatch(r"[^\s/:@?#]+", company):
        raise ValueError("the company id of the login page, which is no address,")
    return company


def _not_taken(schema: str) -> str:
    """Tables of a tenant must not land among the pipeline's state or another tenant's reports.

    Reports of a tenant `client` would land where the clients' views are.
    """
    ours = schema == "cw_sync" or schema.endswith(("reporting", "_client", "_history", "_asof"))
    if ours or schema in ("client", "information_schema") or schema.startswith("pg_"):
        raise ValueError(
            f"another name than {schema} (kept for the pipeline's state, history, reports, or"
            " PostgreSQL)"
        )
    return schema


_MANY = 10**9  # what seconds, and counts, are no more than: dates and bigints hold it

Text = Annotated[str | None, BeforeValidator(_no_blank)]
Secret = Annotated[SecretStr | None, BeforeValidator(_no_blank)]


class Settings(BaseSettings):
    """The settings of one tenant and its warehouse. `Settings.read()` is how to get them."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    site: Text = None
    company: Annotated[Text, AfterValidator(_company_id)] = None
    public_key: Secret = None
    private_key: Secret = None
    client_id: Secret = None
    auth: str = "keys"
    impersonate: Text = None
    user_type: Literal["member", "integrator"] = "member"
    api_version: Annotated[str, AfterValidator(_api_version)] = "2025.1"
    ca_file: Text = None
    warehouse_dsn: Secret = None
    max_connections: Annotated[int | None, BeforeValidator(_no_blank)] = Field(None, ge=2, le=_MANY)
    schema_: Annotated[str, AfterValidator(_not_taken)] = Field(
        "connectwise",
        validation_alias="CW_SCHEMA",
        pattern=r"^[a-z_][a-z0-9_]{0,30}$",
        examples=["a name of up to 31 small letters, digits and _ that begins with no digit"],
    )
    entities: Text = None
    audit_trail: Text = None
    documents: Text = None
    page_size: int = Field(1000, ge=1, le=1000)
    requests_per_minute: int = Field(900, ge=1, le=_MANY)
    max_concurrency: int = Field(8, ge=1, le=64)
    overlap_seconds: int = Field(300, ge=0, le=_MANY)
    clock_tolerance_seconds: float = Field(60, ge=0, le=_MANY)
    max_delete_fraction: float = Field(0.05, ge=0, le=1)
    max_reject_fraction: float = Field(0.01, ge=0, le=1)
    min_rejects: int = Field(50, ge=0, le=_MANY)
    children_max_age_hours: float = Field(24, gt=0, le=100_000)
    children_share: float = Field(0.2, gt=0, le=1)
    reread_nights: int = Field(14, ge=1, le=10_000)
    timeout_seconds: float = Field(60, gt=0, le=86_400)
    max_answer_mb: float = Field(32, gt=0, le=2_000)
    max_header_kb: int = Field(32, ge=1, le=64)
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    month_closes_on: int = Field(5, ge=0, le=28)
    fiscal_year_start: int = Field(1, ge=1, le=12)
    history_columns: Text = None
    hash_columns: Text = None
    hash_key: Secret = None
    drop_columns: Text = None
    reports: Text = None
    callback_url: Text = None
    pg_home: Text = None
    dagster_pg_url: Secret = None
    dagster_url: Text = None
    code_location: str = "cw_pipeline"
    executor: Literal["in_process", "celery", "k8s"] = "in_process"
    keep_runs_days: int = Field(30, ge=1, le=100_000)
    alert_urls: Secret = None
    refresh_cron: str = "H/15 * * * *"
    backfill_start: date = date(2015, 1, 1)
    fresh_minutes: int = Field(120, ge=1, le=100_000_000)
    max_open_dead_letters: int = Field(100, ge=0, le=_MANY)

    @classmethod
    def read(cls) -> Self:
        """The settings as they stand now. Raises ConfigError naming the variable and the fix.

        What would put made-up data where real data is meant to be, or the other way round, is
        refused here, before anything is read or written.
        """
        values = given_values()
        _refuse_misspelled(values)
        return cls.read_unchecked().refuse_half_a_tenant()

    @classmethod
    def read_unchecked(cls) -> Self:
        """The same, if only each setting makes sense by itself: to stop what is running, say."""
        return cls.of({})

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """Settings with some values by their variables' names, the rest as given.

        Raises ConfigError.
        """
        fields = {_variable(name): _key(name, each) for name, each in cls.model_fields.items()}
        try:
            return cls(**_arguments(values, fields))
        except ValidationError as error:
            # Without `from None` pydantic would print the value, which may be a secret.
            raise ConfigError(_complaints(error)) from None

    @classmethod
    def in_code(cls, values: Mapping[str, Any]) -> Settings:
        """Settings of these values alone, by names such as `site` and `refresh_cron`.

        Neither the environment nor the settings file is looked at. Raises ConfigError.
        """
        fields = {name.rstrip("_"): _key(name, each) for name, each in cls.model_fields.items()}
        try:
            return _InCode(**_arguments(values, fields))
        except ValidationError as error:
            raise ConfigError(_complaints(error)) from None  # see `of`

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then what is given. Pydantic's own readers raise tracebacks."""
        return init_settings, _SettingsSource(settings_cls)

    @property
    def is_simulated(self) -> bool:
        """Whether no tenant is configured, so that the embedded simulator stands in."""
        return self.site is None

    def require_tenant(self) -> Self:
        """These settings, if a tenant can be reached with them. Raises ConfigError otherwise."""
        names = [name for name in TENANT[1:] if getattr(self, _field(name)) is None]
        if self.site is not None and names:
            raise ConfigError(
                f"{', '.join(names)} not set. CW_SITE names a tenant, so its company id, API"
                f" member keys and clientId are needed too: `{cli_command('init')}` asks for them"
                f" and writes them into {settings_file()}"
            )
        return self

    def refuse_half_a_tenant(self) -> Self:
        """These settings, if a whole tenant is configured or none. Raises ConfigError otherwise."""
        if self.site is not None:
            return self
        of_tenant = [name for name in _OF_A_TENANT if _field(name) in self.model_fields_set]
        if of_tenant or self.warehouse_dsn is not None:
            present = ", ".join(of_tenant) or "CW_WAREHOUSE_DSN"
            absent = "CW_SITE" if of_tenant else "the tenant to fill it from (CW_SITE ...)"
            raise ConfigError(
                f"{present} {'are' if len(of_tenant) > 1 else 'is'} set, and {absent} is not:"
                f" `{cli_command('init')}` asks for what is missing and writes it into"
                f" {settings_file()}. Only `demo`, on made-up data, leaves these alone"
            )
        return self


class _InCode(Settings):
    """Settings that are arguments and nothing else."""

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class _SettingsSource(PydanticBaseSettingsSource):
    """The environment, the settings file, and the files that hold secrets, for pydantic."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self._values = given_values()

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return _value(_variable(field_name), field, self._values), _key(field_name, field), False

    @override
    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields.items()
        values = (self.get_field_value(field, name) for name, field in fields)
        return {key: value for value, key, _ in values if value}


def _arguments(values: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """The values by what pydantic calls their fields. Raises ConfigError for one that is none."""
    if wrong := [name for name in values if name not in fields]:
        hints = (f"{name} is no setting{_suggestion(closest(name, fields))}" for name in wrong)
        raise ConfigError("; ".join(hints))
    return {fields[name]: value for name, value in values.items()}


def known_names() -> set[str]:
    """Every name that means something, those of files that hold secrets too."""
    fields = Settings.model_fields
    files = {_variable(name) + IN_A_FILE for name in fields if _is_secret(fields[name])}
    return {_variable(name) for name in fields} | files | set(_OF_OTHERS)


def unknown_names() -> list[str]:
    """A line for each `CW_` name that means nothing: where it is, and what may be meant."""
    names = known_names()
    return [
        f"{name} ({each.place}) is no setting{_suggestion(closest(name, names))}"
        for name, each in given_values().items()
        if name not in names
    ]


def missing_tenant_settings() -> list[str]:
    """The settings of a tenant that are not given, in a file of their own neither."""
    values = given_values()
    return [
        name
        for name in TENANT
        if not any(values.get(each, _NOTHING).value for each in (name, name + IN_A_FILE))
    ]


def from_environment() -> dict[str, str]:
    """What the environment sets, as it can stand in a settings file in any folder."""
    files = {name + IN_A_FILE for name in known_names()}
    return {
        name: str(each.path) if name in files or name in _PATHS else each.value
        for name, each in given_values().items()
        if each.file is None and each.value and name in known_names() - set(_OF_OTHERS)
    }


def is_configured() -> bool:
    """Whether a tenant or a warehouse is set, rightly or not."""
    values = given_values()
    names = (*TENANT, "CW_WAREHOUSE_DSN")
    return any(each in values and values[each].value for n in names for each in (n, n + IN_A_FILE))


def _refuse_misspelled(values: Mapping[str, GivenValue]) -> None:
    """Raises ConfigError for a name that means nothing where one that matters is missing."""
    names = known_names()
    corrections = {}
    for name in values.keys() - names:
        for meant in closest(name, names):
            plain = meant.removesuffix(IN_A_FILE)
            is_set = any(values.get(each, _NOTHING).value for each in (plain, plain + IN_A_FILE))
            if plain in _DECISIVE and not is_set:
                corrections[name] = meant
    if corrections:
        raise ConfigError(
            "; ".join(
                f"{name} ({values[name].place}) is no setting{_suggestion([meant])} Rename it"
                for name, meant in sorted(corrections.items())
            )
        )


_NOTHING = GivenValue("")


def _suggestion(candidates: list[str]) -> str:
    return f": {did_you_mean(candidates)}" if candidates else ""


def _value(variable: str, field: FieldInfo, values: Mapping[str, GivenValue]) -> str | None:
    if _is_secret(field):
        return secret_value(variable, values)
    each = values.get(variable)
    if each is None or not each.value:
        return None
    return str(each.path) if variable in _PATHS else each.value


_PATHS = ("CW_CA_FILE", "CW_PG_HOME")
"""Relative to the settings file's folder, or to the working directory where that file is not."""


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in get_args(field.annotation)


def _variable(field_name: str) -> str:
    return f"CW_{field_name.rstrip('_').upper()}"


def _field(variable: str) -> str:
    return variable.removeprefix("CW_").lower()


def _key(name: str, field: FieldInfo) -> str:
    """What pydantic calls a field, when it is given and when it complains."""
    return str(field.validation_alias or name)


def _complaints(error: ValidationError) -> str:
    """What is wrong, in plain words, and never the value: it may be a secret."""
    problems = error.errors(include_url=False, include_input=False)
    return "; ".join(_complaint(dict(problem)) for problem in problems)


def _complaint(problem: Mapping[str, Any]) -> str:
    fields = {_key(name, field): (name, field) for name, field in Settings.model_fields.items()}
    name, field = fields[str(problem["loc"][0])]
    current = given_values().get(_variable(name))
    is_ours = problem["type"] == "value_error"  # else the reason would be pydantic's words
    expected = problem["ctx"]["error"] if is_ours else _describe_field(field)
    place = f". Change it {current.place}" if current else ""
    return f"{_variable(name)}: {expected} is needed{place}"


def _describe_field(field: FieldInfo) -> str:
    """What a field takes, in words."""
    if field.examples:
        return str(field.examples[0])
    choices = get_args(field.annotation)
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    if field.annotation is date:
        return "a day such as 2015-01-01"
    kind = "a whole number" if field.annotation is int else "a number"
    return f"{kind}{_bounds(field)}"


def _bounds(field: FieldInfo) -> str:
    """`from 1 to 1000`, `of 1 or more`, `above 0`."""
    limits = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("ge", "gt", "le")
        if getattr(each, name, None) is not None
    }
    low = f" from {limits['ge']}" if "ge" in limits else ""
    low = low or (f" above {limits['gt']}" if "gt" in limits else "")
    if "le" in limits:
        return f"{low} {'to' if 'ge' in limits else 'and up to'} {limits['le']}"
    return f" of {limits['ge']} or more" if "ge" in limits else low


def dagster_home() -> Path:
    """Where state is kept: DAGSTER_HOME, of the environment or of the settings file.

    Without it `dagster_home/` beside the settings file, so that tenants whose files are in folders
    of their own are kept apart; where there is no file, that of the project.
    """
    if named := os.environ.get("DAGSTER_HOME"):
        return Path(named)
    file = settings_file()
    if named := read_settings_file(file).get("DAGSTER_HOME"):
        return path_from(file.parent, named)
    folder = file.parent if file.is_file() else PROJECT
    return folder / "dagster_home"
