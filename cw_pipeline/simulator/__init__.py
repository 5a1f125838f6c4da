"""ConnectWise PSA's REST API for a tenant that lives in memory.

tenant = seed_tenant(tickets=500)
with Simulator(tenant) as sim:
    ...  # talk to sim.url, change the tenant, look at sim.requests
"""

from __future__ import annotations

from cw_pipeline.simulator.day import DayReport, working_day
from cw_pipeline.simulator.faults import Fault
from cw_pipeline.simulator.role import Quirk
from cw_pipeline.simulator.seed import seed_tenant
from cw_pipeline.simulator.server import Simulator, serve
from cw_pipeline.simulator.state import CLIENT_ID, RecordedRequest
from cw_pipeline.simulator.tenant import UNSTAMPED, Tenant

__all__ = [
    "CLIENT_ID",
    "UNSTAMPED",
    "DayReport",
    "Fault",
    "Quirk",
    "RecordedRequest",
    "Simulator",
    "Tenant",
    "seed_tenant",
    "serve",
    "working_day",
]
