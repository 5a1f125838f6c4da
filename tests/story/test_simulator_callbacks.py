"""Callbacks of the simulator, as the developer guide has them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from cw_pipeline.simulator import Tenant
from tests.story.simulated import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def listening(statuses: Sequence[int] = ()) -> Iterator[tuple[str, list[tuple[str, Any, bytes]]]]:
    """A server that keeps what is posted to it, and answers with these statuses, then with 200."""
    got: list[tuple[str, Any, bytes]] = []
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, self.headers, body))
            self.send_response(left.pop(0) if left else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook?x=1&recordId=", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wait_for(got: list[Any], count: int) -> None:
    for _ in range(1500):
        if len(got) >= count:
            return
        threading.Event().wait(0.02)
    raise AssertionError(f"{len(got)} of {count} arrived")


def register(http: httpx.Client, url: str, **fields: Any) -> dict[str, Any]:
    entry = {"url": url, "objectId": 1, "type": "ticket", "level": "owner", **fields}
    answer = http.post("/system/callbacks", json=entry)
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json()
    return made


def test_a_change_is_posted_and_signed() -> None:
    tenant = Tenant()
    with listening() as (url, got), serving(tenant) as (_, http):
        register(http, url)
        tenant.put("/service/tickets", {"id": 7601, "summary": "x"})
        tenant.delete("/service/tickets", 7601)
        wait_for(got, 2)
        (path, headers, body), (gone_path, _, gone) = got
        told = msgspec.json.decode(body)
        assert path == "/hook?x=1&recordId=7601&action=added"
        assert (told["Action"], told["ID"], told["Type"]) == ("added", 7601, "ticket")
        assert msgspec.json.decode(told["Entity"])["summary"] == "x"
        assert gone_path.endswith("action=deleted")
        assert msgspec.json.decode(gone)["Entity"] is None
        key = httpx.get(told["Metadata"]["key_url"]).json()["signing_key"]
        expected = hmac.new(hashlib.sha256(key.encode()).digest(), body, hashlib.sha256).digest()
        assert base64.b64decode(headers["x-content-signature"]) == expected


def test_a_registration_covers_its_level_only() -> None:
    tenant = Tenant()
    with listening() as (url, got), serving(tenant) as (_, http):
        register(http, url, level="board", objectId=2)
        register(http, url, type="company", inactiveFlag=True)
        tenant.put("/company/companies", {"id": 1})
        tenant.put("/service/tickets", {"id": 1, "board": {"id": 1}})
        tenant.put("/service/tickets", {"id": 2, "board": {"id": 2}})
        wait_for(got, 1)
        assert [path.split("recordId=")[1] for path, _, _ in got] == ["2&action=added"]


LEVELS = {
    "Activity": "Owner Status Type Company Activity",
    "Agreement": "Owner Type Company Agreement",
    "Company": "Owner Status Type Territory Company IntegratorTag",
    "Contact": "Owner Type Territory Company Contact",
    "Configuration": "Owner Type Status Configuration",
    "Invoice": "Owner Status Company Invoice",
    "Expense": "Owner ChargeToType Type Class Company Expense",
    "Member": "Owner Location SecurityRole Member",
    "Opportunity": "Owner StatusId Company Opportunity",
    "ProductCatalog": "Owner",
    "Project": "Owner Status Board Project",
    "PurchaseOrder": "Owner Status Vendor Company PurchaseOrder",
    "Schedule": "Owner Status Type Location Member Schedule",
    "Site": "Owner Territory Company Site",
    "Ticket": "Owner Board Project Phase Status Ticket IntegratorTag",
    "Time": "Owner Company Time",
}
"""As the developer guide lists them."""
_REFERENCES = (
    "status type company territory classification defaultLocation securityRole board vendorCompany "
    "customerCompany where member project phase"
)
_PATHS = (
    "/sales/activities /finance/agreements /company/companies /company/contacts "
    "/company/configurations /finance/invoices /expense/entries /system/members "
    "/sales/opportunities /procurement/catalog /project/projects /procurement/purchaseorders "
    "/schedule/entries /company/companies/{}/sites /project/tickets /time/entries"
)


def one_of_each(tenant: Tenant, number: int, **fields: Any) -> None:
    """A record for each type of callback, which refers to records of this number only."""
    refers = {name: {"id": number} for name in _REFERENCES.split()} | {"types": [{"id": number}]}
    for path in _PATHS.split():
        own = refers if path != "/company/contacts" else {**refers, "territory": None}
        tenant.put(path.format(number), {"id": number, **own, **fields})


def test_every_type_and_level_of_the_guide_is_delivered_and_covers_nothing_else() -> None:
    tenant = Tenant()
    pairs = [(name, level) for name, levels in LEVELS.items() for level in levels.split()]
    assert (len(LEVELS), len(pairs)) == (16, 72)
    with listening() as (url, got), serving(tenant) as (_, http):
        made = {}
        for name, level in pairs:
            number = 1 if level == "Owner" else 3
            entry = register(http, url, type=name, level=level, objectId=number)
            made[entry["id"]] = (name, level)
        one_of_each(tenant, 3, chargeToType="ProjectTicket", integratorTags=["mine"])
        wait_for(got, 72)
        told = [msgspec.json.decode(body) for _, _, body in got]
        assert sorted(made[each["CallbackObjectRecId"]] for each in told) == sorted(pairs)
        one_of_each(tenant, 4, chargeToType="Company")
        tenant.put("/service/tickets", {"id": 5})
        wait_for(got, 72 + 17)
        told = [msgspec.json.decode(body) for _, _, body in got[72:]]
        assert {made[each["CallbackObjectRecId"]][1] for each in told} == {"Owner"}
        assert sorted(each["ID"] for each in told) == [4] * 16 + [5]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": None}, "url"),
        ({"url": " "}, "url"),
        ({"url": "hooks.example.com"}, "url"),
        ({"url": "https://[hooks"}, "url"),
        ({"type": "wonder"}, "type"),
        ({"type": None}, "type"),
        ({"level": "board", "type": "company"}, "level"),
        ({"level": None}, "level"),
        ({"level": "board", "objectId": None}, "objectId"),
        ({"objectId": "all"}, "objectId"),
        ({"description": "x" * 101}, "description"),
    ],
)
def test_a_registration_without_sense_is_refused(change: dict[str, Any], field: str) -> None:
    entry = {"url": "https://x.example", "objectId": 1, "type": "ticket", "level": "owner"}
    with serving(Tenant()) as (sim, http):
        refused = http.post("/system/callbacks", json={**entry, **change})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field)
        made = http.post("/system/callbacks", json={**entry, "description": "x" * 100}).json()
        assert http.post("/system/callbacks", json=entry).json()["errors"][0]["code"] == (
            "ObjectExists"
        )
        ops = [{"op": "replace", "path": name, "value": value} for name, value in change.items()]
        if change.get("level") != "board":
            assert http.patch(f"/system/callbacks/{made['id']}", json=ops).status_code == 400
        assert [*sim.tenant.records("/system/callbacks").values()] == [made]


def test_a_registration_that_makes_no_sense_breaks_nobodys_edit() -> None:
    tenant = Tenant()
    with listening() as (url, got), serving(tenant) as (_, http):
        for odd in ({}, {"url": None}, {"url": "https://["}, {"url": 7}, {"url": "nowhere"}):
            tenant.put("/system/callbacks", {"type": "Ticket", "level": "Owner", **odd})
        register(http, url)
        tenant.put("/service/tickets", {"id": 1})
        ops = [{"op": "replace", "path": "summary", "value": "new"}]
        assert http.patch("/service/tickets/1", json=ops).status_code == 200
        wait_for(got, 2)


def test_a_refused_delivery_is_tried_twice_more() -> None:
    tenant = Tenant()
    with (
        listening([429, 404]) as (url, got),
        serving(tenant, callback_waits=(0.02, 0.04)) as (_, http),
    ):
        register(http, url)
        tenant.put("/service/tickets", {"id": 1})
        wait_for(got, 3)


def test_three_failing_days_switch_a_callback_off() -> None:
    tenant = Tenant()
    with (
        listening([500] * 3) as (url, _),
        listening() as (good, told),
        serving(tenant) as (_, http),
    ):
        made = register(http, url)
        register(http, good)
        for day in range(1, 4):
            tenant.put("/service/tickets", {"id": day})
            wait_for(told, day)  # it comes second: by then the failure has been counted
            tenant.advance(86400)
        assert tenant.get("/system/callbacks", made["id"])["inactiveFlag"] is True
