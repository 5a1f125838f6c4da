"""A tick's question: which lists have something new. Asked in the code server, without a run."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING

from cw_pipeline.errors import PipelineError
from cw_pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.dagster.tenant import TenantSetup
    from cw_pipeline.sync.changes import Changes

log = logging.getLogger(__name__)

SECONDS = 25.0
"""For a round. Dagster gives a tick 60, and then does not hear what it found."""


class ChangeWatch:
    """The tenant, connected from one tick to the next: to connect costs as much as the question."""

    def __init__(self, tenant: TenantSetup) -> None:
        self._tenant = tenant
        self._lock = Lock()
        self._pipeline: Pipeline | None = None

    def look(self, entities: Sequence[str]) -> tuple[Changes, set[str]] | None:
        """What changed, and the tables of the reporting schema that do not show all yet.

        What a worker that stays has just looked after is left out. None while an earlier look has
        not ended.

        Raises PipelineError, and connects anew the next time.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if self._pipeline is None:
                self._pipeline = Pipeline(self._tenant.connect())
            changes = self._pipeline.find_changes(*entities, seconds=SECONDS, beside_live=True)
            return changes, self._pipeline.tables_behind(beside_live=True)
        except PipelineError:
            self._close()
            raise
        finally:
            self._lock.release()

    def _close(self) -> None:
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            pipeline.close()
