"""How far an entity has come, and what is asked for next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

_NO_DATE_LAG = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Three clocks at one moment: the source's, this machine's and the warehouse's.

    `source` is None if its answer had no `Date`, `warehouse` if it is not known. They agree if the
    source's is no more than `tolerance` from each of the others.
    """

    source: datetime | None
    machine: datetime
    warehouse: datetime | None = None
    tolerance: timedelta = timedelta(seconds=60)

    @property
    def at(self) -> datetime:
        """The source's time as far as it is believed: never later than it can be.

        Too early makes the next window begin earlier, which reads some records again. Too late
        would leave out what changes until then.
        """
        earliest = min(self.machine, self.reference)
        if self.source is None:
            return earliest - _NO_DATE_LAG
        if self.source <= earliest + self.tolerance:
            return self.source
        return earliest

    @property
    def reference(self) -> datetime:
        """The clock by which time that has passed is measured: the warehouse's, if it is known."""
        return self.warehouse or self.machine

    @property
    def disorder(self) -> str:
        """Which clocks disagree, by how much, and what to do; empty if they agree."""
        clocks = {
            "this machine's clock": self.machine,
            "the warehouse's clock (Postgres)": self.warehouse,
            "the clock of ConnectWise (`Date` of its answers)": self.source,
        }
        known = {name: at for name, at in clocks.items() if at is not None}
        if max(known.values()) - min(known.values()) <= self.tolerance:
            return ""
        odd = [name for name, at in known.items() if self._is_far(at, *known.values())]
        # With three, the one that is far from both others is wrong; else nobody knows which.
        alone = [
            name
            for name in odd
            if all(self._is_far(known[name], known[o]) for o in known if o != name)
        ]
        one = alone[0] if len(alone) == 1 else odd[-1]
        others = [name for name in known if name != one]
        apart = " and ".join(_compare(known[one], known[name], name) for name in others)
        return (
            f"the clocks disagree: {one} is {apart}. The earliest is believed, so that more is read"
            " again and nothing is left out. See that time synchronization (NTP) runs, and that the"
            " time zone is right"
        )

    def _is_far(self, at: datetime, *others: datetime) -> bool:
        return any(abs(at - other) > self.tolerance for other in others)


def _compare(at: datetime, other: datetime, name: str) -> str:
    span = timedelta(seconds=round(abs(at - other).total_seconds()))
    return f"{span} {'ahead of' if at > other else 'behind'} {name}"


def utc_datetime(day: date) -> datetime:
    """A point in time: in UTC where no zone is said, midnight where no time is."""
    at = day if isinstance(day, datetime) else datetime.combine(day, time())
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


@dataclass(frozen=True, slots=True)
class Window:
    """A span of source time: from `since` on, inclusive.

    A live pass has no upper bound in its question; `until` is only what its watermark becomes.
    A backfill's window is closed above: before `until`, exclusive. `opened_at`: when a pass began,
    by the warehouse's clock; None where that was not noted.
    """

    since: datetime | None
    until: datetime
    opened_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IdRange:
    """Ids after `cursor`, up to and including `upto` (None: no upper end), still to be read."""

    after: int
    upto: int | None
    cursor: int

    def advanced_to(self, cursor: int) -> IdRange:
        """This range with its cursor moved forward. Raises ValueError if it would move back."""
        if cursor <= self.cursor:
            raise ValueError(f"cursor must advance: {cursor} after {self.cursor}")
        return replace(self, cursor=cursor)


