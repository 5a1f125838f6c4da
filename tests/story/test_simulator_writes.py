"""What is written to the simulator is stored as ConnectWise would store it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.simulator import Tenant, seed_tenant
from tests.story.simulated import serving, tickets

if TYPE_CHECKING:
    import httpx

LIST = "/service/tickets"


def test_who_entered_a_record_survives_its_replacement() -> None:
    tenant = Tenant()
    tenant.put(LIST, {"id": 1, "_info": {"enteredBy": "ann"}})
    with serving(tenant) as (_, http):
        assert http.put(f"{LIST}/1", json={}).json()["_info"]["enteredBy"] == "ann"


def test_records_can_be_written() -> None:
    tenant = tickets(2)
    with serving(tenant) as (_, http):
        made = http.post(LIST, json={"summary": "new", "contact": None})
        assert (made.status_code, made.json()["id"]) == (201, 3)
        ops = [
            {"op": "replace", "path": "summary", "value": "changed"},
            {"op": "remove", "path": "board"},
        ]
        assert http.patch(f"{LIST}/1", json=ops).json()["summary"] == "changed"
        assert "board" not in tenant.get(LIST, 1)
        assert http.put(f"{LIST}/2", json={"summary": "whole"}).json().keys() == {
            "id",
            "summary",
            "_info",
        }
        assert http.delete(f"{LIST}/2").status_code == 204
        assert http.delete(f"{LIST}/2").status_code == 404
        assert http.patch(f"{LIST}/1", json={"op": "replace"}).status_code == 400
        assert http.post(LIST, content=b"{").status_code == 400
        assert http.delete(LIST).status_code == 405
        assert list(tenant.records(LIST)) == [1, 3]


def test_a_record_that_was_made_is_found_at_its_location() -> None:
    with serving(tickets(2)) as (_, http):
        made = http.post(f"{LIST}/", json={"id": 0, "summary": "new"})
        assert made.headers["location"].endswith("/service/tickets/3")
        assert http.get(made.headers["location"]).json() == made.json()


def test_a_patch_that_is_written_wrongly_changes_nothing() -> None:
    tenant = tickets(2)
    with serving(tenant) as (_, http):

        def patch(path: str, **params: str) -> httpx.Response:
            ops = [{"op": "replace", "path": path, "value": 9}]
            return http.patch(f"{LIST}/1", json=ops, params=params)

        assert patch("Summary").status_code == 400
        assert patch("board/id").status_code == 200  # of which the guide warns
        assert patch("id").json()["id"] == 1
        assert tenant.get(LIST, 1)["board"] == {"id": 1, "name": "B"}
        assert patch("summary", fields="id,summary").json() == {"id": 1, "summary": 9}
        assert http.post(f"{LIST}/1", json={}).headers["allow"] == "GET, PUT, PATCH, DELETE"
        assert http.post("/system/documents", json={}).status_code == 415


def test_a_reference_may_be_given_by_whatever_is_unique() -> None:
    tenant = seed_tenant(tickets=20)
    first, *_ = tenant.records(LIST)
    company = list(tenant.records("/company/companies").values())[-1]
    member = list(tenant.records("/system/members").values())[-1]
    with serving(tenant) as (_, http):
        values = {"company": {"identifier": company["identifier"].upper()}}
        values |= {"owner": {"id": member["id"]}, "contact": {"name": "Nobody"}}
        ops = [{"op": "replace", "path": name, "value": value} for name, value in values.items()]
        changed = http.patch(f"{LIST}/{first}", json=ops).json()
        names = ("id", "identifier", "name")
        assert changed["company"] == {name: company[name] for name in names}
        assert changed["owner"] == {name: member[name] for name in names if name in member}
        assert changed["contact"] == {"name": "Nobody"}


def test_a_status_closes_a_ticket_and_says_when_a_stage_was_reached() -> None:
    tenant = seed_tenant(tickets=60)
    ticket = next(e for e in tenant.records(LIST).values() if e["status"]["name"] != "New")
    own = ticket["id"]
    gone = ("closedDate", "closedBy", "dateResponded", "dateResplan", "dateResolved")
    record = {name: value for name, value in ticket.items() if name not in gone}
    tenant.put(LIST, {**record, "closedFlag": False})
    with serving(tenant) as (_, http):

        def becomes(status: str, **more: object) -> dict[str, object]:
            values = {"status": {"name": status}, **more}
            ops = [{"op": "replace", "path": k, "value": v} for k, v in values.items()]
            answer: dict[str, object] = http.patch(f"{LIST}/{own}", json=ops).json()
            return answer

        assert "dateResponded" not in becomes("New")
        assert becomes("Assigned").keys() >= {"dateResponded", "respondMinutes"}
        done = becomes("Completed")
        assert done["closedFlag"] is True
        assert done.keys() >= {"closedDate", "closedBy", "dateResolved"}
        assert "dateResplan" not in done  # it was skipped
        again = becomes("Re-opened")
        assert (again["closedFlag"], "closedDate" in again) == (False, False)
        assert again["dateResolved"] == done["dateResolved"]
        said = becomes("Completed", closedFlag=True, closedDate="2020-01-01T00:00:00Z")
        assert said["closedDate"] == "2020-01-01T00:00:00Z"
