"""Projects with phases, team, notes and their tickets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.simulator.seed.people import MEMBERS
from cw_pipeline.simulator.seed.tickets import notes
from cw_pipeline.simulator.seed.words import NOTES, THINGS
from cw_pipeline.simulator.seed.world import (
    DAY,
    HOUR,
    Company,
    Ref,
    Ticket,
    day,
    guid,
    iso,
    reference,
)

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.boards import Board
    from cw_pipeline.simulator.seed.world import World

PROJECTS = "/project/projects"
TICKETS = "/project/tickets"
_PHASES = ("Plan", "Build", "Hand over")


def make(world: World, board: Board) -> None:
    """A project for every 300 tickets, at least four, on the project board."""
    for at in range(max(4, world.tickets_wanted // 300)):
        _project(world, board, closed=at % 3 == 0)


def _project(world: World, board: Board, *, closed: bool) -> None:
    dice, company = world.dice, world.company()
    record_id, began = world.next_id(PROJECTS, 12), world.when(None, world.now - 100 * DAY)
    name = f"{dice.choice(THINGS).title()} rollout {record_id}"
    status = world.refs["/project/statuses"][3 if closed else 1]
    ended = began + 90 * DAY
    record = {
        "id": record_id,
        "name": name,
        "actualHours": dice.randint(10, 600) / 4,
        "actualStart": day(began),
        "actualEnd": day(ended) if closed else None,
        "agreement": company.agreement.raw if company.agreement else None,
        "billExpenses": "Billable",
        "billProducts": "Billable",
        "billTime": "Billable",
        "billingAmount": float(dice.randint(0, 90) * 100),
        "billingMethod": dice.choice(("ActualRates", "FixedFee", "NotToExceed")),
        "billingRateType": "WorkRole",
        "billingTerms": world.raw("/finance/billingTerms"),
        "billProjectAfterClosedFlag": False,
        "billUnapprovedTimeAndExpense": False,
        "board": board.ref.raw,
        "budgetAnalysis": "ActualHours",
        "budgetFlag": False,
        "budgetHours": float(dice.randint(10, 160)),
        "company": company.ref.raw,
        "contact": company.contacts[0].raw,
        "currency": world.refs["/finance/currencies"][0].raw,
        "description": dice.choice(NOTES),
        "downpayment": 0.0,
        "estimatedStart": day(began),
        "estimatedEnd": day(ended),
        "estimatedHours": float(dice.randint(10, 160)),
        "estimatedTimeCost": 0.0,
        "estimatedTimeRevenue": float(dice.randint(10, 200) * 100),
        "estimatedExpenseRevenue": 0.0,
        "estimatedProductRevenue": 0.0,
        "includeDependenciesFlag": True,
        "includeEstimatesFlag": True,
        "location": world.raw("/system/locations"),
        "department": world.raw("/system/departments"),
        "manager": world.raw(MEMBERS),
        "percentComplete": 1.0 if closed else dice.randint(0, 9) / 10,
        "restrictDownPaymentFlag": False,
        "scheduledHours": 0.0,
        "site": company.site.raw,
        "status": status.raw,
        "closedFlag": closed,
        "type": world.raw("/project/projectTypes"),
        "doNotDisplayInPortalFlag": False,
        "customFields": dice.choice(world.custom["project"]),
    }
    world.put(PROJECTS, record, began, ended if closed else world.when(began))
    ref = world.refer(PROJECTS, "project", record_id, name)
    _team(world, record_id, began)
    note = {
        "id": world.next_id("projectNotes"),
        "projectId": record_id,
        "text": dice.choice(NOTES),
        "type": world.raw("/company/noteTypes"),
        "flagged": False,
    }
    world.put(f"{PROJECTS}/{record_id}/notes", note, began)
    for at in range(len(_PHASES)):
        made = _phase(world, board, ref, at, began)
        for number in range(dice.randint(1, 6)):
            wbs = f"{at + 1}.{number + 1}"
            _ticket(world, board, company, (ref, made), (wbs, began + at * 25 * DAY, closed))


def _team(world: World, project_id: int, began: int) -> None:
    for member in world.dice.sample(world.refs[MEMBERS], 2):
        record = {
            "id": world.next_id("teamMembers"),
            "projectId": project_id,
            "hours": 40.0,
            "member": member.raw,
            "projectRole": {"id": 1, "identifier": "Engineer"},
            "workRole": world.raw("/time/workRoles"),
            "startDate": day(began),
            "endDate": day(began + 90 * DAY),
        }
        world.put(f"{PROJECTS}/{project_id}/teamMembers", record, began)


def _phase(world: World, board: Board, project: Ref, at: int, began: int) -> Ref:
    path = f"{PROJECTS}/{project.id}/phases"
    record_id = world.next_id("phases", 40)
    starts = began + at * 25 * DAY
    record = {
        "id": record_id,
        "projectId": project.id,
        "description": _PHASES[at],
        "board": board.ref.raw,
        "status": world.raw("/project/phaseStatuses"),
        "wbsCode": str(at + 1),
        "billTime": "Billable",
        "billExpenses": "Billable",
        "billProducts": "Billable",
        "markAsMilestoneFlag": at == len(_PHASES) - 1,
        "notes": "",
        "deadlineDate": day(starts + 25 * DAY),
        "billSeparatelyFlag": False,
        "billingMethod": "ActualRates",
        "scheduledHours": 0.0,
        "scheduledStart": day(starts),
        "scheduledEnd": day(starts + 25 * DAY),
        "actualHours": world.dice.randint(0, 90) / 4,
        "budgetHours": float(world.dice.randint(4, 60)),
        "locationId": 1,
        "businessUnitId": 1,
        "hourlyRate": 0.0,
    }
    world.put(path, record, began, world.when(began))
    return reference(path, "phase", record_id, _PHASES[at])


def _ticket(
    world: World,
    board: Board,
    company: Company,
    part_of: tuple[Ref, Ref],
    course: tuple[str, int, bool],
) -> None:
    dice = world.dice
    (project, phase), (wbs, entered, closed) = part_of, course
    record_id = world.next_id("tickets", 1001)
    summary = f"Set up {dice.choice(THINGS)}"
    status = ">Closed" if closed else "In Progress"
    last = world.when(entered, entered + 60 * DAY)
    record = {
        "id": record_id,
        "summary": summary,
        "isIssueFlag": False,
        "board": board.ref.raw,
        "status": board.statuses[status].raw,
        "workRole": world.raw("/time/workRoles"),
        "workType": world.raw("/time/workTypes"),
        "project": project.raw,
        "phase": phase.raw,
        "wbsCode": wbs,
        "company": company.ref.raw,
        "site": company.site.raw,
        "siteName": "Main",
        "contact": company.contacts[0].raw,
        "contactName": company.contacts[0].name,
        "type": board.types[0].raw,
        "owner": world.raw(MEMBERS),
        "priority": world.raw("/service/priorities"),
        "serviceLocation": world.raw("/service/locations"),
        "source": world.raw("/service/sources"),
        "budgetHours": float(dice.randint(1, 16)),
        "actualHours": dice.randint(0, 60) / 4,
        "approved": True,
        "allowAllClientsPortalView": False,
        "closedFlag": closed,
        "closedDate": iso(last) if closed else None,
        "closedBy": world.by[-1] if closed else None,
        "subBillingMethod": "ActualRates",
        "billTime": "Billable",
        "billExpenses": "Billable",
        "billProducts": "Billable",
        "predecessorClosedFlag": False,
        "lagDays": 0,
        "lagNonworkingDaysFlag": False,
        "estimatedStartDate": day(entered),
        "duration": dice.randint(1, 9),
        "location": world.raw("/system/locations"),
        "department": world.raw("/system/departments"),
        "mobileGuid": guid(dice),
        "tasks": [{"id": record_id * 10, "summary": "Check", "resolution": ""}],
        "customFields": dice.choice(world.custom["ticket"]),
    }
    world.put(TICKETS, record, entered, last)
    ref = reference(TICKETS, "ticket", record_id, summary, summary=summary)
    ticket = Ticket(record_id, ref, company, board.ref.name, status, entered, last, project, phase)
    world.tickets.append(ticket)
    if world.chance(0.3):
        notes(world, TICKETS, record_id, entered, last + HOUR)
