"""Reports, and callbacks to whoever registered."""

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

from cw_pipeline.simulator import Tenant, seed_tenant
from tests.story.simulated import serving, tickets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPORTS = "/system/reports"


def test_a_report_is_a_table_of_what_the_tenant_holds() -> None:
    tenant = seed_tenant(tickets=60)
    with serving(tenant) as (_, http):
        assert {"name": "Service"} in http.get(REPORTS).json()
        asked = {"columns": "Summary,SR_Service_RecID", "pageSize": 1000}
        table = http.get(f"{REPORTS}/Service", params=asked).json()
        assert [next(iter(each)) for each in table["column_definitions"]] == [
            "Summary",
            "SR_Service_RecID",
        ]
        truth = tenant.records("/service/tickets").values()
        assert table["row_values"] == [[each["summary"], each["id"]] for each in truth]
        assert http.get(f"{REPORTS}/Service/count").json() == {"count": 60}


def test_reports_can_be_filtered_ordered_and_paged() -> None:
    with serving(tickets()) as (_, http):
        asked = {
            "columns": "SR_Service_RecID",
            "conditions": "SR_Service_RecID > 2",
            "orderBy": "SR_Service_RecID desc",
            "pageSize": 3,
            "page": 2,
        }
        answer = http.get(f"{REPORTS}/Service", params=asked)
        assert answer.json()["row_values"] == [[7], [6], [5]]
        assert set(answer.links) == {"first", "prev", "next", "last"}
        assert http.get(f"{REPORTS}/Service", params={"columns": "Nope"}).status_code == 400
        assert http.get(f"{REPORTS}/Nope").status_code == 404


def test_children_of_all_parents_meet_in_one_report() -> None:
    tenant = seed_tenant(tickets=60)
    with serving(tenant) as (_, http):
        count = sum(
            len(tenant.records(path)) for path in tenant.paths() if path.endswith("/additions")
        )
        assert http.get(f"{REPORTS}/AgreementAdditions/count").json() == {"count": count}


def test_columns_can_come_go_and_change_type() -> None:
    with serving(tickets()) as (sim, http):
        url = f"{REPORTS}/Service/columns"
        sim.reports.add_column("Service", "Mood", "Numeric", path="id")
        sim.reports.remove_column("Service", "Impact")
        sim.reports.retype_column("Service", "SR_Service_RecID", "Text")
        told = {name: each for one in http.get(url).json() for name, each in one.items()}
        assert told["Mood"]["type"] == "Numeric"
        assert "Impact" not in told
        assert told["SR_Service_RecID"] == {
            "type": "Text",
            "isNullable": True,
            "identityColumn": False,
        }
        asked = {"columns": "SR_Service_RecID,Mood", "pageSize": 1}
        assert http.get(f"{REPORTS}/Service", params=asked).json()["row_values"] == [["1", 1]]


def test_column_names_may_repeat_and_rows_may_be_left_out() -> None:
    with serving(seed_tenant(tickets=60)) as (_, http):
        names = [next(iter(each)) for each in http.get(f"{REPORTS}/Activity/columns").json()]
        assert names.count("Last_Update") == 2
        assert "row_values" not in http.get(f"{REPORTS}/OnCall").json()


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
