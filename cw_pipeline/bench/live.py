"""How soon an edit is in the warehouse and in the reports, and what staying costs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from cw_pipeline.bench.finding import CaseResult
from cw_pipeline.bench.lab import BenchFailed, Measurement, command, first_line, free_port, process
from cw_pipeline.bench.meter import cpu_seconds, resident_memory, wal_position
from cw_pipeline.catalog import select
from cw_pipeline.model import SyncMode
from cw_pipeline.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cw_pipeline.bench.lab import Lab
    from cw_pipeline.bench.scale import Scale

_FEW = "service/tickets,time/entries,company/companies,service/boards"
_SOON, _LATER = 1.0, 5.0  # seconds, p95: the promises
_PATIENCE = 240.0
_STORED = "select id, summary from connectwise.service_tickets where id = any(%s)"
_SHOWN = "select ticket_id, summary from reporting.fct_ticket_all where ticket_id = any(%s)"


def live(lab: Lab, scale: Scale) -> CaseResult:
    """From an edit to the reports, by callback; what staying costs; many tenants in one process."""
    found = CaseResult("live")
    entities = select(scale.live_lists)
    names = ",".join(entity.name for entity in entities)
    asked = sum(entity.mode is SyncMode.INCREMENTAL for entity in entities)
    with (
        process("cw_pipeline.bench.tenant", str(scale.live_tickets), "0") as tenant,
        lab.database(names) as dsn,
    ):
        site = first_line(tenant)
        settings = lab.settings(dsn, "demo", names, site=site)
        found.add("first load", lab.sync(dsn, "demo", names, site=site))
        command(lab.folder, settings, "migrate")
        port = free_port()
        settings["CW_CALLBACK_URL"] = f"http://127.0.0.1:{port}"
        with _living(lab.folder, settings, port, asked) as staying:
            watched = _Watched(site, dsn, staying.pid)
            _say_idle(found, watched.idle(min(60, scale.live_seconds)), len(entities))
            command(lab.folder, settings, "callbacks", "apply")
            _say_wal(found, watched.burst(), watched.burst())
            for rate in (1, 10):
                run = watched.edits(rate, scale.live_seconds)
                _say_edits(found, found.add(f"{rate} edits/s", run), rate, scale.live_seconds)
            seconds = min(10, scale.live_seconds)
            _say_receiver(found, "passes", watched.callbacks(port, 200, seconds), 0.05)
            with lab.database(names) as other, ThreadPoolExecutor(1) as beside:
                loading = beside.submit(lab.sync, other, "demo", names, site=site)
                taken = watched.callbacks(port, 200, seconds)
                loading.result()
            _say_receiver(found, "a first load", taken, 0.3)
    if scale.live_tenants:
        found.add("tenants", _many(lab, scale, found))
    return found


@dataclass
class _Watched:
    """A tenant in which people edit, its warehouse, and the process that keeps them in step."""

    site: str
    dsn: str
    pid: int
    _edits: Iterator[int] = field(default_factory=count)

    def idle(self, seconds: float) -> Measurement:
        """What the process costs while nobody edits."""
        before = cpu_seconds(self.pid)
        time.sleep(seconds)
        spent = cpu_seconds(self.pid) - before
        memory = resident_memory(self.pid)
        return Measurement({"wall": seconds, "rows_read": 0, "client": spent, "memory": memory})

    def burst(self) -> int:
        """Bytes of WAL for ten edits at once, until reports show them."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            before = wal_position(connection)
            self.edits(10, 1)
            return wal_position(connection) - before

    def edits(self, rate: int, seconds: float) -> Measurement:
        """Edits at a rate: when each was in the table and in the report, and what it cost."""
        made: dict[int, tuple[str, float]] = {}
        seen: dict[str, dict[int, float]] = {_STORED: {}, _SHOWN: {}}
        ended = Event()
        watchers = [
            Thread(target=self._watch, args=[query, made, seen[query], ended]) for query in seen
        ]
        before, spent = self._requests(), cpu_seconds(self.pid)
        for each in watchers:
            each.start()
        ids, began = self._tickets(round(rate * seconds)), time.monotonic()
        for at, ticket in enumerate(ids):
            time.sleep(max(0.0, began + at / rate - time.monotonic()))
            summary = f"bench {next(self._edits)}"
            patch = [{"op": "replace", "path": "summary", "value": summary}]
            made[ticket] = summary, time.monotonic()
            _answer(self.site, "PATCH", f"/service/tickets/{ticket}", patch)
        end = time.monotonic() + _PATIENCE
        while any(len(times) < len(made) for times in seen.values()) and time.monotonic() < end:
            time.sleep(0.05)
        ended.set()
        for each in watchers:
            each.join()
        wall = time.monotonic() - began
        return Measurement(
            {
                "wall": wall,
                "rows_read": len(made),
                "client": cpu_seconds(self.pid) - spent,
                "requests": self._requests() - before,
                "stored": sorted(seen[_STORED].values()),
                "shown": sorted(seen[_SHOWN].values()),
            }
        )

    def callbacks(self, port: int, rate: int, seconds: float) -> list[float]:
        """Seconds that the receiver takes for each of so many callbacks a second."""
        url = "/v2025_1//system/callbackkey/index.rails?companyName=demo&id=bench"
        key = json.loads(_request(self.site, "GET", url)[1])["signing_key"]
        (entry,) = json.loads(
            _answer(self.site, "GET", "/system/callbacks?pageSize=1&conditions=type='Ticket'")
        )
        path = urlsplit(str(entry["url"])).path
        secret = hashlib.sha256(key.encode()).digest()
        tickets = self._tickets(rate)
        began = time.monotonic()

        def send(at: int) -> float:
            ticket = tickets[at % len(tickets)]
            message = {"Action": "updated", "Type": "ticket", "ID": ticket, "CompanyId": "demo"}
            metadata = {"key_url": f"{self.site}{url}"}
            body = json.dumps({**message, "Entity": None, "Metadata": metadata}).encode()
            mac = base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest()).decode()
            time.sleep(max(0.0, began + at / rate - time.monotonic()))
            start = time.monotonic()
            headers = {"x-content-signature": mac}
            to = f"http://127.0.0.1:{port}"
            status, _ = _request(to, "POST", f"{path}?recordId={ticket}", body, headers)
            if status != 204:  # noqa: PLR2004 - taken
                raise BenchFailed(f"the receiver answered {status}")
            return time.monotonic() - start

        send(0)  # the receiver asks for the key of a registration once a day
        began = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            return sorted(pool.map(send, range(round(rate * seconds))))

    def _watch(
        self,
        query: str,
        made: dict[int, tuple[str, float]],
        seen: dict[int, float],
        ended: Event,
    ) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not ended.wait(0.02):
                open_ = [ticket for ticket in [*made] if ticket not in seen]
                now_there = dict[int, str](connection.execute(query.encode(), [open_]).fetchall())
                now = time.monotonic()
                for ticket in open_:
                    if now_there.get(ticket) == made[ticket][0]:
                        seen[ticket] = now - made[ticket][1]

    def _requests(self) -> int:
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute("select sum(requests) from cw_sync.run").fetchone()
        assert row is not None
        return int(row[0] or 0)

    def _tickets(self, most: int) -> list[int]:
        with psycopg.connect(self.dsn) as connection:
            query = "select id from connectwise.service_tickets order by random() limit %s"
            return [ticket for (ticket,) in connection.execute(query, [most]).fetchall()]


