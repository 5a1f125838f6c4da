"""Clients that other people wrote for ConnectWise work against the simulator. Opt-in.

pip install pyconnectwise
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from cw_pipeline.simulator import CLIENT_ID, Fault, Simulator, Tenant, seed_tenant
from cw_pipeline.simulator.tenant import canonical, template

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


def test_its_models_take_every_record_of_every_list(api: Any, sim: Simulator) -> None:
    unknown, refused = set(), {}
    for path in sim.tenant.paths():
        endpoint = _endpoint(api, path)
        if endpoint is None or not hasattr(endpoint, "get"):
            unknown.add(template(path))
            continue
        try:
            listed = endpoint.get(params={"pageSize": 1000})
        except ValidationError as error:
            refused[template(path)] = str(error)[:300]
            continue
        assert [each.id for each in listed] == list(sim.tenant.records(path)), path
    assert refused == {}
    assert unknown == UNKNOWN


UNKNOWN = {
    "/company/entitytypes",
    "/procurement/subcategories",
    "/schedule/holidaylists",
    "/schedule/holidaylists/{}/holidays",
    "/service/slas",
    "/service/slas/{}/priorities",
}
"""Lists that the library cannot ask for."""


def _endpoint(api: Any, path: str) -> Any:
    """The library's object for a list; None where it has none."""
    module, *steps = canonical(path).strip("/").split("/")
    found = getattr(api, module)
    for step in steps:
        if step.isdecimal():
            found = found.id(int(step))
            continue
        children = (e for e in found._child_endpoints if canonical(e.endpoint_base) == f"/{step}")
        found = next(children, None)
        if found is None:
            return None
    return found


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
