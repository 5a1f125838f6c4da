"""What keeps a tenant from being read, as commands say it: most of all `check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.simulator import Quirk
from cw_pipeline.simulator.answers import Answer, refusal

if TYPE_CHECKING:
    from cw_pipeline.simulator import Simulator
    from tests.story.conftest import Shell

pytestmark = pytest.mark.usefixtures("few_records")

TICKETS, BOARDS, TYPES = "service/tickets", "service/boards", "service/boards/types"
PATH = "/service/tickets"


def test_check_tells_what_each_list_can_and_remembers_it(
    shell: Shell, simulator: Simulator
) -> None:
    simulator.role.forbid("/service/boards")
    simulator.quirks["/service/tickets"] = Quirk(ignores_updated=True)
    code, out, _ = shell.run("check", "--deep")
    assert code == 1
    assert "✓ typing: by " in out
    assert "✓ keys and clientId: accepted" in out
    assert "✗ service/boards: 403: the API member's role needs Service Desk" in out
    known = "select entity, readable, filterable, forward_only, by_id from cw_sync.capability"
    assert (TICKETS, True, False, True, True) in shell.rows(known)
    assert (BOARDS, False, None, None, None) in shell.rows(known)


def test_check_finds_no_fault_with_a_list_that_has_no_parent_yet(shell: Shell) -> None:
    code, out, _ = shell.run("check", "service/templates", "service/templates/tasks")
    assert code == 0
    assert "! service/templates/tasks: no parent to ask it of" in out


def test_check_costs_two_requests_a_list(shell: Shell, simulator: Simulator) -> None:
    assert shell.run("check")[0] == 0
    asked = [seen for seen in simulator.requests if seen.path.startswith("/service/tickets")]
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("name", "value", "said", "exits"),
    [
        ("CW_SITE", "http://psa.example.com", "plain http", 2),
        ("CW_SITE", "http://127.0.0.1:9", "cannot connect", 1),
        ("CW_COMPANY", "dmeo", "is not known", 1),
        ("CW_PUBLIC_KEY", "pubic", "CW_PUBLIC_KEY", 1),
        ("CW_CLIENT_ID", "none", "CW_CLIENT_ID", 1),
        ("CW_WAREHOUSE_DSN", "postgresql://nobody@127.0.0.1:9/none", "CW_WAREHOUSE_DSN", 2),
    ],
)
def test_check_names_the_setting_to_mend(
    shell: Shell, name: str, value: str, said: str, exits: int
) -> None:
    shell.monkeypatch.setenv(name, value)
    code, out, _ = shell.run("check")
    assert code == exits
    assert [line for line in out.splitlines() if line.startswith("✗") and said in line], out


def answers_instead(simulator: Simulator, answer: Answer, *paths: str) -> None:
    """Lets the tenant give one answer to all who ask for these."""
    for path in paths:
        simulator.own_routes["GET", f"/v2025_1/apis/3.0{path}"] = lambda: answer


def test_check_knows_that_404_everywhere_means_keys_or_host(
    shell: Shell, simulator: Simulator
) -> None:
    missing = refusal(404, "NotFound", "Not found")
    answers_instead(simulator, missing, "/system/info", "/company/companies")
    code, out, _ = shell.run("check")
    assert code == 1
    (said,) = [line for line in out.splitlines() if line.startswith("✗")]
    assert f"everything at {simulator.url}/v2025_1/apis/3.0 answers 404" in said
    assert "CW_PUBLIC_KEY" in said
    assert "CW_SITE names the wrong host" in said


def test_check_takes_one_missing_address_for_what_it_is(shell: Shell, simulator: Simulator) -> None:
    answers_instead(simulator, refusal(404, "NotFound", "Not found"), "/system/info")
    assert shell.run("check")[0] == 0


def test_a_version_that_the_tenant_refuses_is_named_with_one_to_set(
    shell: Shell, simulator: Simulator
) -> None:
    shell.monkeypatch.setenv("CW_API_VERSION", "2031.1")
    unknown = refusal(400, "InvalidVersion", "The version is not supported.")
    answers_instead(simulator, unknown, "/system/info", "/service/boards")
    code, out, _ = shell.run("check")
    assert code == 1
    assert "✗ API version: CW_API_VERSION=2031.1 is refused (GET /system/info: 400" in out
    assert "set CW_API_VERSION=2025.1 or an older one" in out
    assert "keys" not in out
    assert "Check CW_API_VERSION" in shell.run("sync", BOARDS)[2]


def test_check_says_what_it_created_and_then_creates_nothing(shell: Shell) -> None:
    with psycopg.connect(shell.dsn) as connection:
        connection.execute("drop schema if exists cw_sync, connectwise, reporting cascade")
    out = shell.run("check")[1]
    assert "✓ warehouse: created the schemas cw_sync and connectwise with" in out
    assert "✓ warehouse: up to date, schema connectwise" in shell.run("check")[1]
    out = shell.run("check", "company/companies")[1]
    assert "✓ warehouse: created " in out
    assert "; up to date, schema connectwise" in out


def test_check_says_what_lists_below_parents_cost_at_a_first_load(shell: Shell) -> None:
    notes, tasks = "service/tickets/notes", "service/tickets/tasks"
    out = shell.run("check", TICKETS, notes, tasks)[1]
    assert f"✓ first load: 60 requests for lists that are read parent by parent ({notes} 30" in out
    assert "first load" not in shell.run("check", TICKETS)[1]


def test_a_refused_version_is_never_the_one_to_set(shell: Shell, simulator: Simulator) -> None:
    shell.monkeypatch.setenv("CW_API_VERSION", "2025.1")
    unknown = refusal(400, "InvalidVersion", "The version is not supported.")
    answers_instead(simulator, unknown, "/system/info", "/service/boards")
    out = shell.run("check")[1]
    assert "✗ API version: CW_API_VERSION=2025.1 is refused" in out
    assert "set CW_API_VERSION to an older one" in out
    assert "set CW_API_VERSION=2025.1" not in out


def test_a_sync_that_finds_nothing_at_all_says_once_what_to_check(
    shell: Shell, simulator: Simulator
) -> None:
    missing = refusal(404, "NotFound", "Not found")
    answers_instead(simulator, missing, "/service/boards", "/service/tickets")
    code, _, err = shell.run("sync", BOARDS, TICKETS)
    assert code == 1
    (said,) = err.splitlines()
    assert "all 2 entities answer 404" in said
    assert "CW_PUBLIC_KEY" in said
    assert "CW_SITE names the wrong host" in said


def test_a_request_is_shown_as_people_read_it(shell: Shell, simulator: Simulator) -> None:
    answers_instead(simulator, refusal(409, "Conflict", "Not now."), PATH)
    err = shell.run("sync", TICKETS, "--since", "2025-06-01")[2]
    assert "409 Not now" in err
    assert "conditions=lastUpdated >= [2025-06-01T00:00:00Z])" in err
    assert "%" not in err


@pytest.mark.parametrize(("version", "warned"), [("2025.2", True), ("2025.1", False)])
def test_check_warns_of_a_tenant_that_is_older_than_the_version_asked_for(
    shell: Shell, version: str, *, warned: bool
) -> None:
    shell.monkeypatch.setenv("CW_API_VERSION", version)
    code, out, _ = shell.run("check")
    assert code == 0
    told = "! API version: the tenant has release 2025.1, which is older than CW_API_VERSION=2025.2"
    assert (told in out) == warned
    assert (f"✓ API version: {version}" in out) != warned
    steps = {step["step"]: step for step in shell.json("check")["steps"]}
    assert steps["API version"]["warning"] == warned


def test_check_names_the_versions_that_are_older_than_a_year(shell: Shell) -> None:
    shell.monkeypatch.setenv("CW_API_VERSION", "2025.1,service/*=2021.3")
    code, out, _ = shell.run("check")
    assert code == 0
    (told,) = [line for line in out.splitlines() if "older than 12 months" in line]
    assert told.startswith(
        "! age of the API version: 2025.1 (all other lists), 2021.3 (service/*) is older"
    )


def test_check_says_in_which_time_zone_days_are_counted_and_proposes_the_tenants(
    shell: Shell, simulator: Simulator
) -> None:
    setups = "/system/timeZoneSetups"
    simulator.tenant.put(setups, {"id": 1, "name": "US Eastern", "offset": -5, "defaultFlag": True})
    simulator.tenant.put(setups, {"id": 2, "name": "Zürich", "offset": 1, "defaultFlag": False})
    _, out, _ = shell.run("check", TICKETS)
    assert "! time zone: reports count days in UTC, the tenant works in America/New_York" in out
    assert "set CW_TIME_ZONE=America/New_York" in out
    shell.monkeypatch.setenv("CW_TIME_ZONE", "America/Toronto")
    _, out, _ = shell.run("check", TICKETS)
    assert "✓ time zone: America/Toronto, as the tenant's (US Eastern, its default)" in out
    # Without a default it is the one that members have.
    simulator.tenant.edit(setups, 1, defaultFlag=False)
    for member, zone in ((91, 2), (92, 2), (93, 1)):
        simulator.tenant.put("/system/members", {"id": member, "timeZone": {"id": zone}})
    _, out, _ = shell.run("check", TICKETS)
    assert "the tenant works in Europe/Zurich (Zürich, that of 2 of 3 members)" in out
