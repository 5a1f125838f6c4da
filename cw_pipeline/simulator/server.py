"""The simulator as a running server."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal, Self

import uvicorn

from cw_pipeline.catalog import CATALOG
from cw_pipeline.simulator.app import App, Seen
from cw_pipeline.simulator.auth import Keys
from cw_pipeline.simulator.callbacks import Callbacks
from cw_pipeline.simulator.faults import Fault, Faults
from cw_pipeline.simulator.limits import Limit
from cw_pipeline.simulator.reports import Reports
from cw_pipeline.simulator.role import Quirk, Role
from cw_pipeline.simulator.routes import Routes
from cw_pipeline.simulator.wire import Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from cw_pipeline.simulator.answers import Answer
    from cw_pipeline.simulator.query import Question
    from cw_pipeline.simulator.tenant import Tenant

CLIENT_ID = "00000000-0000-4000-8000-000000000000"


def _routes(tenant: Tenant, paths: Iterable[str] | None) -> Routes:
    """The catalog's lists, or those given; the tenant's own come on top."""
    known = [entity.path for entity in CATALOG.values()] if paths is None else paths
    return Routes(tenant, known, [each.path for each in CATALOG.values() if not each.count])


class Simulator:
    """ConnectWise PSA for one tenant, on 127.0.0.1, while the `with` block lasts.

    `codebase`, `role`, `quirks` (by path or glob), `faults`, `reports`, `latency` and
    `clock_skew` (seconds, seen in the Date header only) may be changed while it runs.
    `page_cache` keeps every page as bytes (gzip too, for who asks), for benchmarks.
    `forward_only_ending` is what the Link header of the last forward-only page is: a link to an
    empty page, an empty header, or none. `rate_window` shortens the minute of
    `requests_per_minute`. `desk` answers for the simulator itself, by method and path.
    `certificate` (PEM, with its private key) makes it speak TLS.
    """

    def __init__(  # noqa: PLR0913
        self,
        tenant: Tenant,
        *,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        quirks: dict[str, Quirk] | None = None,
        requests_per_minute: int | None = None,
        rate_window: float = 60.0,
        retry_after_as_date: bool = False,
        latency: float = 0.0,
        clock_skew: float = 0.0,
        page_cache: bool = False,
        max_page_size: int = 1000,
        forward_only_ending: Literal["link", "empty", "none"] = "link",
        company: str = "demo",
        public_key: str = "public",
        private_key: str = "private",
        client_id: str = CLIENT_ID,
        codebase: str = "v2025_1/",
        callback_waits: tuple[float, ...] = (2.0, 4.0),
        paths: Iterable[str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: Path | None = None,
    ) -> None:
        self.tenant = tenant
        self.faults = Faults(faults, seed)
        self.quirks = dict(quirks or {})
        self.role = Role()
        self.limit = Limit(requests_per_minute, rate_window)
        self.latency, self.clock_skew = latency, clock_skew
        self.page_cache, self.max_page_size = page_cache, max_page_size
        self.forward_only_ending = forward_only_ending
        self.keys = Keys(company, public_key, private_key, client_id)
        self.codebase = codebase
        self.reports = Reports(tenant)
        self.requests: list[Seen] = []
        self.desk: dict[tuple[str, str], Callable[[], Answer]] = {}
        self.connections = Connections()
        self.routes = _routes(tenant, paths)
        self._retry_after_as_date = retry_after_as_date
        self._page_watchers: list[Callable[[str, Question], None]] = []
        self._socket = socket.create_server((host, port), backlog=512)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://{host}:{self._socket.getsockname()[1]}"
        self.callbacks = Callbacks(tenant, self.url, company, callback_waits)
        self._server = uvicorn.Server(
            uvicorn.Config(
                App(self),
                http=self.connections.protocol(),
                lifespan="off",
                log_config=None,
                access_log=False,
                date_header=False,
                server_header=False,
                timeout_graceful_shutdown=1,
                ssl_certfile=certificate,
            )
        )
        self._thread = threading.Thread(target=self.run, name="simulator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)

    def run(self) -> None:
        """Serves until stopped; blocks."""
        self.callbacks.listen()
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self.callbacks.close()
            self._socket.close()

    def before_page(self, callback: Callable[[str, Question], None]) -> None:
        """Calls `callback(path, question)` before each list page is made, in the server thread."""
        self._page_watchers.append(callback)

    def tell_page(self, path: str, asked: Question) -> None:
        """Tells who wanted to know that a page is about to be made."""
        for watcher in self._page_watchers:
            watcher(path, asked)

    def count_by_path(self) -> Counter[str]:
        """How many requests each path got since `requests` was last cleared."""
        return Counter(seen.path for seen in list(self.requests))

    def date(self) -> datetime:
        """What the Date header says."""
        return self.tenant.now() + timedelta(seconds=self.clock_skew)

    def retry_after(self, wait: int) -> str:
        """The Retry-After header for so many seconds."""
        if not self._retry_after_as_date:
            return str(wait)
        return format_datetime(datetime.now(UTC) + timedelta(seconds=wait), usegmt=True)


def serve(tenant: Tenant, host: str = "127.0.0.1", port: int = 8080, **options: object) -> None:
    """Serves a tenant until the process is told to stop. `options` are the Simulator's."""
    Simulator(tenant, host=host, port=port, **options).run()  # type: ignore[arg-type]
