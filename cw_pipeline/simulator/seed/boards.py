"""Service boards with everything under them, and the SLAs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator.seed.people import MEMBERS
from cw_pipeline.simulator.seed.sla import HOURS
from cw_pipeline.simulator.seed.world import DAY, Ref, guid, reference

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.world import World

BOARDS = "/service/boards"
CLOSED_BOARD = "Old Board"
"""In use in the first two years only."""
_NAMES = ("Help Desk", "Network Operations", "Alerts", "Field Service", "Accounts", CLOSED_BOARD)
_PROJECTS = "Projects"
_STATUSES = (
    ("New", "NotResponded", False),
    ("Assigned", "Responded", False),
    ("In Progress", "ResolutionPlan", False),
    ("Waiting Customer", "NoEscalation", False),
    ("Re-opened", "ResolutionPlan", False),
    ("Completed", "Resolved", True),
    (">Closed", "Resolved", True),
)
_TYPES = ("Incident", "Service Request", "Problem", "Change")
_SUBTYPES = ("Email", "Network", "Hardware", "Software", "Security")
_ITEMS = ("Add", "Change", "Remove")


@dataclass(slots=True)
class Board:
    """A board's references, for tickets that must agree with it."""

    ref: Ref
    project: bool
    statuses: dict[str, Ref] = field(default_factory=dict)
    types: list[Ref] = field(default_factory=list)
    subtypes: list[Ref] = field(default_factory=list)
    items: list[Ref] = field(default_factory=list)
    teams: list[Ref] = field(default_factory=list)


def make(world: World) -> list[Board]:
    """The boards, the project board last."""
    _slas(world)
    boards = [_board(world, name, inactive=name == CLOSED_BOARD) for name in _NAMES]
    return [*boards, _board(world, _PROJECTS, project=True)]


def _board(world: World, name: str, *, project: bool = False, inactive: bool = False) -> Board:
    record_id = world.next_id(BOARDS)
    record = {
        "id": record_id,
        "name": name,
        "location": world.raw("/system/locations"),
        "department": world.raw("/system/departments"),
        "inactiveFlag": inactive,
        "projectFlag": project,
        "signOffTemplate": {},
        "billTime": "Billable",
        "billExpense": "Billable",
        "billProduct": "Billable",
        "workRole": world.raw("/time/workRoles"),
        "workType": world.raw("/time/workTypes"),
        "problemSort": "Ascending",
        "notifyEmailFrom": "",
        "connectWiseId": guid(world.dice),
    }
    world.put(BOARDS, record, world.start, world.when())
    board = Board(world.refer(BOARDS, "board", record_id, name), project)
    for at, (status, escalation, closed) in enumerate(_STATUSES):
        fields = {
            "sortOrder": at,
            "displayOnBoard": True,
            "inactive": False,
            "closedStatus": closed,
            "defaultFlag": at == 0,
            "escalationStatus": escalation,
        }
        made = _child(world, board, "statuses", "status", status, fields, Sort=at)
        board.statuses[status] = made
    for kind, names in (("types", _TYPES), ("subtypes", _SUBTYPES), ("items", _ITEMS)):
        for each in names:
            made = _child(world, board, kind, kind[:-1], each, {"inactiveFlag": False})
            getattr(board, kind).append(made)
    team = {
        "teamLeader": world.raw(MEMBERS),
        "members": [ref.id for ref in world.refs[MEMBERS][:4]],
        "defaultFlag": True,
        "boardId": record_id,
        "locationId": 1,
        "businessUnitId": 1,
    }
    board.teams.append(_child(world, board, "teams", "team", f"{name} Team", team))
    return board


def _child(
    world: World,
    board: Board,
    collection: str,
    kind: str,
    name: str,
    fields: dict[str, Any],
    **shown: Any,  # noqa: ANN401
) -> Ref:
    path = f"{BOARDS}/{board.ref.id}/{collection}"
    record_id = world.next_id(f"boards/{collection}")
    record = {"id": record_id, "name": name, **fields}
    if collection != "teams":
        record["board"] = board.ref.raw
    world.put(path, record, world.start, world.when(world.start, world.start + 90 * DAY))
    return reference(path, kind, record_id, name, **shown)


def _slas(world: World) -> None:
    """The standard agreement counts business hours; premium promises half of them, at all hours."""
    path = "/service/SLAs"
    percents = {"respondPercent": 90, "planWithinPercent": 85, "resolutionPercent": 80}
    for at, (name, based_on) in enumerate(
        (("Standard SLA", "MyCalendar"), ("Premium SLA", "AllHours"))
    ):
        row = {"name": name, "defaultFlag": at == 0, "basedOn": based_on}
        world.lookups(path, "sla", [{**row, **_promise(2, at), **percents}])
        sla = world.refs[path][-1]
        for number, priority in enumerate(world.refs["/service/priorities"]):
            record = {
                "id": world.next_id("slaPriorities"),
                "priority": priority.raw,
                **_promise(number, at),
                **percents,
                "sla": sla.raw,
            }
            world.put(f"{path}/{sla.id}/priorities", record, world.start)


def _promise(priority: int, premium: int) -> dict[str, float]:
    names = ("respondHours", "planWithin", "resolutionHours")
    return {name: hours / (1 + premium) for name, hours in zip(names, HOURS[priority], strict=True)}
