"""Clients that other people wrote for ConnectWise work against the simulator. Opt-in.

pip install pyconnectwise
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.simulator import CLIENT_ID, Fault, Simulator, Tenant, seed_tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

pyconnectwise = pytest.importorskip("pyconnectwise", reason="pyconnectwise is not installed")
TICKETS = "/service/tickets"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the library's own


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    tenant = seed_tenant(tickets=120)
    _round_custom_fields(tenant)
    with Simulator(tenant) as running:
        yield running


def _round_custom_fields(tenant: Tenant) -> None:
    """The library's model of a user-defined field knows no fractions, which tenants do have."""
    for path in tenant.paths():
        for record_id, record in tenant.records(path).items():
            fields = record.get("customFields", [])
            for each in fields:
                if isinstance(each.get("value"), float):
                    each["value"] = int(each["value"])
            if fields:
                tenant.edit(path, record_id, customFields=fields, touch=False)


@pytest.fixture
def api(sim: Simulator) -> Any:
    class OverPlainHttp(pyconnectwise.ConnectWiseManageAPIClient):  # type: ignore[misc,name-defined]
        """The library insists on https, which a loopback server does not speak."""

        def _get_url(self) -> str:
            return f"{sim.url}/{self.codebase.strip('/')}/apis/3.0"

        def _try_get_codebase_from_api(self, **asked: Any) -> str:
            url = f"{sim.url}/login/companyinfo/{asked['company_name']}"
            codebase: str = self._make_request("GET", url).json()["Codebase"]
            return codebase

    return OverPlainHttp("demo", "127.0.0.1", CLIENT_ID, "public", "private")


def test_it_finds_the_codebase(api: Any) -> None:
    assert api.codebase == "v2025_1/"


def test_it_lists_and_filters(api: Any, sim: Simulator) -> None:
    truth = sim.tenant.records(TICKETS).values()
    listed = api.service.tickets.get(params={"pageSize": 1000})
    assert [each.id for each in listed] == [each["id"] for each in truth]
    assert [each.summary for each in listed] == [each["summary"] for each in truth]
    asked = {"conditions": "closedFlag = False and board/id in (1, 2)", "pageSize": 1000}
    assert {each.id for each in api.service.tickets.get(params=asked)} == {
        each["id"] for each in truth if not each["closedFlag"] and each["board"]["id"] in {1, 2}
    }


def test_it_walks_the_pages(api: Any, sim: Simulator) -> None:
    paginated = api.service.tickets.paginated(1, 25)
    assert [each.id for each in paginated.all()] == list(sim.tenant.records(TICKETS))


def test_it_counts_and_reads_one(api: Any, sim: Simulator) -> None:
    assert api.service.tickets.count.get().count == 120
    record_id, record = next(iter(sim.tenant.records(TICKETS).items()))
    assert api.service.tickets.id(record_id).get().summary == record["summary"]


def test_it_reads_children(api: Any, sim: Simulator) -> None:
    statuses = api.service.boards.id(1).statuses.get()
    assert [each.name for each in statuses] == [
        each["name"] for each in sim.tenant.records("/service/boards/1/statuses").values()
    ]


def test_its_models_take_every_kind_of_record(api: Any) -> None:
    for collection in (
        api.company.companies,
        api.company.contacts,
        api.time.entries,
        api.finance.agreements,
        api.finance.invoices,
        api.project.projects,
        api.sales.opportunities,
        api.system.members,
        api.procurement.purchaseorders,
        api.schedule.entries,
        api.expense.entries,
    ):
        assert collection.get(params={"pageSize": 50})


def test_it_raises_its_own_errors(api: Any, sim: Simulator) -> None:
    from pyconnectwise.exceptions import (  # noqa: PLC0415
        MalformedRequestException,
        NotFoundException,
    )

    with pytest.raises(NotFoundException):
        api.service.tickets.id(1).get()
    with pytest.raises(MalformedRequestException):
        api.service.tickets.get(params={"conditions": "summary = printer"})
    sim.faults.add(Fault("timeout500", times=1))
    assert api.service.tickets.count.get().count == 120
