"""Every setting, and the one reader of the environment and of `.env`."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import PROJECT


def _no_blank(value: object) -> object:
    """An empty line in `.env` (`CW_SITE=`) means "not set"."""
    return None if value == "" else value


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("an IANA time zone is needed, for example America/New_York") from error
    return name


def _not_taken(schema: str) -> str:
    """Tables of a tenant must not land among the pipeline's state or another tenant's reports."""
    if schema == "cw_sync" or schema.startswith("pg_") or schema.endswith("reporting"):
        raise ValueError(
            f"{schema!r} is kept for the pipeline's state, reports, or PostgreSQL itself; another"
            " name is needed"
        )
    return schema


Text = Annotated[str | None, BeforeValidator(_no_blank)]
Secret = Annotated[SecretStr | None, BeforeValidator(_no_blank)]


class Settings(BaseSettings):
    """The settings of one tenant and its warehouse. `Settings.read()` is how to get them."""

    model_config = SettingsConfigDict(
        env_prefix="CW_", env_file=".env", extra="ignore", frozen=True
    )

    site: Text = None
    company: Text = None
    public_key: Secret = None
    private_key: Secret = None
    client_id: Secret = None
    auth: str = "keys"
    impersonate: Text = None
    user_type: str = Field("member", pattern="^(member|integrator)$")
    api_version: str = "2025.1"
    ca_file: Text = None
    warehouse_dsn: Secret = None
    max_connections: Annotated[int | None, BeforeValidator(_no_blank)] = Field(None, ge=2)
    schema_: Annotated[str, AfterValidator(_not_taken)] = Field(
        "connectwise", validation_alias="CW_SCHEMA", pattern=r"^[a-z_][a-z0-9_]{0,30}$"
    )
    entities: Text = None
    audit_trail: Text = None
    documents: Text = None
    page_size: int = Field(1000, ge=1, le=1000)
    requests_per_minute: int = Field(900, ge=1)
    max_concurrency: int = Field(8, ge=1, le=64)
    overlap_seconds: int = Field(300, ge=0)
    max_delete_fraction: float = Field(0.05, ge=0, le=1)
    max_reject_fraction: float = Field(0.01, ge=0, le=1)
    min_rejects: int = Field(50, ge=0)
    children_max_age_hours: float = Field(24, gt=0)
    children_share: float = Field(0.2, gt=0, le=1)
    reread_nights: int = Field(14, ge=1)
    timeout_seconds: float = Field(60, gt=0)
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    history_columns: Text = None
    hash_columns: Text = None
    hash_key: Secret = None
    drop_columns: Text = None
    reports: Text = None
    pg_home: Text = None
    dagster_pg_url: Secret = None
    dagster_url: Text = None
    code_location: str = "cw_pipeline"
    executor: Literal["in_process", "celery", "k8s"] = "in_process"
    keep_runs_days: int = Field(90, ge=1)
    alert_urls: Secret = None
    refresh_cron: str = "*/15 * * * *"
    backfill_start: date = date(2015, 1, 1)
    fresh_minutes: int = Field(120, ge=1)
    max_open_dead_letters: int = Field(100, ge=0)

    @classmethod
    def read(cls) -> Self:
        """The settings as they stand now. Raises ConfigError naming the variable and the fix."""
        try:
            return cls()
        except ValidationError as error:
            # Without `from None` pydantic would print the value, which may be a secret.
            raise ConfigError(_complaints(error)) from None

    @property
    def simulated(self) -> bool:
        """Whether no tenant is configured, so that the embedded simulator stands in."""
        return self.site is None

    def require_tenant(self) -> Self:
        """These settings, if a tenant can be reached with them. Raises ConfigError otherwise."""
        needed = ("company", "public_key", "private_key", "client_id")
        missing = [f"CW_{name.upper()}" for name in needed if getattr(self, name) is None]
        if self.site is not None and missing:
            raise ConfigError(
                f"{', '.join(missing)} not set. CW_SITE names a tenant, so its company id, API"
                " member keys and clientId are needed too: set them in the environment or in .env"
                " (see .env.example)"
            )
        return self


def _complaints(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(problem["loc"][0])
        variable = name if name.startswith("CW_") else f"CW_{name.upper()}"
        lines.append(f"{variable}: {problem['msg']}. Change it in the environment or in .env")
    return "; ".join(lines)


def dagster_home() -> Path:
    """DAGSTER_HOME, or the project's own `dagster_home/`."""
    return Path(os.environ.get("DAGSTER_HOME") or PROJECT / "dagster_home")
