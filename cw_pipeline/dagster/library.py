"""A tenant in a Dagster project of your own.

    from cw_pipeline.dagster import ConnectWiseTenant, build_connectwise_definitions

    tenant = ConnectWiseTenant(
        site="na.myconnectwise.net",
        company="acme",
        public_key=dg.EnvVar("CW_PUBLIC_KEY"),
        private_key=dg.EnvVar("CW_PRIVATE_KEY"),
        client_id=dg.EnvVar("CW_CLIENT_ID"),
        warehouse_dsn=dg.EnvVar("WAREHOUSE_DSN"),
    )
    defs = dg.Definitions.merge(build_connectwise_definitions(tenant), ours)

Names of jobs, ops, schedules, sensors, groups and resources begin with the schema of the tenant's
tables, so that several tenants and a host project stand beside each other. No executor comes along.
Without postponed annotations: Dagster reads a resource's as objects.
"""

import os
from typing import Any, TypeGuard

import dagster as dg
from pydantic import Field

from cw_pipeline import composition
from cw_pipeline.dagster.code_location import tenant_definitions
from cw_pipeline.dagster.tenant import ConnectWiseTranslator, TenantSetup
from cw_pipeline.errors import ConfigError
from cw_pipeline.settings import Settings

_SECRETS = ("public_key", "private_key", "client_id", "warehouse_dsn")
_DECISIVE = {"schema", "entities"}


class ConnectWiseTenant(dg.ConfigurableResource[None]):
    """A ConnectWise tenant, and the Postgres warehouse that is kept in step with it.

    All values are given here. Neither environment variables nor `.env` are read, except those that
    an `EnvVar` names. As a resource of your own assets, `settings()` is what
    `cw_pipeline.Pipeline` takes.
    """

    site: str = Field(description="Where users log in, such as na.myconnectwise.net.")
    company: str = Field(description="The company id of the login page.")
    public_key: str = Field(description="Public key of an API member. Use an EnvVar.", repr=False)
    private_key: str = Field(
        description="Private key of the API member. Use an EnvVar.", repr=False
    )
    client_id: str = Field(
        description="clientId of developer.connectwise.com. Use an EnvVar.", repr=False
    )
    warehouse_dsn: str = Field(
        description="postgresql://user:password@host/name. Use an EnvVar.", repr=False
    )
    schema_name: str = Field(
        default="connectwise",
        description=(
            "The schema of the tenant's tables. Its views are in SCHEMA_reporting, those of"
            " connectwise in reporting."
        ),
    )
    entities: str | None = Field(
        default=None, description="The lists that are kept, as CW_ENTITIES; the core ones if not."
    )
    options: dict[str, Any] = Field(
        default={},
        repr=False,
        description=(
            "Further settings, by their names without CW_ in small letters, such as"
            " {'refresh_cron': '*/5 * * * *', 'keep_runs_days': 14}."
        ),
    )

    def settings(self) -> Settings:
        """The settings that these values mean, with environment variables looked up now.

        Raises ConfigError that names what is wrong, or the variable that is not set.
        """
        values = {name: _looked_up(name, value) for name, value in self._values().items()}
        return Settings.in_code(values).require_tenant()

    def load_settings(self) -> Settings:
        """What it takes to load the definitions: no secrets, and no variable that is not set yet.

        But schema and entities decide which assets there are. Raises ConfigError.
        """
        values = self._values()
        for name in values.keys() - _DECISIVE:
            value = values[name]
            if name in _SECRETS or (_is_variable(value) and not os.environ.get(value.env_var_name)):
                del values[name]
        return Settings.in_code({name: _looked_up(name, each) for name, each in values.items()})

    def _values(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in ("site", "company", "entities", *_SECRETS)}
        named["schema"] = self.schema_name
        if both := named.keys() & self.options.keys():
            raise ConfigError(f"{', '.join(sorted(both))}: give it by its own name, not in options")
        return self.options | named


def _looked_up(name: str, value: object) -> object:
    """A value, or what the environment variable holds that it names."""
    if not _is_variable(value):
        return value
    found = os.environ.get(value.env_var_name)
    if not found:  # set to nothing, too: it was forgotten in a file of `NAME=` lines
        raise ConfigError(f"{name}: the environment variable {value.env_var_name} is not set")
    return found


def _is_variable(value: object) -> TypeGuard[dg.EnvVar]:
    """Whether it stands for an environment variable: `EnvVar("NAME")`, or `EnvVar.int("NAME")`."""
    return isinstance(value, (dg.EnvVar, type(dg.EnvVar.int(""))))


def build_connectwise_definitions(
    tenant: ConnectWiseTenant,
    *,
    translator: ConnectWiseTranslator | None = None,
    prefix: str | None = None,
    running: bool = True,
) -> dg.Definitions:
    """Assets, checks, jobs, schedules and sensors of a tenant, to be merged with your own.

    `prefix` begins the names; the schema of the tenant's tables if it is not given. `running` is
    whether schedules are on from the start. Connects to nothing. Raises ConfigError for settings
    that make no sense.
    """
    settings = tenant.load_settings()
    return tenant_definitions(
        TenantSetup(
            settings,
            composition.entities(settings),
            tenant.settings,
            settings.schema_ if prefix is None else prefix,
            translator or ConnectWiseTranslator(),
            running,
        )
    )
