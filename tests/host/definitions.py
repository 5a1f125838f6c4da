"""The tenant in code, beside a job and an asset of the project's own."""

import dagster as dg

from cw_pipeline.dagster import ConnectWiseTenant, build_connectwise_definitions

SECRETS = ("site", "public_key", "private_key", "client_id", "warehouse_dsn")


@dg.asset(
    deps=[["acme", "service_tickets"], ["acme_reporting", "fct_ticket"]],
    automation_condition=dg.AutomationCondition.any_deps_updated(),
)
def tickets_by_day() -> None:
    """What dbt or a notebook would make of it."""


refresh = dg.define_asset_job("refresh", selection=[tickets_by_day])
named = {name: dg.EnvVar(f"HOST_{name.upper()}") for name in SECRETS}
tenant = ConnectWiseTenant(company="demo", schema_name="acme", entities="service/tickets", **named)
defs = dg.Definitions.merge(
    dg.Definitions([tickets_by_day], jobs=[refresh], executor=dg.multiprocess_executor),
    build_connectwise_definitions(tenant),
)
