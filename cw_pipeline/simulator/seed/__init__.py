"""A tenant with a past: consistent records of an IT service provider, over four years."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cw_pipeline.simulator.seed import (
    boards,
    companies,
    custom,
    hours,
    lookups,
    money,
    people,
    projects,
    required,
    sales,
    stock,
    surveys,
)
from cw_pipeline.simulator.seed import tickets as service
from cw_pipeline.simulator.seed.world import HOUR, Dice, World
from cw_pipeline.simulator.tenant import Tenant

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.sla import Reading


def seed_tenant(
    tickets: int = 2000,
    seed: int = 7,
    now: datetime | None = None,
    sla_minutes: Reading = "per stage",
) -> Tenant:
    """A tenant with so many service tickets, everything else in proportion.

    The same seed gives the same tenant for the same `now` (its clock; without one the present,
    and the past ends with the last full hour). `sla_minutes`: how its tickets count them.
    """
    tenant = Tenant(now)
    moment = int((now or datetime.now(UTC)).timestamp()) // HOUR * HOUR
    world = World(tenant, Dice(seed), moment, tickets)
    with tenant.lock:
        lookups.make(world)
        custom.make(world)
        people.make(world)
        made = boards.make(world)
        stock.catalog(world)
        companies.make(world)
        money.agreements(world)
        money.invoices(world)
        service.make(world, made, sla_minutes)
        projects.make(world, made[-1])
        hours.make(world)
        hours.schedule(world)
        hours.expenses(world)
        stock.products(world)
        stock.purchase_orders(world)
        sales.make(world)
        surveys.make(world)
        required.complete(world)
    return tenant
