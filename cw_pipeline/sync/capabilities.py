"""What each list lets the API member do, found out by asking as little as possible."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise import INTERACTIVE, ConnectWise, Paging, Query, path_for
from cw_pipeline.errors import (
    ENDS_THE_RUN,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceRefused,
)
from cw_pipeline.model import Entity, SyncMode, Window
from cw_pipeline.transform import PageReader
from cw_pipeline.warehouse.status import store_capability

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cw_pipeline.model import Batch
    from cw_pipeline.warehouse import Database

NOTHING_FOUND = (
    "ConnectWise may answer so, instead of 401, when it does not accept who asks (the vendor's"
    " guide): check CW_COMPANY, CW_PUBLIC_KEY, CW_PRIVATE_KEY and CW_CLIENT_ID. If they are right,"
    " CW_SITE names the wrong host"
)
"""What to do where everything answers 404."""

NAMES = ("readable", "count", "filterable", "forward_only", "by_id")
_SAMPLE = 2
_NO_PARENT = "no parent to ask it of, so what it allows is not known yet"


@dataclass(slots=True)
class ListCapabilities:
    """What one list was seen to do; None: could not be seen. `detail` says what to fix, or why."""

    entity: str
    readable: bool | None = None
    count: bool | None = None
    filterable: bool | None = None
    forward_only: bool | None = None
    by_id: bool | None = None
    records: int | None = None
    detail: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether nothing has to be mended: it can be read, or there is nothing yet to read."""
        return bool(self.readable) or self.detail == _NO_PARENT

    @property
    def found_out(self) -> dict[str, bool]:
        """What was found out, by the name it is remembered under."""
        values = {name: getattr(self, name) for name in NAMES}
        return {name: value for name, value in values.items() if value is not None}


def probe_all(
    entities: Iterable[Entity], source: ConnectWise, database: Database, *, deep: bool = False
) -> Iterator[ListCapabilities]:
    """What each list does, as it is found out, and remembered in the warehouse.

    One or two requests a list; `deep` adds one each for count, forward-only paging and by id.
    Raises SourceDenied as soon as the keys are refused.
    """
    prober = CapabilityProbe(source, deep=deep)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(prober.probe, entity) for entity in entities]
        try:
            for finished in as_completed(running):
                finding = finished.result()
                with database.connection() as connection:
                    store_capability(
                        connection, database.schema, finding.entity, **finding.found_out
                    )
                yield finding
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@dataclass(slots=True, eq=False)
class CapabilityProbe:
    """Asks lists what they do. Safe to share between threads."""

    source: ConnectWise
    deep: bool = False
    _samples: dict[str, Batch] = field(default_factory=dict)
    _locks: dict[str, Lock] = field(default_factory=dict)

    def probe(self, entity: Entity) -> ListCapabilities:
        """What this list does. Raises SourceDenied when the keys are refused."""
        capabilities = ListCapabilities(entity.name)
        try:
            self._ask_everything(entity, capabilities)
        except ENDS_THE_RUN:
            raise
        except SourceForbidden:
            capabilities.readable = False
            capabilities.detail = f"403: the API member's role needs {entity.right}, Inquire: All"
        except SourceError as error:
            capabilities.detail = str(error)
        return capabilities

    def _ask_everything(self, entity: Entity, capabilities: ListCapabilities) -> None:
        parents = self._parents(entity)
        if parents is None:
            capabilities.detail = _NO_PARENT
            return
        sample = self._sample(entity, parents)
        capabilities.readable = True
        if entity.mode is SyncMode.INCREMENTAL and sample.ids:
            capabilities.filterable = self._filters(entity, sample)
        if not self.deep:
            return
        if entity.count:
            self._count(entity, parents, capabilities)
        if entity.has_id and sample.ids:
            capabilities.forward_only = self._goes_forward(entity, parents, sample)
            capabilities.by_id = entity.by_id and self._has_address(entity, parents, sample)

    def _parents(self, entity: Entity) -> tuple[int, ...] | None:
        """Ids for the places in the path, outermost first; None if there is no such parent."""
        if entity.parent is None:
            return ()
        parent = CATALOG[entity.parent]
        above = self._parents(parent)
        if above is None:
            return None
        ids = self._sample(parent, above).ids
        return (*above, ids[0]) if ids else None

    def _sample(self, entity: Entity, parents: tuple[int, ...]) -> Batch:
        """The list's first records. Asked once, however many children want a parent."""
        with self._locks.setdefault(entity.name, Lock()):
            if entity.name not in self._samples:
                self._samples[entity.name] = self._ask(entity, _first(entity, parents), parents)
            return self._samples[entity.name]

    def _filters(self, entity: Entity, sample: Batch) -> bool | None:
        """Whether a condition on lastUpdated is obeyed: nothing older than asked for comes back."""
        stamps = [stamp for stamp in sample.last_updated if stamp is not None]
        if not stamps:
            return None
        since = max(stamps) + timedelta(seconds=1)  # leaves the sample itself out
        asked = _first(entity, ()).changed_in(Window(since, since))
        try:
            batch = self._ask(entity, asked, ())
        except SourceRefused:
            return False
        return all(stamp is None or stamp >= since for stamp in batch.last_updated)

    def _count(
        self, entity: Entity, parents: tuple[int, ...], capabilities: ListCapabilities
    ) -> None:
        try:
            capabilities.records = self.source.count(path_for(entity.path, parents), "")
            capabilities.count = True
        except SourceError as error:
            capabilities.count = False
            capabilities.detail = f"no count: {error}"

    def _goes_forward(self, entity: Entity, parents: tuple[int, ...], sample: Batch) -> bool:
        """Whether `pageId` is obeyed: only higher ids come back."""
        behind = self._ask(entity, _first(entity, parents).next_page(sample.ids[0]), parents)
        return all(record_id > sample.ids[0] for record_id in behind.ids)

    def _has_address(self, entity: Entity, parents: tuple[int, ...], sample: Batch) -> bool:
        def nothing(_: bytes) -> None:
            """That it answers is all that counts."""

        try:
            self.source.get(
                f"{path_for(entity.path, parents)}/{sample.ids[0]}", nothing, policy=INTERACTIVE
            )
        except (SourceMissing, SourceRefused):
            return False
        return True

    def _ask(self, entity: Entity, asked: Query, parents: tuple[int, ...]) -> Batch:
        parent_id = parents[-1] if parents else None
        normalizer = PageReader(entity)
        return self.source.ask(
            asked,
            lambda body: normalizer.read_page(body, parent_id=parent_id),
            policy=INTERACTIVE,
        )


def requests_per_parent(entities: Iterable[Entity], source: ConnectWise) -> dict[str, int]:
    """About how many requests the lists below a parent cost at a first load: one for each parent.

    Lists whose parents are below a parent themselves are left out, as nothing counts those. One
    request for each list of parents.
    """
    records: dict[str, int] = {}
    requests: dict[str, int] = {}
    for entity in entities:
        parent = CATALOG[entity.parent] if entity.parent else None
        if parent is None or parent.parent is not None or not parent.count:
            continue
        if parent.name not in records:
            try:
                records[parent.name] = source.count(parent.path, "")
            except SourceError:  # the check of the list itself says why
                records[parent.name] = 0
        if records[parent.name]:
            requests[entity.name] = records[parent.name]
    return requests


def _first(entity: Entity, parents: tuple[int, ...]) -> Query:
    paging = Paging.FORWARD if entity.has_id else Paging.OFFSET
    return Query(path_for(entity.path, parents), page_size=_SAMPLE, paging=paging)