@contextmanager
def _living(
    folder: Path, settings: dict[str, str], port: int, lists: int, files: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """`live` inside the block, once it has asked so many lists."""
    line = [sys.executable, "-m", "cw_pipeline", "live", "--listen", f"127.0.0.1:{port}", *files]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "live.log").open("wb"))
        child = subprocess.Popen(line, env=settings, cwd=ROOT, stdout=log, stderr=log)
        stack.callback(child.wait)
        stack.callback(child.terminate)
        end, dsn = time.monotonic() + _PATIENCE, settings["CW_WAREHOUSE_DSN"]
        asked = (
            "select count(*) from cw_sync.checkpoint c where watermark_at >= (select min(taken_at)"
            " from cw_sync.lease l where l.tenant = c.tenant and purpose = 'live')"
        )
        with psycopg.connect(dsn, autocommit=True) as connection:
            while (found := (connection.execute(asked).fetchone() or [0])[0]) < lists:
                if child.poll() is not None or time.monotonic() > end:
                    said = (folder / "live.log").read_text("utf-8")[-500:]
                    raise BenchFailed(f"live has asked {found} of {lists} lists: {said}")
                time.sleep(0.2)
        yield child


def _many(lab: Lab, scale: Scale, found: CaseResult) -> Measurement:
    """Many tenants in one process: memory of each, connections, and how soon a hint is read."""
    names = [f"tenant_{number}" for number in range(scale.live_tenants)]
    lists = len(_FEW.split(","))
    with (
        process("cw_pipeline.bench.tenant", str(scale.tenant), "0") as tenant,
        lab.database() as dsn,
    ):
        usual = lab.settings(dsn, "demo", _FEW, site=first_line(tenant))
        files = []
        for name in names:
            path = lab.folder / f"{name}.env"
            path.write_text("".join(f"{k}={v}\n" for k, v in usual.items() if k[:3] == "CW_"))
            with path.open("a") as file:
                file.write(f"CW_SCHEMA={name}\n")
            files.append(str(path))
        environment = {k: v for k, v in usual.items() if k[:3] != "CW_" or k == "CW_WAREHOUSE_DSN"}
        with _living(lab.folder, environment, free_port(), lists * len(names), files) as staying:
            with psycopg.connect(dsn, autocommit=True) as connection:
                time.sleep(5)
                spent, began = cpu_seconds(staying.pid), time.monotonic()
                lags = [_lag(connection, names[at % len(names)]) for at in range(2 * len(names))]
                wall = time.monotonic() - began
                spent = cpu_seconds(staying.pid) - spent
                open_ = connection.execute(
                    "select count(*) from pg_stat_activity where datname = current_database()"
                    " and pid <> pg_backend_pid() and backend_type = 'client backend'"
                ).fetchone()
            memory = resident_memory(staying.pid)
    lags.sort()
    connections = (open_ or (0,))[0]
    found.say(
        f"{len(names)} tenants of {lists} lists in one live",
        f"{memory / 1e6:.0f} MB, {connections} connections, {100 * spent / wall:.0f} % of a core;"
        f" from a hint to its row p50 {_part(lags, 0.5):.2f}, p95 {_part(lags, 0.95):.2f} s",
        "≤ 20 connections, p95 ≤ 1 s",
        kept=connections <= 20 and _part(lags, 0.95) <= _SOON,  # noqa: PLR2004 - the promise
    )
    costs = {"rows_read": len(lags), "lags": lags, "memory": memory, "connections": connections}
    return Measurement({"wall": wall, "client": spent, **costs})


