"""The simulator answers as the vendor's guide says."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from cw_pipeline.simulator import CLIENT_ID, Quirk, Tenant, seed_tenant
from tests.story.simulated import FORWARD, client, ids, serving, tickets

LIST = "/service/tickets"


def test_a_client_is_told_the_codebase_and_nobody_of_an_unknown_company() -> None:
    with serving(tickets()) as (sim, _):
        known = httpx.get(f"{sim.url}/login/companyinfo/DEMO").json()
        assert known["Codebase"] == "v2025_1/"
        assert known["IsCloud"] is True
        assert httpx.get(f"{sim.url}/login/companyinfo/nobody").text == "null"


@pytest.mark.parametrize(
    "changes",
    [
        {"auth": ("demo+public", "wrong")},
        {"auth": ("other+public", "private")},
        {"auth": ("public", "private")},
        {"auth": None},
        {"headers": {}},
        {"headers": {"clientId": "not-mine"}},
        {"headers": {"clientId": CLIENT_ID, "Authorization": "Basic ???"}, "auth": None},
    ],
)
def test_wrong_keys_or_client_id_are_not_let_in(changes: dict[str, object]) -> None:
    with serving(tickets()) as (sim, _), client(sim, **changes) as http:
        answer = http.get(LIST)
        assert (answer.status_code, answer.json()["code"]) == (401, "Unauthorized")


def test_a_member_can_be_impersonated_for_four_hours() -> None:
    tenant = tickets()
    with serving(tenant) as (sim, http):
        asked = {"headers": {"x-cw-usertype": "member"}, "json": {"memberIdentifier": "ann"}}
        keys = http.post("/system/members/ann/tokens", **asked).json()
        assert keys["expiration"].endswith("Z")
        with client(sim, auth=(f"demo+{keys['publicKey']}", keys["privateKey"])) as ann:
            assert ann.get(LIST).status_code == 200
            tenant.advance(4 * 3600 + 1)
            assert ann.get(LIST).status_code == 401


def test_a_wrong_codebase_never_reaches_the_api_and_the_old_one_always_does() -> None:
    with serving(tickets()) as (sim, http):
        lost = httpx.get(f"{sim.url}/v2019_3/apis/3.0{LIST}")
        assert (lost.status_code, lost.headers["content-type"]) == (404, "text/html")
        assert http.get(f"{sim.url}/v4_6_release/apis/3.0{LIST}").status_code == 200


def test_an_upgrade_moves_the_codebase_and_every_link_in_the_records() -> None:
    with serving(seed_tenant(tickets=20)) as (sim, http):
        before = http.get(LIST).json()
        sim.codebase = "v2025_2/"
        assert http.get(LIST).status_code == 404
        after = http.get(f"{sim.url}/v2025_2/apis/3.0{LIST}")
        assert "/v2025_1/" not in after.text
        assert [r["_info"]["lastUpdated"] for r in after.json()] == [
            r["_info"]["lastUpdated"] for r in before
        ]


def test_the_date_header_is_the_tenants_clock_and_may_be_wrong() -> None:
    tenant = Tenant(datetime(2025, 6, 1, tzinfo=UTC))
    with serving(tenant, clock_skew=90.0) as (_, http):
        answer = http.get("/company/companies")
        told = parsedate_to_datetime(answer.headers["date"])
        assert 90 <= (told - datetime(2025, 6, 1, tzinfo=UTC)).total_seconds() < 100
        assert answer.headers["x-cw-request-id"]
        assert answer.headers["api-current-version"]


def test_pages_have_25_records_unless_asked_and_never_more_than_a_thousand() -> None:
    with serving(tickets(1100)) as (_, http):
        assert len(ids(http.get(LIST))) == 25
        assert len(ids(http.get(LIST, params={"pageSize": 5000}))) == 1000
        assert http.get(LIST, params={"pageSize": "many"}).status_code == 400


def test_following_the_links_meets_every_record() -> None:
    with serving(tickets(23)) as (_, http):
        answer = http.get(LIST, params={"pageSize": 5, "conditions": "id > 3"})
        met, rels = ids(answer), [set(answer.links)]
        while "next" in answer.links:
            answer = http.get(answer.links["next"]["url"])
            met += ids(answer)
            rels.append(set(answer.links))
        assert met == list(range(4, 24))
        assert rels[0] == {"next", "last"}
        assert rels[1] == {"first", "prev", "next", "last"}
        assert "next" not in rels[-1]


@pytest.mark.parametrize(("ending", "last"), [("link", "pageId=23"), ("empty", ""), ("none", None)])
def test_forward_only_goes_by_id_and_ends_as_told(ending: str, last: str | None) -> None:
    with serving(tickets(23), forward_only_ending=ending) as (_, http):
        first = http.get(LIST, params={"pageSize": 20, "page": 9}, headers=FORWARD)
        assert ids(first) == list(range(1, 21))
        assert "pageId=20" in first.headers["link"]
        end = http.get(LIST, params={"pageSize": 20, "pageId": 20}, headers=FORWARD)
        assert ids(end) == [21, 22, 23]
        for answer in (end, http.get(LIST, params={"pageId": 23}, headers=FORWARD)):
            link = answer.headers.get("link")
            assert link == last if not last else last in (link or "")


def test_forward_only_refuses_another_order() -> None:
    with serving(tickets()) as (_, http):
        asked = {"orderBy": "summary"}
        assert http.get(LIST, params=asked, headers=FORWARD).status_code == 400
        assert http.get(LIST, params=asked).status_code == 200


def test_records_can_be_filtered_ordered_and_cut_down() -> None:
    with serving(tickets()) as (_, http):
        asked = {
            "conditions": 'board/id = 1 and summary like "Ticket*"',
            "orderBy": "id desc",
            "fields": "id,board/id",
        }
        assert http.get(LIST, params=asked).json() == [
            {"id": each, "board": {"id": 1}} for each in (10, 7, 4, 1)
        ]


def test_a_bad_condition_is_answered_in_the_vendors_words() -> None:
    with serving(tickets()) as (_, http):
        answer = http.get(LIST, params={"conditions": "summary = printer"})
        assert answer.status_code == 400
        assert "square brackets" in answer.json()["message"]
        assert answer.json()["errors"][0]["field"] == "conditions"


def test_arrays_and_custom_fields_have_conditions_of_their_own() -> None:
    tenant = Tenant()
    mail = {"id": 1, "value": "john@outlook.com", "communicationType": "Email"}
    phone = {"id": 2, "value": "813", "communicationType": "Phone"}
    field = {"id": 5, "caption": "TomNumber", "value": 4}
    tenant.put("/company/contacts", {"id": 1, "communicationItems": [mail, phone]})
    tenant.put("/company/contacts", {"id": 2, "communicationItems": [], "customFields": [field]})
    asked = 'communicationItems/value like "john@*" AND communicationItems/communicationType='
    with serving(tenant) as (_, http):

        def found(**params: str) -> list[int]:
            return ids(http.get("/company/contacts", params=params))

        assert found(childConditions=asked + '"Email"') == [1]
        assert found(childConditions=asked + '"Phone"') == []
        assert found(customFieldConditions='caption="TomNumber" AND value !=null') == [2]
        count = http.get("/company/contacts/count", params={"customFieldConditions": "value = 4"})
        assert count.json() == {"count": 1}


def test_counts_single_records_and_search_agree_with_the_list() -> None:
    with serving(tickets()) as (_, http):
        asked = {"conditions": "board/id = 0"}
        assert http.get(f"{LIST}/count", params=asked).json() == {"count": 3}
        assert ids(http.post(f"{LIST}/search", json=asked)) == [3, 6, 9]
        assert http.get(f"{LIST}/3").json()["summary"] == "Ticket 3"
        missing = http.get(f"{LIST}/404")
        assert missing.status_code == 404
        assert missing.json() == {"code": "NotFound", "message": "Service Ticket 404 not found"}


def test_the_same_question_has_a_new_answer_after_a_change() -> None:
    tenant = tickets()
    with serving(tenant) as (_, http):
        asked = {"conditions": "board/id = 1", "fields": "id"}
        assert ids(http.get(LIST, params=asked)) == [1, 4, 7, 10]
        tenant.edit(LIST, 4, board={"id": 2})
        tenant.delete(LIST, 7)
        tenant.put(LIST, {"id": 13, "board": {"id": 1}})
        assert ids(http.get(LIST, params=asked)) == [1, 10, 13]
        assert len(ids(http.get(LIST))) == 10


def test_children_belong_to_their_parent() -> None:
    tenant = Tenant()
    for board in (3, 4):
        tenant.put("/service/boards", {"id": board})
    tenant.put("/service/boards/3/statuses", {"id": 9, "name": "New"})
    with serving(tenant) as (_, http):
        assert ids(http.get("/service/boards/3/statuses")) == [9]
        assert http.get("/service/boards/3/statuses/count").json() == {"count": 1}
        assert http.get("/service/boards/3/statuses/9").json()["name"] == "New"
        assert ids(http.get("/service/boards/4/statuses")) == []
        assert http.get("/service/boards/5/statuses").status_code == 404


def test_known_lists_may_be_empty_and_unknown_ones_do_not_exist() -> None:
    with serving(Tenant()) as (_, http):
        assert http.get("/service/SLAs/").json() == []
        unknown = http.get("/service/wonders")
        assert unknown.status_code == 404
        assert unknown.json()["message"] == "The endpoint does not exist."
        assert http.get("/procurement/changeorder/count").status_code == 404


def test_a_role_can_lose_a_list_or_a_part_of_it() -> None:
    with serving(tickets()) as (sim, http):
        sim.role.narrow(LIST, lambda record: record["board"]["id"] == 1)
        assert ids(http.get(LIST)) == [1, 4, 7, 10]
        assert http.get(f"{LIST}/count").json() == {"count": 4}
        assert http.get(f"{LIST}/2").status_code == 404
        sim.role.forbid("/service/*")
        assert http.get(LIST).status_code == 403
        sim.role.allow("/service/*")
        sim.role.allow(LIST)
        assert http.get(f"{LIST}/count").json() == {"count": 10}


def test_lists_may_have_quirks() -> None:
    quirks = {LIST: Quirk(ignores_updated=True, no_info=True, more_rows=2, no_count=True)}
    asked = {"conditions": "lastUpdated > [2099-01-01T00:00:00Z] and id > 4", "pageSize": 3}
    with serving(tickets(), quirks=quirks) as (sim, http):
        answer = http.get(LIST, params=asked)
        assert ids(answer) == [5, 6, 7, 8, 9]
        assert not any("_info" in record for record in answer.json())
        assert http.get(f"{LIST}/count").status_code == 404
        sim.quirks[LIST] = Quirk(refuses_conditions=True, no_forward_only=True)
        assert http.get(LIST, params=asked).status_code == 400
        sideways = http.get(LIST, params={"pageId": 5, "pageSize": 4}, headers=FORWARD)
        assert ids(sideways) == [1, 2, 3, 4]
        assert "page=2" in sideways.headers["link"]


def test_more_requests_than_the_budget_are_turned_away_until_it_recovers() -> None:
    with serving(tickets(), requests_per_minute=3, rate_window=0.5) as (_, http):
        answers = [http.get(LIST) for _ in range(4)]
        assert [each.status_code for each in answers] == [200, 200, 200, 429]
        assert answers[-1].headers["retry-after"] == "1"
        assert answers[-1].json()["error"] == "ConnectWiseAPI"
        assert "1 seconds" in answers[-1].json()["message"]


def test_retry_after_can_be_a_date() -> None:
    with serving(tickets(), requests_per_minute=1, retry_after_as_date=True) as (_, http):
        http.get(LIST)
        until = parsedate_to_datetime(http.get(LIST).headers["retry-after"])
        assert 0 < (until - datetime.now(UTC)).total_seconds() <= 61


def test_the_tenant_may_change_between_two_pages() -> None:
    tenant = tickets(4)
    with serving(tenant) as (sim, http):

        def edit(path: str, asked: object) -> None:
            tenant.edit(path, 4, summary="edited")
            assert asked

        sim.before_page(edit)
        assert http.get(LIST).json()[3]["summary"] == "edited"


def test_every_request_is_remembered() -> None:
    with serving(tickets()) as (sim, http):
        http.get(LIST, params={"pageSize": 2}, headers=FORWARD)
        http.get("/nothing/here")
        first, second = sim.requests
        assert (first.method, first.path, first.query) == ("GET", LIST, {"pageSize": "2"})
        assert (first.version, first.forward_only) == ("2025.1", True)
        assert second.status == 404
        assert sim.count_by_path()[LIST] == 1
        sim.requests.clear()
        assert not sim.count_by_path()


def test_cached_pages_are_packed_on_demand_and_follow_every_change() -> None:
    tenant = tickets()
    with serving(tenant, page_cache=True) as (_, http):
        packed = http.get(LIST)
        assert packed.headers["content-encoding"] == "gzip"
        plain = http.get(LIST, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.json() == packed.json() == list(tenant.records(LIST).values())
        tenant.edit(LIST, 3, summary="changed")
        assert http.get(LIST).json() == list(tenant.records(LIST).values())


def test_the_audit_trail_needs_a_type_and_an_id_and_knows_no_forward_only() -> None:
    with serving(seed_tenant(tickets=20)) as (sim, http):
        ticket = next(iter(sim.tenant.records(LIST)))
        assert http.get("/system/audittrail").status_code == 400
        asked = {"type": "Ticket", "id": ticket, "pageSize": 1}
        rows = http.get("/system/audittrail", params=asked, headers=FORWARD)
        assert "id" not in rows.json()[0]
        assert "page=2" in rows.headers["link"]
        second = http.get("/system/audittrail", params={**asked, "page": 2}, headers=FORWARD)
        assert second.json() != rows.json()
        assert http.get("/system/audittrail/count", params=asked).json() == {"count": 2}


def test_the_system_tells_about_itself() -> None:
    with serving(Tenant()) as (_, http):
        assert http.get("/system/info").json()["isCloud"] is True


def test_text_with_stars_matches_any_text_in_their_place() -> None:
    with serving(tickets(12)) as (_, http):

        def found(condition: str) -> list[int]:
            return ids(http.get(LIST, params={"conditions": condition}))

        assert (
            found('summary = "Ticket 1*"') == found('summary like "Ticket 1*"') == [1, 10, 11, 12]
        )
        assert found('summary = "*KET 2"') == [2]
        assert found('summary != "Ticket 1*" and id < 4') == [2, 3]
        assert found('summary = "Ticket%"') == []


def test_light_copies_of_a_list_show_some_fields_of_its_records() -> None:
    with serving(seed_tenant(tickets=20)) as (sim, http):
        boards = sim.tenant.records("/service/boards")
        shown = http.get("/service/info/boards").json()
        assert [each["id"] for each in shown] == list(boards)
        assert {"workRole", "contactTemplate"}.isdisjoint(shown[0])
        assert http.get("/service/info/boards/count").json() == {"count": len(boards)}
        assert ids(http.get("/service/info/boards/active", params={"conditions": "id > 1"})) == [
            each for each, board in boards.items() if each > 1 and not board["inactiveFlag"]
        ]
        types = sim.tenant.records("/company/configurations/types")
        assert ids(http.get("/configurations/types/info")) == list(types)
        first = next(iter(types))
        assert http.get(f"/company/configurations/types/{first}/info").json()["id"] == first
        asked = {"fields": "name,noteDefaults", "conditions": "id = 1"}
        [status] = http.get("/service/boards/1/statuses/info", params=asked).json()
        assert status.keys() == {"name"}
        members = http.get("/system/info/members", params={"orderBy": "id desc"}).json()
        assert "hourlyCost" not in members[0]
        assert ids(http.get("/service/priority/info"))
        assert http.get("/system/info/locales").json() == []
        assert http.get("/time/entries/info").status_code == 404


def test_light_copies_are_only_read_and_follow_what_the_role_forbids_of_their_list() -> None:
    tenant = Tenant()
    for id_ in (1, 5):
        tenant.put("/company/companies", {"id": id_, "name": "A"})
        tenant.put("/service/boards", {"id": id_, "name": "A"})
    with serving(tenant) as (sim, http):
        for method, path in (
            ("POST", "/company/companies/info"),
            ("DELETE", "/company/companies/5/info"),
            ("PUT", "/company/companies/info/5"),
            ("POST", "/service/info/boards"),
            ("PATCH", "/service/info/boards/5"),
            ("POST", "/service/info/boards/active"),
            ("POST", "/company/companies/info/count"),
        ):
            answer = http.request(method, path, json={"name": "B"})
            assert (answer.status_code, answer.headers["Allow"]) == (405, "GET"), path
        companies = [{"id": 1, "name": "A"}, {"id": 5, "name": "A"}]
        assert http.get("/company/companies", params={"fields": "id,name"}).json() == companies
        sim.role.forbid("/service/boards")
        assert http.get("/service/info/boards").status_code == 403
        assert http.get("/service/info/boards/active").status_code == 403
        assert http.get("/company/companies/info").status_code == 200
        sim.role.forbid("/company/companies*")
        assert http.get("/company/companies/info").status_code == 403
        assert http.get("/company/companies/5/info").status_code == 403


def test_a_default_is_the_record_that_is_marked_so_and_else_the_first() -> None:
    tenant = Tenant()
    tenant.put("/procurement/rmaTags", {"id": 1})
    tenant.put("/procurement/rmaTags", {"id": 2, "defaultFlag": True})
    tenant.put("/company/companies", {"id": 7})
    with serving(tenant) as (_, http):
        assert http.get("/procurement/rmaTags/default").json()["id"] == 2
        assert http.get("/company/companies/default").json()["id"] == 7
        assert http.get("/sales/opportunities/default").status_code == 404
        assert http.get("/service/tickets/default").status_code == 404


def test_a_bundle_answers_each_of_its_questions_by_itself() -> None:
    tenant = tickets()
    tenant.put("/service/boards", {"id": 1})
    tenant.put("/service/boards/1/statuses", {"id": 5, "name": "New"})
    requests = [
        {"sequenceNumber": 1, "resourceType": "Ticket", "apiRequest": {"id": 3, "fields": "id"}},
        {
            "resourceType": "ticket",
            "apiRequest": {
                "filters": {"conditions": "board/id = 1", "orderBy": "id desc"},
                "page": {"pageSize": 2},
                "fields": "id",
            },
        },
        {"resourceType": "BoardStatus", "apiRequest": {"parentId": 1, "fields": "name"}},
        {"resourceType": "BoardStatus"},
        {"resourceType": "Wonder"},
        {"resourceType": "Ticket", "apiRequest": {"id": 99}},
        {"resourceType": "Ticket", "apiRequest": {"filters": {"conditions": "summary = x"}}},
        {"resourceType": "Company"},
    ]
    with serving(tenant) as (sim, http):
        sim.role.forbid("/company/*")
        results = http.post("/system/bundles", json={"requests": requests}).json()["results"]
        assert [each["statusCode"] for each in results] == [200, 200, 200, 400, 404, 404, 400, 403]
        assert [each["success"] for each in results] == [True] * 3 + [False] * 5
        assert results[0] == {
            "sequenceNumber": 1,
            "resourceType": "Ticket",
            "success": True,
            "statusCode": 200,
            "entities": [{"id": 3}],
            "count": 1,
        }
        assert results[1]["entities"] == [{"id": 10}, {"id": 7}]
        assert results[2]["entities"] == [{"name": "New"}]
        assert "square brackets" in results[6]["error"]["message"]
        counts = http.post("/system/bundles/count", json={"requests": requests[1:2]}).json()
        assert counts["results"][0]["count"] == 4
        assert http.post("/system/bundles", json={}).status_code == 400
        assert http.get("/system/bundles").status_code == 405


@pytest.mark.parametrize(
    "odd",
    [
        {"id": "x"},
        {"id": [1]},
        {"id": True},
        {"id": 1.5},
        {"filters": [1]},
        {"filters": "id = 1"},
        {"filters": {"conditions": 5}},
        {"filters": {"orderBy": {"id": "desc"}}},
        {"page": "2"},
        {"page": {"pageSize": [2]}},
        {"page": {"page": "two"}},
        [1],
        "id = 1",
        7,
    ],
)
def test_a_request_of_a_bundle_that_makes_no_sense_fails_alone(odd: object) -> None:
    good = {"resourceType": "Ticket", "apiRequest": {"id": 3, "fields": "id"}}
    requests = [{"resourceType": "Ticket", "apiRequest": odd}, good]
    with serving(tickets()) as (_, http):
        for twin in ("", "/count"):
            answer = http.post(f"/system/bundles{twin}", json={"requests": requests})
            bad, well = answer.json()["results"]
            assert (bad["statusCode"], well["statusCode"]) == (400, 200)


def test_a_condition_on_a_field_that_records_do_not_have_is_refused() -> None:
    with serving(tickets()) as (_, http):
        for good in ("boardId = 1", "board/id = 1", "lastUpdated != null", "_info/updatedBy != ''"):
            assert http.get(LIST, params={"conditions": good}).status_code == 200
        for path in (LIST, f"{LIST}/count"):
            refused = http.get(path, params={"conditions": "id > 3 and sumary = 'x'"})
            assert refused.status_code == 400
            assert refused.json()["code"] == "ApiFindCondition"
            assert refused.json()["message"] == "sumary is not a recognized name."


def test_a_url_that_is_too_long_is_refused_and_a_search_is_not() -> None:
    with serving(tickets()) as (_, http):
        long = {"conditions": f"id in ({', '.join(str(each) for each in range(2500))})"}
        assert http.get(LIST, params=long).status_code == 414
        assert len(ids(http.post(f"{LIST}/search", json=long))) == 10
