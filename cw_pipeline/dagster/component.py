"""A tenant in YAML, for projects that are made of components.

Without postponed annotations: Dagster reads a component's as objects.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any

import dagster as dg
from dagster.components.component_scaffolding import scaffold_component
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import Field, SecretStr
from typing_extensions import override

from cw_pipeline.dagster.library import ConnectWiseTenant, build_connectwise_definitions
from cw_pipeline.dagster.tenant import ConnectWiseTableProps, ConnectWiseTranslator
from cw_pipeline.errors import ConfigError

_SCAFFOLDED = {
    "site": "na.myconnectwise.net",
    "company": "acme",
    "public_key": "{{ env.CW_PUBLIC_KEY }}",
    "private_key": "{{ env.CW_PRIVATE_KEY }}",
    "client_id": "{{ env.CW_CLIENT_ID }}",
    "warehouse_dsn": "{{ env.CW_WAREHOUSE_DSN }}",
    "schema_name": "connectwise",
}


_VARIABLE = re.compile(r"\{\{\s*env\.(\w+)\s*\}\}")


def _secret(description: str) -> dg.Resolver:
    """A text that shows nowhere: Dagster attaches the component to all that it makes.

    A variable of the environment is looked up by each run, not where the code is loaded: CI need
    not have it, and a key that was replaced counts at once.
    """

    def resolve(context: dg.ResolutionContext, value: str) -> SecretStr:
        if variable := _VARIABLE.fullmatch(value):
            return SecretStr(dg.EnvVar(variable[1]))
        return SecretStr(_resolve_text(context, value))

    return _as_written(resolve, description)


def _text(description: str) -> dg.Resolver:
    """A text of which is said that it is empty, and by which variable."""
    return _as_written(_resolve_text, description)


def _as_written(
    resolve: Callable[[dg.ResolutionContext, str], Any], description: str
) -> dg.Resolver:
    """A resolver of what stands in the file, before variables are put in."""
    return dg.Resolver(
        resolve, model_field_type=str, description=description, inject_before_resolve=False
    )


def _resolve_text(context: dg.ResolutionContext, value: str) -> str:
    """The text that stands there. Raises ConfigError if it is a variable that is not set."""
    found: str | None = context.resolve_value(value, as_type=str)
    if not found:
        raise ConfigError(f"{value} is empty: is the environment variable set that it names?")
    return found


class _Scaffolder(dg.Scaffolder):
    """Writes a defs.yaml whose secrets are variables of the environment."""

    @override
    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        scaffold_component(request, _SCAFFOLDED)


@dg.scaffold_with(_Scaffolder)
class ConnectWiseComponent(dg.Component, dg.Model, dg.Resolvable):
    """Keeps a Postgres warehouse in step with a ConnectWise PSA tenant.

    An asset for each list that is kept, with checks (fresh, proven, nothing left out), and the star
    schema over them; schedules that refresh, prove and re-read; alerts. Names begin with the
    schema, so that several tenants stand beside each other.

    ```yaml
    type: cw_pipeline.dagster.ConnectWiseComponent
    attributes:
      site: na.myconnectwise.net
      company: acme
      public_key: "{{ env.CW_PUBLIC_KEY }}"
      private_key: "{{ env.CW_PRIVATE_KEY }}"
      client_id: "{{ env.CW_CLIENT_ID }}"
      warehouse_dsn: "{{ env.CW_WAREHOUSE_DSN }}"
      schema_name: acme
      options:
        refresh_cron: "*/5 * * * *"
      translation:
        owners: ["team:data"]
    ```
    """

    site: Annotated[str, _text("Where users log in, such as na.myconnectwise.net.")]
    company: Annotated[str, _text("The company id of the login page.")]
    public_key: Annotated[SecretStr, _secret("Public key of an API member: {{ env.NAME }}.")]
    private_key: Annotated[SecretStr, _secret("Private key of the API member: {{ env.NAME }}.")]
    client_id: Annotated[
        SecretStr, _secret("clientId of developer.connectwise.com: {{ env.NAME }}.")
    ]
    warehouse_dsn: Annotated[
        SecretStr, _secret("postgresql://user:password@host/name: {{ env.NAME }}.")
    ]
    schema_name: Annotated[
        str,
        dg.Resolver.default(
            description=(
                "The schema of the tenant's tables. Its views are in SCHEMA_reporting, those of"
                " connectwise in reporting."
            )
        ),
    ] = "connectwise"
    entities: Annotated[
        str | None,
        dg.Resolver.default(
            description="The lists that are kept, as CW_ENTITIES; the core ones if not given."
        ),
    ] = None
    options: Annotated[
        dict[str, Any],
        dg.Resolver.default(
            description="Further settings, by their names without CW_ in small letters.",
            examples=[{"refresh_cron": "*/5 * * * *", "keep_runs_days": 14}],
        ),
    ] = Field(default={}, repr=False)  # keys and addresses may be among them
    prefix: Annotated[
        str | None,
        dg.Resolver.default(
            description="What names of jobs and schedules begin with; the schema if not given."
        ),
    ] = None
    running: Annotated[
        bool, dg.Resolver.default(description="Whether schedules are on from the start.")
    ] = True
    translation: Annotated[
        TranslationFn[ConnectWiseTableProps] | None,
        TranslationFnResolver[ConnectWiseTableProps](lambda props: {"props": props}),
    ] = None

    def tenant(self) -> ConnectWiseTenant:
        """The tenant that these attributes name."""
        values: dict[str, Any] = {n: getattr(self, n) for n in ConnectWiseTenant.model_fields}
        for name, value in values.items():
            if isinstance(value, SecretStr):
                values[name] = value.get_secret_value()
        return ConnectWiseTenant(**values)

    def get_asset_spec(self, props: ConnectWiseTableProps) -> dg.AssetSpec:
        """The asset of a table. Override it where `translation` cannot say what you want."""
        return self.translation(props.spec, props) if self.translation else props.spec

    @override
    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return build_connectwise_definitions(
            self.tenant(),
            translator=_OfComponent(self),
            prefix=self.prefix,
            running=self.running,
        )


class _OfComponent(ConnectWiseTranslator):
    """Asks the component, whose method may be overridden."""

    def __init__(self, component: ConnectWiseComponent) -> None:
        self._component = component

    @override
    def get_asset_spec(self, props: ConnectWiseTableProps) -> dg.AssetSpec:
        return self._component.get_asset_spec(props)
