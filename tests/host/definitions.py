"""The tenant in code, beside a job and an asset of the project's own."""

import dagster as dg

from cw_pipeline.dagster import ConnectWiseTenant, build_connectwise_definitions


@dg.asset(
    deps=[["acme", "service_tickets"], ["acme_reporting", "fct_ticket"]],
    automation_condition=dg.AutomationCondition.any_deps_updated(),
)
def tickets_by_day() -> None:
    """What dbt or a notebook would make of it."""


refresh = dg.define_asset_job("refresh", selection=[tickets_by_day])
tenant = ConnectWiseTenant(
    site=dg.EnvVar("HOST_SITE"),
    company="demo",
    public_key=dg.EnvVar("HOST_PUBLIC_KEY"),
    private_key=dg.EnvVar("HOST_PRIVATE_KEY"),
    client_id=dg.EnvVar("HOST_CLIENT_ID"),
    warehouse_dsn=dg.EnvVar("HOST_WAREHOUSE_DSN"),
    schema_name="acme",
    entities="service/tickets",
)
defs = dg.Definitions.merge(
    dg.Definitions([tickets_by_day], jobs=[refresh], executor=dg.multiprocess_executor),
    build_connectwise_definitions(tenant),
)
