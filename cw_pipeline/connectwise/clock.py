"""What time it is at the source: the `Date` of its answers, as far as that can be believed."""

from __future__ import annotations

import logging
from datetime import timedelta
from threading import Lock

from cw_pipeline.connectwise.response import http_date
from cw_pipeline.machine import THIS, Machine
from cw_pipeline.model import ClockReading

log = logging.getLogger(__name__)

TOLERANCE = timedelta(seconds=60)


class SourceClock:
    """The source's clock beside this machine's and the warehouse's. Safe to share between threads.

    A `Date` is believed if it is no more than `tolerance` from both. `reading` are the clocks at
    the latest answer; None before the first.
    """

    def __init__(self, tolerance: timedelta = TOLERANCE, machine: Machine = THIS) -> None:
        self._tolerance = tolerance
        self._machine = machine
        self._lock = Lock()
        self.reading: ClockReading | None = None
        self._disorder = ""
        self._is_logged = False

    def note_answer(self, date: str, warehouse_ahead: timedelta | None) -> None:
        """Notes the `Date` header of an answer that has just come, empty if it has none.

        `warehouse_ahead`: by how much the warehouse's clock is ahead of this machine's; None where
        that is not known.
        """
        machine = self._machine.now()
        warehouse = None if warehouse_ahead is None else machine + warehouse_ahead
        reading = ClockReading(http_date(date), machine, warehouse, self._tolerance)
        with self._lock:
            self.reading = reading
            if disorder := reading.disorder:
                self._disorder = disorder
                if not self._is_logged:
                    self._is_logged = True
                    log.warning("%s", disorder)

    def take_disorder(self) -> str:
        """The latest disagreement of the clocks that was not taken yet; empty if there is none."""
        with self._lock:
            disorder, self._disorder = self._disorder, ""
            return disorder
