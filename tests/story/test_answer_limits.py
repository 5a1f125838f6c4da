"""No answer takes the worker's memory or its time, whatever a server sends."""

from __future__ import annotations

import gc
import gzip
import json
import subprocess
import sys
import time
import zlib
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from functools import cache
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import httpx
import pytest

from cw_pipeline.connectwise.answers import AnswerLimits, AnswerRefused, bound_answers
from cw_pipeline.errors import SourceBroken
from cw_pipeline.settings import Settings
from cw_pipeline.simulator import CLIENT_ID
from cw_pipeline.simulator.answers import Answer
from tests.story.conftest import HASTY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

MB = 2**20
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_GZIP = b"Content-Encoding: gzip\r\n"


def _whole(body: bytes, *headers: bytes) -> Iterator[bytes]:
    yield _OK + b"".join(headers) + b"Content-Length: %d\r\n\r\n" % len(body)
    yield body


@cache
def _bomb() -> bytes:
    """3 GB of zeros as 14 MB of gzip: a packed megabyte 3,000 times, each padded a little."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    padding = b"\x00\x00\x00\xff\xff" * 740  # empty stored blocks
    sent = gzip.compress(b"")[:10] + (block + padding) * 3000
    assert 13 * MB < len(sent) < 15 * MB
    return sent


def _endless(head: bytes, part: bytes, pause: float = 0) -> Iterator[bytes]:
    yield head
    while True:
        time.sleep(pause)
        yield part


@cache
def _honest() -> bytes:
    """1,000 tickets with a text of 20 KB each."""
    text = " ".join(f"line {at} of a long e-mail thread\n" for at in range(640))
    tickets = [
        {"id": own, "summary": f"Ticket {own}", "initialDescription": text}
        for own in range(1, 1001)
    ]
    return gzip.compress(json.dumps(tickets).encode(), 1)


ATTACKS: dict[str, tuple[Callable[[], Iterator[bytes]], str]] = {
    "a gzip bomb": (
        lambda: _whole(_bomb(), _GZIP),
        "inflates to more than 32 MB (CW_MAX_ANSWER_MB)",
    ),
    "a gigabyte that is announced": (
        lambda: _endless(_OK + b"Content-Length: 1073741824\r\n\r\n", b'{"id": 1},' * 6000),
        "is announced as larger than 32 MB (CW_MAX_ANSWER_MB)",
    ),
    "endless chunks": (
        lambda: _endless(_CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
        "is larger than 32 MB (CW_MAX_ANSWER_MB)",
    ),
    "endless chunks of a byte": (
        lambda: _endless(_CHUNKED, b"1\r\n[\r\n" * 10000),
        "was not complete after 2 s (CW_TIMEOUT_SECONDS)",
    ),
    "a byte now and then": (
        lambda: _endless(_OK + b"Content-Length: 1000\r\n\r\n", b"[", 0.3),
        "was not complete after 2 s (CW_TIMEOUT_SECONDS)",
    ),
    "a header now and then": (
        lambda: _endless(_OK, b"X-Slow: yes\r\n", 0.3),
        "was not complete after 2 s (CW_TIMEOUT_SECONDS)",
    ),
    "a giant header": (
        lambda: _endless(_OK + b"X-Giant: ", b"x" * 65536),
        "headers are larger than 32 KB (CW_MAX_HEADER_KB)",
    ),
    "many headers": (
        lambda: iter([_OK + b"X-Many: some\r\n" * 4000 + b"Content-Length: 2\r\n\r\n[]"]),
        "headers are larger than 32 KB (CW_MAX_HEADER_KB)",
    ),
    "endless announcements": (
        lambda: _endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 500),
        "headers are larger than 32 KB (CW_MAX_HEADER_KB)",
    ),
    "gzip in gzip": (
        lambda: _whole(gzip.compress(_bomb(), 1), _GZIP),
        "the body is no JSON array",
    ),
    "gzip in gzip, announced": (
        lambda: _whole(gzip.compress(b"[]"), b"Content-Encoding: gzip, gzip\r\n"),
        "encoded as 'gzip, gzip', which was not asked for",
    ),
}  # fmt: skip


class _Attacker(StreamRequestHandler):
    """Answers company info as it should, and all else by the attack that the path numbers."""

    def handle(self) -> None:
        with suppress(OSError):
            while request := self.rfile.readline().decode():
                while self.rfile.readline().strip():
                    pass
                self._answer(request.split()[1])

    def _answer(self, url: str) -> None:
        if "companyinfo" in url:
            parts = _whole(b'{"Codebase": "v2025_1/"}')
        elif "said" in url:
            said = unquote(url.partition("said-")[2]).encode()
            parts = _whole(b"[]", b"Content-Encoding: " + said + b"\r\n")
        elif "/system/info" in url:
            parts = _whole(b"{}")
        elif "/service/boards" in url:
            parts = _endless(_OK + b"Content-Length: 1000\r\n\r\n", b"[", 0.1)
        elif "honest" in url:
            parts = _whole(_honest(), _GZIP)
        else:
            at = int(url.partition("attack")[2].partition("?")[0])
            parts = [*ATTACKS.values()][at][0]()
        for part in parts:
            self.wfile.write(part)
            self.wfile.flush()


@pytest.fixture(scope="module")
def attacker() -> Iterator[str]:
    """The address of a server that attacks whoever asks it."""
    with ThreadingTCPServer(("127.0.0.1", 0), _Attacker) as server:
        server.daemon_threads = True
        _honest(), _bomb()  # made before anybody waits for them
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


_WORKER = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from cw_pipeline import Pipeline, Settings, composition
from cw_pipeline.bench.meter import peak_memory
from cw_pipeline.process import tune_process
from cw_pipeline.connectwise import Policy, Query
from cw_pipeline.errors import SourceError
from cw_pipeline.sync.list_reader import _sound

tune_process()
once = Policy(attempts=1, wait_initial=0, wait_max=0, patience=0)
site, attacks = sys.argv[1:]
settings = Settings.of({
    "CW_SITE": site, "CW_COMPANY": "demo", "CW_PUBLIC_KEY": "a", "CW_PRIVATE_KEY": "b",
    "CW_CLIENT_ID": "c", "CW_TIMEOUT_SECONDS": "2",
})

def ask(path):
    started = time.monotonic()
    try:
        body = source.ask(Query(path), _sound)
        told = str(len(body))
        time.sleep(0.2 * (path == "/honest"))  # as long as it is worked on, it is kept
    except SourceError as error:
        told = f"{type(error).__name__}: {error}"
    return told, time.monotonic() - started

with composition.source(settings, policy=once) as source, ThreadPoolExecutor(8) as threads:
    seen = {}
    for path in ["/honest", *(f"/attack{at}" for at in range(int(attacks)))]:
        source.forget_failures()
        seen[path] = list(threads.map(ask, [path] * 8))
        seen[path].append(peak_memory())
print(json.dumps(seen))
"""