def _lag(connection: psycopg.Connection[Any], tenant: str) -> float:
    """Seconds until a hint of a tenant was read."""
    began = time.monotonic()
    connection.execute(
        sql.SQL(
            "insert into cw_sync.hint (tenant, type, record_id, action, times)"
            " select %s, 'ticket', min(id), 'updated', 1 from {}"
        ).format(sql.Identifier(tenant, "service_tickets")),
        [tenant],
    )
    query = "select from cw_sync.hint where tenant = %s"
    while connection.execute(query, [tenant]).fetchone() is not None:
        if time.monotonic() - began > _PATIENCE:
            raise BenchFailed(f"the hint of {tenant} was not read")
        time.sleep(0.01)
    return time.monotonic() - began


def _say_idle(found: CaseResult, run: Measurement, lists: int) -> None:
    found.add("idle", run)
    share, memory = run.costs["client"] / run.wall, run.costs["memory"] / 1e6
    found.say(
        f"live idle, {lists} lists, without its receiver",
        f"{100 * share:.1f} % of a core, {memory:.0f} MB",
        "≤ 3 %, ≤ 150 MB",
        kept=share <= 0.03 and memory <= 150,  # noqa: PLR2004 - the promise
    )


def _say_wal(found: CaseResult, first: int, wal: int) -> None:
    found.say(
        "WAL for 10 edits, until reports show them",
        # PostgreSQL writes pages whole that were not written to since its last checkpoint.
        f"{wal / 1e6:.2f} MB; {first / 1e6:.2f} MB those before them, after a checkpoint",
        "≤ 0.5 MB",
        kept=wal <= 0.5e6,  # noqa: PLR2004 - the promise
    )


def _say_edits(found: CaseResult, run: Measurement, rate: int, seconds: float) -> None:
    costs, made = run.costs, run.rows
    lost = 2 * made - len(costs["stored"]) - len(costs["shown"])
    if lost:
        raise BenchFailed(f"{lost} of {made} edits did not arrive")
    stored, shown = (
        (_part(costs[name], 0.5), _part(costs[name], 0.95)) for name in ("stored", "shown")
    )
    each = costs["requests"] / made
    found.say(
        f"{rate} edits a second for {seconds:.0f} s: edit → table, edit → report",
        f"p50 {stored[0]:.2f}, p95 {stored[1]:.2f} s; p50 {shown[0]:.2f}, p95 {shown[1]:.2f} s;"
        f" {each:.2f} requests an edit, {100 * costs['client'] / run.wall:.0f} % of a core",
        f"p95 ≤ {_SOON:.0f} s and ≤ {_LATER:.0f} s, ≤ 1 request",
        kept=stored[1] <= _SOON and shown[1] <= _LATER and each <= 1,
    )


def _say_receiver(found: CaseResult, beside: str, taken: list[float], most: float) -> None:
    found.add(
        f"receiver beside {beside}",
        Measurement({"wall": sum(taken), "rows_read": len(taken), "answers": taken}),
    )
    found.say(
        f"the receiver beside {beside}, at 200 callbacks a second, {len(taken):,} of them",
        f"p50 {1000 * _part(taken, 0.5):.0f}, p99 {1000 * _part(taken, 0.99):.0f} ms",
        f"p99 ≤ {1000 * most:.0f} ms",
        kept=_part(taken, 0.99) <= most,
    )


def _part(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of them lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _answer(site: str, method: str, path: str, body: Any = None) -> bytes:  # noqa: ANN401 - JSON
    """What the tenant's API answers. Raises BenchFailed."""
    login = base64.b64encode(b"demo+public:private").decode()
    headers = {
        "Authorization": f"Basic {login}",
        "clientId": "00000000-0000-4000-8000-000000000000",
        "Content-Type": "application/json",
    }
    sent = None if body is None else json.dumps(body).encode()
    status, text = _request(site, method, f"/v4_6_release/apis/3.0{path}", sent, headers)
    if status >= 300:  # noqa: PLR2004 - redirects are refusals, too
        raise BenchFailed(f"{method} {path}: {status} {text[:200]!r}")
    return text


def _request(
    site: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """The status and the body that a host answers with."""
    with closing(HTTPConnection(urlsplit(site).netloc, timeout=30)) as connection:
        target = path.replace(" ", "%20").replace("'", "%27")
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
