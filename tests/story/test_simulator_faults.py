"""Whatever can go wrong can be made to go wrong, the same way every time."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from cw_pipeline.simulator import Fault
from tests.story.simulated import FORWARD, ids, serving, tickets

LIST = "/service/tickets"


def statuses(http: httpx.Client, count: int, path: str = LIST) -> list[int]:
    return [http.get(path).status_code for _ in range(count)]


@pytest.mark.parametrize(("kind", "status"), [("429", 429), ("500", 500), ("503", 503)])
def test_a_fault_strikes_the_requests_it_is_told_to(kind: Any, status: int) -> None:
    with serving(tickets(), faults=[Fault(kind, at=[2, 3])]) as (_, http):
        assert statuses(http, 4) == [200, status, status, 200]


def test_a_429_says_how_long_to_wait() -> None:
    with serving(tickets(), faults=[Fault("429", retry_after=7)]) as (_, http):
        answer = http.get(LIST)
        assert answer.headers["retry-after"] == "7"
        assert "7 seconds" in answer.json()["message"]


def test_a_fault_stops_after_so_many_times_and_keeps_to_its_path() -> None:
    fault = Fault("500", path="/service/*", times=2)
    with serving(tickets(), faults=[fault]) as (_, http):
        assert statuses(http, 1, "/company/companies") == [200]
        assert statuses(http, 3) == [500, 500, 200]
        assert fault.fired == 2


def test_the_login_is_spared_unless_it_is_named() -> None:
    with serving(tickets(), faults=[Fault("500")]) as (sim, _):
        login = f"{sim.url}/login/companyinfo/demo"
        assert httpx.get(login).status_code == 200
        sim.faults.add(Fault("503", path="/login/*"))
        assert httpx.get(login).status_code == 503
        sim.faults.clear()
        assert httpx.get(login).status_code == 200


def test_the_same_seed_gives_the_same_faults() -> None:
    def run(seed: int) -> list[int]:
        with serving(tickets(), faults=[Fault("500", rate=0.4)], seed=seed) as (_, http):
            return statuses(http, 25)

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 500 in run(1)
    assert 200 in run(1)


def test_a_timeout_can_depend_on_the_page_size() -> None:
    with serving(tickets(), faults=[Fault("timeout500", page_size_over=100)]) as (_, http):
        slow = http.get(LIST, params={"pageSize": 500})
        assert slow.status_code == 500
        assert "timeout" in slow.json()["message"].lower()
        assert http.get(LIST, params={"pageSize": 100}).status_code == 200


@pytest.mark.parametrize("kind", ["drop", "reset", "hang"])
def test_a_connection_can_break(kind: Any) -> None:
    with serving(tickets(), faults=[Fault(kind, at=[1], seconds=0.1)]) as (sim, http):
        with pytest.raises(httpx.TransportError):
            http.get(LIST)
        assert len(ids(http.get(LIST))) == 10
        assert len(sim.requests) == 2


def test_an_answer_can_be_slow() -> None:
    with serving(tickets(), faults=[Fault("slow", seconds=0.3)]) as (_, http):
        began = time.monotonic()
        assert len(ids(http.get(LIST))) == 10
        assert time.monotonic() - began >= 0.3


def test_a_body_can_be_cut_although_its_length_is_right() -> None:
    with serving(tickets(), faults=[Fault("truncated")]) as (_, http):
        answer = http.get(LIST)
        assert answer.status_code == 200
        with pytest.raises(ValueError, match=r"delimiter|Expecting|Unterminated"):
            answer.json()


def test_a_sign_in_page_can_come_instead() -> None:
    with serving(tickets(), faults=[Fault("html")]) as (_, http):
        answer = http.get(LIST)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")


def test_a_poisoned_record_breaks_every_page_that_holds_it() -> None:
    with serving(tickets(), faults=[Fault("poison", LIST, ids=[5])]) as (_, http):

        def page(size: int, after: int, **more: str) -> int:
            params = {"pageSize": size, "pageId": after, **more}
            return http.get(LIST, params=params, headers=FORWARD).status_code

        assert page(10, 0) == 500
        assert page(4, 0) == 200
        assert page(5, 5) == 200
        assert page(1, 4) == 500
        assert page(10, 0, fields="id") == 200
        assert http.get(f"{LIST}/5").status_code == 500
        assert http.get(f"{LIST}/6").status_code == 200
        assert http.get(f"{LIST}/count").json() == {"count": 10}


def test_poison_can_reach_questions_for_some_fields_too() -> None:
    faults = [Fault("poison", LIST, ids=[5], field="summary")]
    with serving(tickets(), faults=faults) as (sim, http):
        assert http.get(LIST, params={"fields": "id,summary"}).status_code == 500
        assert http.get(LIST, params={"fields": "id"}).status_code == 200
        faults[0].spares = False
        sim.faults.clear()
        sim.faults.add(faults[0])
        assert http.get(LIST, params={"fields": "id"}).status_code == 500


def test_records_can_be_spoiled_on_their_way_out() -> None:
    faults = [
        Fault("unknown_field", LIST, ids=[1], field="mood", value="good"),
        Fault("wrong_type", LIST, ids=[2], field="board"),
        Fault("nul", LIST, ids=[3], field="summary"),
        Fault("explicit_null", LIST, ids=[4], field="contact"),
    ]
    tenant = tickets(5)
    with serving(tenant, faults=faults) as (_, http):
        got = http.get(LIST).json()
        assert got[0]["mood"] == "good"
        assert not isinstance(got[1]["board"], dict)
        assert "\0" in got[2]["summary"]
        assert got[3]["contact"] is None
        assert got[4] == tenant.get(LIST, 5)
        assert http.get(f"{LIST}/3").json() == got[2]
        assert "mood" not in tenant.get(LIST, 1)


def test_a_rate_of_records_is_always_the_same_records() -> None:
    faults = [Fault("nul", LIST, rate=0.2, field="summary")]
    with serving(tickets(200), faults=faults) as (_, http):

        def hit(size: int) -> set[int]:
            found, after = set[int](), 0
            while page := http.get(
                LIST, params={"pageSize": size, "pageId": after}, headers=FORWARD
            ).json():
                found |= {r["id"] for r in page if "\0" in r["summary"]}
                after = page[-1]["id"]
            return found

        assert hit(200) == hit(7)
        assert 15 < len(hit(200)) < 70