TAIL = IdRange(0, None, 0)


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The source's clock was set forward lately.

    What was stamped before may be committed after, by a time that the overlap with the last pass
    does not reach back. So passes that begin before `until`, on the warehouse's clock, and the
    first one after it, overlap with the pass before the step, whose watermark was `since`.
    """

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one entity has come, as stored.

    Every change up to `watermark` is in the warehouse; the pass that made it began at
    `watermark_at` by the warehouse's clock (None: not noted). `window` is the open pass, if one was
    cut short; `tail` is its open-ended range of ids, `ranges` the closed ones that were split off
    to be read side by side. `step`: the source's clock was set forward, and changes that were
    stamped before may still come.
    """

    watermark: datetime | None = None
    window: Window | None = None
    tail: IdRange = TAIL
    ranges: tuple[IdRange, ...] = ()
    watermark_at: datetime | None = None
    step: ClockStep | None = None

    def open_pass(
        self, clock: ClockReading, overlap: timedelta, *, whole: bool = False
    ) -> Checkpoint:
        """Resumes the open pass, or opens the next one, up to the source's time now.

        `whole` opens one that reads everything, whatever the watermark says. A watermark that the
        clocks contradict is pulled back: see `trusted_watermark`.
        """
        if self.window is not None:
            return self
        watermark, step = self.trusted_watermark(clock), self._latest_step(clock, overlap)
        since = None
        if watermark is not None and not whole:
            since = (watermark if step is None else min(watermark, step.since)) - overlap
        window = Window(since, clock.at.replace(microsecond=0), clock.reference)
        return Checkpoint(watermark, window, watermark_at=self.watermark_at, step=step)

    def trusted_watermark(self, clock: ClockReading) -> datetime | None:
        """Up to when every change can be in the warehouse, as the clocks stand now.

        That is the watermark, unless the source's clock was set back since: then it is what that
        clock, as it goes now, showed when the pass behind the watermark began. Within the clocks'
        tolerance the overlap makes up for it. None if nobody knows: the watermark is ahead of every
        clock, and when it was made was not noted, or with clocks that were just as wrong.
        """
        if self.watermark is None:
            return None
        began = self.watermark_at
        # What is later lies in the future, whichever of the clocks is right.
        latest_possible = max(clock.machine, clock.reference) + clock.tolerance
        if began is None or began > latest_possible:
            if self.watermark > latest_possible:
                return None
            earliest = min(self.watermark, clock.at)
        else:
            earliest = min(self.watermark, clock.at, clock.at - (clock.reference - began))
        return earliest if self.watermark - earliest > clock.tolerance else self.watermark

    def was_set_forward(self, clock: ClockReading) -> bool:
        """Whether the source's clock went on by more than time did, since the watermark was made.

        Within the clocks' tolerance the overlap makes up for it.
        """
        if self.watermark is None or self.watermark_at is None:
            return False
        passed = clock.reference - self.watermark_at
        return clock.at - (self.watermark + passed) > clock.tolerance

    def _latest_step(self, clock: ClockReading, overlap: timedelta) -> ClockStep | None:
        """The step of the source's clock that a pass which begins now has to allow for."""
        latest = clock.reference + overlap
        if self.watermark is not None and self.was_set_forward(clock):
            since = self.watermark if self.step is None else min(self.watermark, self.step.since)
            return ClockStep(since, latest)
        # The warehouse's clock may have been set back since.
        return self.step and replace(self.step, until=min(self.step.until, latest))

    def close_pass(self) -> Checkpoint:
        """Closes the pass: its end becomes the watermark, which no pass moves back."""
        if self.window is None:
            raise ValueError("no pass is open")
        if self.watermark is not None and self.watermark > self.window.until:
            return self.abandon_pass()
        began, step = self.window.opened_at, self.step
        if step is not None and began is not None and began >= step.until:
            step = None  # whatever was stamped before it has been committed, and read
        return Checkpoint(self.window.until, watermark_at=began, step=step)

    def abandon_pass(self) -> Checkpoint:
        """As it was before the pass."""
        return Checkpoint(self.watermark, watermark_at=self.watermark_at, step=self.step)


@dataclass(frozen=True, slots=True)
class RequestGrant:
    """Leave to send `requests` requests, the first one `wait` seconds from now.

    `at`: the clock of who grants it, the warehouse.
    """

    requests: int
    wait: float
    at: datetime | None = None
