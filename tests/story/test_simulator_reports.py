"""The reporting API of the simulator."""

from __future__ import annotations

from cw_pipeline.simulator import seed_tenant
from tests.story.simulated import serving, tickets

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