def test_every_attack_ends_in_time_names_the_limit_and_leaves_the_worker_its_memory(
    attacker: str,
) -> None:
    command = [sys.executable, "-c", _WORKER, attacker, str(len(ATTACKS))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    seen: dict[str, Any] = json.loads(done.stdout)
    peaks = {path: answers.pop() for path, answers in seen.items()}
    assert peaks["/honest"] < 200 * MB, "eight of 22 MB, and the process itself has 85"
    assert max(peaks.values()) < 260 * MB, "of 300 that are promised"
    assert {int(told) > 20 * MB for told, _ in seen.pop("/honest")} == {True}
    for (name, (_, told)), answers in zip(ATTACKS.items(), seen.values(), strict=True):
        asked = [each for each in answers if "is left alone" not in each[0]]  # the breaker opened
        assert any(told in said for said, _ in asked), (name, asked)
        for said, seconds in asked:
            assert said.startswith("SourceBroken: GET /attack"), name
            assert seconds < 10, name


def test_a_large_answer_waits_for_those_that_are_worked_on_but_not_for_ever(
    attacker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cw_pipeline.connectwise.answers._PATIENCE", 2)
    with httpx.Client(timeout=10) as client:
        bound_answers(client, AnswerLimits(), 8, lambda _: None)

        def ask() -> tuple[memoryview, float]:
            started = time.monotonic()
            return memoryview(client.get(f"{attacker}/honest").content), time.monotonic() - started

        kept = [ask()[0] for _ in range(2)]
        another, waited = ask()
        assert waited > 2, "44 MB were kept, and nobody gave any back"
        assert len(another) > 20 * MB
        del kept, another
        gc.collect()
        monkeypatch.setattr("cw_pipeline.connectwise.answers._PATIENCE", 600)
        assert len(ask()[0]) > 20 * MB, "all was given back"


class _BreaksAtItsEnd(httpx.BaseTransport, httpx.SyncByteStream):
    """Large answers, the first of which cannot be closed."""

    has_broken = False

    def handle_request(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=self)

    def __iter__(self) -> Iterator[bytes]:
        yield bytes(2 * MB)

    def close(self) -> None:
        if not self.has_broken:
            self.has_broken = True
            raise httpx.CloseError("broken")


def test_a_large_answer_that_cannot_be_closed_lets_the_next_one_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cw_pipeline.connectwise.answers._PATIENCE", 0.1)
    with httpx.Client(timeout=1, transport=_BreaksAtItsEnd()) as client:
        bound_answers(client, AnswerLimits(), 64, lambda _: None)
        with pytest.raises(httpx.CloseError):
            client.get("http://psa.example.com")
        assert len(client.get("http://psa.example.com").content) == 2 * MB


def test_a_mark_before_a_body_is_not_part_of_it() -> None:
    marked = httpx.MockTransport(lambda _: httpx.Response(200, content=b"\xef\xbb\xbf[]"))
    with httpx.Client(timeout=1, transport=marked) as client:
        bound_answers(client, AnswerLimits(), 8, lambda _: None)
        assert client.get("http://psa.example.com").content == b"[]"


def test_keys_that_an_answer_repeats_are_in_no_message(story: Story, tenant: Tenant) -> None:
    """As a page for developers or a proxy's does, which shows the request's headers."""
    tenant.put("/service/tickets", {"id": 1})
    sent = b64encode(b"demo+public:private")
    body = b'{"message": "Authorization: Basic %s, clientId %s"}' % (sent, CLIENT_ID.encode())
    for status, type_ in ((400, "application/json"), (500, "text/html"), (200, "text/html")):
        answer = Answer(status, body, content_type=type_)
        path = "/v2025_1/apis/3.0/service/tickets"
        story.simulator.own_routes["GET", path] = lambda answer=answer: answer  # type: ignore[misc]
        report = story.sync("service/tickets")["service/tickets"]
        assert report.failure is not None
        kept = str(story.rows("select * from cw_sync.run")) + str(report)
        assert sent.decode() not in kept
        assert CLIENT_ID not in kept


def test_answers_through_a_proxy_are_bounded_too(
    attacker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", attacker)
    with httpx.Client(timeout=2) as client:
        bound_answers(client, AnswerLimits(), 8, lambda _: None)
        with pytest.raises(AnswerRefused, match="inflates to more than"):
            client.get("http://psa.example.com/attack0")


def test_keys_for_a_member_come_in_a_bounded_answer(attacker: str) -> None:
    """Read by httpx itself, which would inflate all of it."""
    with httpx.Client(timeout=2, auth=_AsksTwice()) as client:
        bound_answers(client, AnswerLimits(), 8, lambda _: None)
        with pytest.raises(AnswerRefused, match="inflates to more than"):
            client.get(f"{attacker}/attack0")


@pytest.mark.parametrize("said", ["identity", "Identity", " IDENTITY ", ""])
def test_a_body_that_says_it_is_as_it_is_is_not_inflated(attacker: str, said: str) -> None:
    with httpx.Client(timeout=2) as client:
        bound_answers(client, AnswerLimits(), 8, lambda _: None)
        assert client.get(f"{attacker}/said-{quote(said)}").content == b"[]"


class _AsksTwice(httpx.Auth):
    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:
        yield request
        yield request


def test_a_page_that_is_too_large_is_asked_for_in_parts(story: Story, tenant: Tenant) -> None:
    for own in range(1, 41):
        tenant.put("/service/tickets", {"id": own, "initialDescription": f"{own} " * 1000})
    report = story.one("service/tickets", max_answer_mb=0.05, page_size=40)
    assert report.rows_inserted == 40
    assert report.dead_letters == 0
    assert report.retries == 0, "the same page would be too large again"


def test_a_record_that_is_too_large_is_a_dead_letter_that_names_the_setting(
    story: Story, tenant: Tenant
) -> None:
    for own in range(1, 6):
        text = "x" * (100_000 if own == 3 else 10)
        tenant.put("/service/tickets", {"id": own, "initialDescription": text})
    report = story.one("service/tickets", max_answer_mb=0.05)
    assert (report.rows_inserted, report.dead_letters) == (4, 1)
    (letter,) = story.rows("select record_id, detail from cw_sync.open_dead_letter")
    assert letter["record_id"] == 3
    assert "CW_MAX_ANSWER_MB" in letter["detail"]


def test_a_list_that_trickles_is_given_up_after_a_while_and_names_the_setting(
    story: Story, attacker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question is bounded; all those that look for the record to blame are, too."""
    monkeypatch.setattr("cw_pipeline.sync.list_reader._SEARCHED", 0.5)
    monkeypatch.setattr("tests.story.conftest.HASTY", replace(HASTY, whole=0.2))
    options = {"site": attacker, "timeout_seconds": 0.3, "page_size": 1000}
    report = story.sync("service/boards", **options)["service/boards"]
    assert isinstance(report.failure, SourceBroken)
    assert "raise CW_TIMEOUT_SECONDS" in str(report.failure)
    assert report.requests < 12, "3 tries for each of 10 sizes would be 30"


def test_limits_are_settings_with_bounds_of_their_own() -> None:
    limits = AnswerLimits()
    usual = Settings.of({})
    assert (usual.max_answer_mb * MB, usual.max_header_kb * 1024) == (
        limits.body_bytes,
        limits.header_bytes,
    )
