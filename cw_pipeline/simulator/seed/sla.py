"""Promises of a service level agreement: its clock, and how a ticket goes through its stages.

A ticket reaches the stages in their order and never goes back: responded, planned, resolved. The
clock of the standard agreement runs in business hours, that of the premium one always; neither runs
while the ticket waits for somebody else, and its goals move by as much.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from cw_pipeline.simulator.seed.world import DAY, HOUR, iso

if TYPE_CHECKING:
    from collections.abc import Container
    from datetime import date

    from cw_pipeline.simulator.seed.world import World

ZONE = ZoneInfo("America/New_York")
OPENS, CLOSES = time(8), time(17)
HOURS = ((0.5, 2.0, 4.0), (1.0, 4.0, 8.0), (2.0, 8.0, 24.0), (4.0, 16.0, 40.0))
"""Hours to respond, to a plan and to a resolution, for each priority; half of it in premium."""
Reading = Literal["per stage", "cumulative"]
"""How a tenant counts minutes: of each stage by itself, or from the entering of the ticket."""
_OPEN_SECONDS = (CLOSES.hour - OPENS.hour) * HOUR
_SHARE = (0.22, 0.22, 0.25)  # of its goal that a stage takes on average; some take too long


class AllHours:
    """A clock that always runs."""

    def seconds_at(self, at: int) -> int:
        """Seconds that the clock shows at a moment."""
        return at

    def at(self, shown: int) -> int:
        """The moment when it shows so many seconds."""
        return shown


class BusinessHours:
    """A clock that runs Monday to Friday from eight to five, local time, and not on holidays."""

    def __init__(self, first: int, last: int, holidays: Container[date]) -> None:
        self._opens: list[int] = []
        begin = datetime.fromtimestamp(first, UTC).date() - timedelta(days=7)
        for offset in range((last - first) // DAY + 21):
            day = begin + timedelta(days=offset)
            if day.weekday() < 5 and day not in holidays:  # noqa: PLR2004 - Saturday
                self._opens.append(int(datetime.combine(day, OPENS, ZONE).timestamp()))

    def seconds_at(self, at: int) -> int:
        """Seconds that the clock shows at a moment."""
        days = bisect_right(self._opens, at)
        if not days:
            return 0
        return (days - 1) * _OPEN_SECONDS + min(at - self._opens[days - 1], _OPEN_SECONDS)

    def at(self, shown: int) -> int:
        """The moment when it shows so many seconds."""
        days, rest = divmod(shown, _OPEN_SECONDS)
        return self._opens[min(days, len(self._opens) - 1)] + rest


Clock = AllHours | BusinessHours


class Stage(NamedTuple):
    """A stage: when it was reached, None if it was skipped, and the seconds that were promised."""

    at: int | None
    minutes: int
    skipped_minutes: int
    total_minutes: int
    goal_at: int
    promised: int


@dataclass(frozen=True, slots=True)
class Course:
    """How a ticket goes to its resolution; `waits` is when its clock stands, if it ever does."""

    clock: Clock
    entered: int
    respond: Stage
    plan: Stage
    resolve: Stage
    waits: tuple[int, int] | None

    @property
    def stages(self) -> tuple[Stage, Stage, Stage]:
        """In their order."""
        return self.respond, self.plan, self.resolve

    def status(self, at: int) -> str:
        """The status that the ticket has at a moment before its resolution."""
        if self.waits and self.waits[0] <= at < self.waits[1]:
            return "Waiting Customer"
        for stage, status in ((self.plan, "In Progress"), (self.respond, "Assigned")):
            if stage.at is not None and stage.at <= at:
                return status
        return "New"


def course(
    world: World, clock: Clock, entered: int, hours: tuple[float, float, float], faster: int
) -> Course:
    """Where a ticket's stages lie, its `hours` being promised so many times `faster`.

    Some stages are skipped: the ticket goes on to a later one at once.
    """
    dice = world.dice
    goals = [round(each / faster * HOUR) for each in hours]
    begin = clock.seconds_at(entered)
    spent = [
        60 + int(dice.expovariate(1 / (share * goal)))
        for share, goal in zip(_SHARE, goals, strict=True)
    ]
    reached = begin
    shown: list[int] = []  # by the clock, as if it never stood
    for seconds in spent:
        reached += seconds
        shown.append(reached)
    # Who is quick sees no need for a status in between; now and then it was not that quick.
    skips_plan = shown[2] - begin < 1.05 * goals[1] and world.chance(0.6)
    until_next = shown[2 if skips_plan else 1] - begin
    skips_response = until_next < 1.2 * goals[0] and world.chance(0.35)
    wait = _wait(world)
    stands = shown[1] + spent[2] // 2 if wait else 0
    ends = (shown[0], shown[1], shown[2] + wait)
    moments = [clock.at(each) for each in ends]
    stages = []
    last = begin
    for number, skipped in enumerate((skips_response, skips_plan, False)):
        # What was skipped counts up to the stage that came instead.
        instead = 1 if number == 0 and not skips_plan else 2
        until = shown[instead] if skipped else shown[number]
        minutes, total = (until - last) // 60, (until - begin) // 60
        # The goals of stages that are not reached yet move while the ticket waits.
        moved = wait if number == len(spent) - 1 or (skipped and instead == len(spent) - 1) else 0
        goal = clock.at(begin + goals[number] + moved)
        if skipped:
            stages.append(Stage(None, 0, minutes, total, goal, goals[number]))
        else:
            stages.append(Stage(moments[number], minutes, 0, total, goal, goals[number]))
            last = shown[number]
    waits = (clock.at(stands), clock.at(stands + wait)) if wait else None
    return Course(clock, entered, stages[0], stages[1], stages[2], waits)


def _wait(world: World) -> int:
    """How long the clock stands: mostly not at all, for days where the client has to answer."""
    if world.chance(0.04):
        return int(world.dice.uniform(5 * DAY, 12 * DAY))  # business hours: a month or more
    if world.chance(0.22):
        return int(world.dice.expovariate(1 / (10 * HOUR))) + HOUR
    return 0


def fields(
    course: Course, now: int, who: str, reading: Reading, *, resolved: bool
) -> dict[str, Any]:
    """What the ticket's record says of its stages now.

    Minutes are those of the clock. A stage that is skipped has no date; its minutes are known once
    a later one is reached, and belong to that one, too.
    """
    made: dict[str, Any] = {
        "respondByGoalUTC": iso(course.respond.goal_at),
        "resplanGoalUTC": iso(course.plan.goal_at),
        "resolutionGoalUTC": iso(course.resolve.goal_at),
        "escalationStartDateUTC": iso(course.entered),
        "escalationLevel": 0,
        "minutesBeforeWaiting": 0,
        "minutesWaiting": 0,
        "respondedSkippedMinutes": 0,
        "resplanSkippedMinutes": 0,
    }
    names = (
        ("dateResponded", "respondMinutes", "respondedHours", "respondedBy"),
        ("dateResplan", "resPlanMinutes", "resplanHours", "resplanBy"),
        ("dateResolved", "resolveMinutes", "resolutionHours", "resolvedBy"),
    )
    until = course.resolve.at if resolved and course.resolve.at is not None else now
    total = 0
    for stage, (date, minutes, hours, by) in zip(course.stages, names, strict=True):
        if stage.at is None or stage.at > until or (stage is course.resolve and not resolved):
            made[minutes] = 0
            continue
        total += stage.minutes
        made[date] = iso(stage.at)
        made[minutes] = stage.minutes if reading == "per stage" else total
        made[hours] = round(total / 60, 2)
        made[by] = who
    if reading == "per stage":
        _skip(made, course, until, resolved=resolved)
    if course.waits and course.waits[0] <= until:
        stood = course.clock.seconds_at(min(until, course.waits[1])) - course.clock.seconds_at(
            course.waits[0]
        )
        made["minutesWaiting"] = stood // 60
    made["isInSla"] = _verdict(course, until, resolved=resolved)
    return made


def _verdict(course: Course, until: int, *, resolved: bool) -> bool:
    """ConnectWise's own, by minutes: what was skipped counts as reached when it was passed over.

    Its rule is not public. An open ticket that nobody has touched is said to be out of SLA.
    """
    if resolved:
        return all(stage.total_minutes * 60 <= stage.promised for stage in course.stages)
    if course.status(until) == "New":
        return False
    return all(
        stage.goal_at >= (stage.at if stage.at is not None and stage.at <= until else until)
        for stage in course.stages
    )


def _skip(made: dict[str, Any], course: Course, until: int, *, resolved: bool) -> None:
    planned = course.plan.at is not None and course.plan.at <= until
    if course.respond.at is None and (planned or resolved):
        made["respondedSkippedMinutes"] = course.respond.skipped_minutes
    if course.plan.at is None and resolved:
        made["resplanSkippedMinutes"] = course.plan.skipped_minutes
