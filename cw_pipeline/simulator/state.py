"""What the simulated API answers from: its tenant, its faults and limits, and what it was asked."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal

from cw_pipeline.catalog import CATALOG
from cw_pipeline.machine import THIS, Machine
from cw_pipeline.simulator.auth import Keys
from cw_pipeline.simulator.callbacks import Callbacks
from cw_pipeline.simulator.derived import info_paths
from cw_pipeline.simulator.faults import Fault, Faults
from cw_pipeline.simulator.limits import Limit
from cw_pipeline.simulator.reports import Reports
from cw_pipeline.simulator.role import Quirk, Role
from cw_pipeline.simulator.routes import Routes
from cw_pipeline.simulator.system import ON_PREMISE
from cw_pipeline.simulator.wire import OpenConnections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from cw_pipeline.simulator.answers import Answer
    from cw_pipeline.simulator.query import ListRequest
    from cw_pipeline.simulator.tenant import Tenant

CLIENT_ID = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it came, and the status it got (0: the connection broke instead)."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    at: datetime
    version: str = ""
    forward_only: bool = False


def _routes(tenant: Tenant, paths: Iterable[str] | None) -> Routes:
    """The catalog's lists, or those given; the tenant's own come on top."""
    known = [each.path for each in CATALOG.values()] + info_paths() if paths is None else paths
    return Routes(tenant, known, [each.path for each in CATALOG.values() if not each.count])


class State:
    """A simulated tenant, and how its API behaves.

    `codebase`, `role`, `quirks` (by path or glob), `faults`, `reports`, `latency` and
    `clock_skew` (seconds, seen in the Date header only) may be changed while it runs. Several, one
    after the other, are servers behind a load balancer; None leaves the header out.
    `page_cache` keeps every page as bytes (gzip too, for who asks), for benchmarks.
    `forward_only_ending` is what the Link header of the last forward-only page is: a link to an
    empty page, an empty header, or none. `rate_window` shortens the minute of
    `requests_per_minute`. `on_premise` answers as a server of 2019 at the customer's own: another
    codebase, and who entered a record is said beside its fields, not in `_info`. `desk` answers for
    the simulator itself, by method and path.
    A simulation gives the `machine` whose clock counts, and how an answer is delayed: `sleep`.
    """

    def __init__(  # noqa: PLR0913
        self,
        tenant: Tenant,
        url: str,
        *,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        quirks: dict[str, Quirk] | None = None,
        requests_per_minute: int | None = None,
        rate_window: float = 60.0,
        retry_after_as_date: bool = False,
        latency: float = 0.0,
        clock_skew: float | Sequence[float | None] = 0.0,
        page_cache: bool = False,
        max_page_size: int = 1000,
        forward_only_ending: Literal["link", "empty", "none"] = "link",
        company: str = "demo",
        public_key: str = "public",
        private_key: str = "private",
        client_id: str = CLIENT_ID,
        codebase: str = "v2025_1/",
        on_premise: bool = False,
        callback_waits: tuple[float, ...] = (2.0, 4.0),
        paths: Iterable[str] | None = None,
        machine: Machine = THIS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.tenant = tenant
        self.sleep = sleep
        self.url = url
        self.faults = Faults(faults, seed)
        self.quirks = dict(quirks or {})
        self.role = Role()
        self.limit = Limit(requests_per_minute, rate_window, machine)
        self.latency, self.clock_skew = latency, clock_skew
        self.page_cache, self.max_page_size = page_cache, max_page_size
        self.forward_only_ending = forward_only_ending
        self.keys = Keys(company, public_key, private_key, client_id)
        self.codebase = ON_PREMISE if on_premise else codebase
        self.on_premise = on_premise
        self.reports = Reports(tenant)
        self.requests: list[RecordedRequest] = []
        self.own_routes: dict[tuple[str, str], Callable[[], Answer]] = {}
        self.connections = OpenConnections()
        self.callbacks = Callbacks(tenant, url, company, callback_waits)
        self.routes = _routes(tenant, paths)
        self._answers = itertools.count()
        self._retry_after_as_date = retry_after_as_date
        self._page_watchers: list[Callable[[str, ListRequest], None]] = []

    def before_page(self, callback: Callable[[str, ListRequest], None]) -> None:
        """Calls `callback(path, question)` before each list page is made, in the server thread."""
        self._page_watchers.append(callback)

    def tell_page(self, path: str, asked: ListRequest) -> None:
        """Tells who wanted to know that a page is about to be made."""
        for watcher in self._page_watchers:
            watcher(path, asked)

    def count_by_path(self) -> Counter[str]:
        """How many requests each path got since `requests` was last cleared."""
        return Counter(seen.path for seen in list(self.requests))

    def date(self) -> datetime | None:
        """What the Date header of the next answer says; None for none."""
        skews = self.clock_skew if isinstance(self.clock_skew, Sequence) else [self.clock_skew]
        skew = skews[next(self._answers) % len(skews)]
        return None if skew is None else self.tenant.now() + timedelta(seconds=skew)

    def retry_after(self, wait: int) -> str:
        """The Retry-After header for so many seconds."""
        if not self._retry_after_as_date:
            return str(wait)
        return format_datetime(datetime.now(UTC) + timedelta(seconds=wait), usegmt=True)
