"""The receiver: which callbacks become hints, and what all others are answered."""

from __future__ import annotations

import base64
import hashlib
import hmac
import resource
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import msgspec
import psycopg
import pytest

from cw_pipeline.live.receiver import Receiver, server
from cw_pipeline.live.signature import Listener, decode_message
from cw_pipeline.simulator import Tenant
from cw_pipeline.simulator.server import Simulator
from cw_pipeline.warehouse.callbacks import callback_standing
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "e355a80bc2c107e32"
PATIENCE = 60  # seconds for an answer: on a busy machine nobody promises it sooner


@dataclass
class Post:
    """A receiver that runs, and the simulator whose callbacks it takes."""

    url: str
    simulator: Simulator
    dsn: str
    number: int = field(default=1)

    def message(self, record_id: int = 7601, **fields: Any) -> dict[str, Any]:
        """A message as ConnectWise makes it."""
        entity = {"id": record_id, "_info": {"lastUpdated": "2026-11-27T10:00:00Z"}}
        return {
            "Action": "updated",
            "CompanyId": "demo",
            "Entity": msgspec.json.encode(entity).decode(),
            "ID": record_id,
            "MessageId": "1",
            "Metadata": {"key_url": self.simulator.callbacks.key_url(1)},
            "Type": "ticket",
            **fields,
        }

    def send(
        self,
        message: dict[str, Any] | bytes,
        rest: str = "?recordId=7601&action=updated",
        *,
        signed: str | None = None,
        token: str = TOKEN,
    ) -> int:
        """The status that a message gets, signed with the tenant's key unless told otherwise."""
        body = message if isinstance(message, bytes) else msgspec.json.encode(message)
        signature = self.simulator.callbacks.signature(body) if signed is None else signed
        headers = {"x-content-signature": signature.encode()} if signature else {}
        answer = httpx.post(
            f"{self.url}/{token}{rest}", content=body, headers=headers, timeout=PATIENCE
        )
        return answer.status_code

    def hints(self) -> list[tuple[Any, ...]]:
        """What was stored."""
        return rows_of(
            self.dsn, "select type, record_id, action, times from cw_sync.hint order by 1, 2"
        )

    def keys_asked(self) -> int:
        """How often a key was asked for."""
        return sum("callbackkey" in seen.path for seen in self.simulator.requests)


def rows_of(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


@contextmanager
def receiving(dsn: str, *listeners: Listener) -> Iterator[str]:
    """The address of a receiver that runs."""
    port = free_port()
    serving = server(Receiver(listeners, dsn).app, "127.0.0.1", port)
    thread = threading.Thread(target=serving.run)
    thread.start()
    while not serving.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{port}/callbacks"
    finally:
        serving.should_exit = True
        thread.join()


@pytest.fixture(scope="class")
def post(class_dsn: str) -> Iterator[Post]:
    with Simulator(Tenant()) as simulator:
        listener = Listener.of(
            "connectwise", simulator.url, "Demo", TOKEN, {"Ticket", "company", "site"}
        )
        with receiving(class_dsn, listener) as url:
            yield Post(url, simulator, class_dsn)


class TestReceiver:
    @pytest.mark.parametrize(
        "rest",
        [
            "?recordId=1&action=updated",
            "?1&action=updated",
            "&recordId=1&action=updated",
            "?param1=5&param2=61&action=updated",
            "",
        ],
    )
    def test_every_form_of_address_is_understood(self, post: Post, rest: str) -> None:
        assert post.send(post.message(1), rest) == 204

    def test_a_callback_that_comes_twice_is_one_hint(self, post: Post) -> None:
        for _ in range(3):
            assert post.send(post.message(22)) == 204
        assert post.send(post.message(22, Action="deleted", Entity=None)) == 204
        assert ("ticket", 22, "deleted", 4) in post.hints()

    def test_a_site_is_a_hint_of_its_company_as_long_as_the_message_names_it(
        self, post: Post
    ) -> None:
        entity = msgspec.json.encode({"id": 5, "company": {"id": 70}}).decode()
        assert post.send(post.message(5, Type="site", Entity=entity)) == 204
        assert post.send(post.message(6, Type="site", Entity=None, Action="deleted")) == 204
        found = [each[:3] for each in post.hints()]
        assert ("company", 70, "updated") in found
        assert ("site", 6, "deleted") in found

    def test_a_proxy_for_one_tenant_is_not_asked_for_one_on_this_machine(
        self, post: Post, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        local = Listener.of("connectwise", post.simulator.url, "demo", TOKEN)
        cloud = Listener.of("acme", "na.myconnectwise.net", "acme", f"{TOKEN}1")
        with ExitStack() as stack:
            with monkeypatch.context() as environment:
                environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
                url = stack.enter_context(receiving(post.dsn, local, cloud))
            assert replace(post, url=url).send(post.message(45)) == 204

    @pytest.mark.parametrize("company", ["Client", {"name": "Client"}, [1], {"id": "x"}])
    def test_a_company_of_another_shape_does_not_cost_a_hint_its_stamp(
        self, post: Post, company: object
    ) -> None:
        entity = {"_info": {"lastUpdated": "2026-11-27T10:00:00Z"}, "company": company}
        text = msgspec.json.encode(entity).decode()
        message = decode_message(msgspec.json.encode(post.message(9, Type="site", Entity=text)))
        assert message is not None
        assert (message.stamp, message.company) == (datetime(2026, 11, 27, 10, tzinfo=UTC), None)

    def test_a_type_that_is_not_synced_is_taken_and_dropped(self, post: Post) -> None:
        assert post.send(post.message(33, Type="invoice")) == 204
        assert not [hint for hint in post.hints() if hint[1] == 33]

    @pytest.mark.parametrize("signed", ["nonsense", "", "Ä" * 44])
    def test_a_forged_callback_is_refused(self, post: Post, signed: str) -> None:
        expected = 403 if signed else 401
        assert post.send(post.message(44), signed=signed) == expected
        assert not [hint for hint in post.hints() if hint[1] == 44]

    def test_an_unknown_token_is_refused_before_its_body_is_read(self, post: Post) -> None:
        assert post.send(post.message(45), token="guess") == 403

    @pytest.mark.parametrize(
        "change",
        [
            ("http://127.0.0.1", "http://127.0.0.1:1"),
            ("http://127.0.0.1", "http://demo@127.0.0.1"),
            ("http://", "https://"),
            ("127.0.0.1", "localhost"),
            ("callbackkey/index.rails", "callbackkey/../index.rails"),
            ("companyName=demo", "companyName=other"),
            ("companyName=demo", "companyName=demo&companyName=other"),
            ("/index.rails?", "/index.rails#?"),
        ],
    )
    def test_no_key_but_our_own_is_ever_asked_for(
        self, post: Post, change: tuple[str, str]
    ) -> None:
        message = post.message(55)
        url = message["Metadata"]["key_url"].replace(*change, 1)
        asked = post.keys_asked()
        assert post.send({**message, "Metadata": {"key_url": url}}) == 403
        assert post.keys_asked() == asked
        assert not [hint for hint in post.hints() if hint[1] == 55]

    def test_another_customer_of_the_same_host_is_refused(self, post: Post) -> None:
        own = post.message(66)
        url = own["Metadata"]["key_url"].replace("companyName=demo", "companyName=other")
        for message in (
            {**own, "CompanyId": "other", "Metadata": {"key_url": url}},
            {**own, "Metadata": {"key_url": url}},
            {**own, "CompanyId": "other"},
        ):
            body = msgspec.json.encode(message)
            signature = post.simulator.callbacks.signature(body, "other")
            assert post.send(body, signed=signature) == 403
        assert not [hint for hint in post.hints() if hint[1] == 66]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"[]",
            b'{"Action": "updated"}',
            b'{"Action":"updated","Type":"ticket","ID":0,"CompanyId":"demo","Metadata":{"key_url":""}}',
            b"[" * 100_000,
        ],
    )
    def test_what_is_no_callback_is_refused(self, post: Post, body: bytes) -> None:
        assert post.send(body) == 422

    @pytest.mark.parametrize(
        "entity", [None, "", "{", "[]", '{"_info": 7}', '{"_info":{"lastUpdated":"x"}}', 7, {}]
    )
    def test_a_record_inside_that_makes_no_sense_is_no_reason_to_refuse(
        self, post: Post, entity: object
    ) -> None:
        assert post.send(post.message(77, Entity=entity)) == 204

    def test_a_large_body_is_refused_however_it_is_sent(self, post: Post) -> None:
        whole = httpx.post(f"{post.url}/{TOKEN}", content=b"x" * 10_000_000, timeout=PATIENCE)
        assert whole.status_code == 413
        parts = (b"x" * 100_000 for _ in range(100))
        try:
            answer = httpx.post(f"{post.url}/{TOKEN}", content=parts, timeout=PATIENCE)
            chunked = answer.status_code
        except httpx.WriteError:  # it was refused while it was still being sent
            chunked = 413
        assert chunked == 413

    def test_a_slow_sender_is_let_go_after_five_seconds(self, post: Post) -> None:
        place = urlsplit(post.url)
        address = place.hostname or "", place.port or 0
        with socket.create_connection(address, timeout=PATIENCE) as sender:
            began = time.monotonic()
            head = f"POST /callbacks/{TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{"
            sender.sendall(head.encode())
            assert b" 408 " in sender.recv(100)
            assert time.monotonic() - began > 4

    def test_senders_that_never_come_to_an_end_keep_nobody_waiting(
        self, post: Post, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cw_pipeline.live.receiver._SLOWEST_HEAD", 3.0)
        listener = Listener.of("connectwise", post.simulator.url, "demo", TOKEN)
        with receiving(post.dsn, listener) as url, ExitStack() as stack:
            files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # both ends are ours
            place = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
            senders = [
                stack.enter_context(socket.create_connection(place))
                for _ in range(min(2_000, files // 2 - 200))
            ]
            assert len(senders) > 100, "raise the limit of open files (ulimit -n)"
            for sender in senders[::2]:
                sender.sendall(b"POST /callbacks HTTP/1.1\r\nHost: x\r\n")
            health = httpx.get(url.replace("/callbacks", "/health"), timeout=PATIENCE)
            assert health.json() == {"status": "ok"}
            assert replace(post, url=url).send(post.message(47)) == 204
            for sender in senders:
                sender.settimeout(PATIENCE)
                with suppress(ConnectionResetError):
                    assert sender.recv(1) == b""

    def test_a_warehouse_that_was_away_takes_the_next_callback(self, post: Post) -> None:
        assert post.send(post.message(48)) == 204
        rows_of(
            post.dsn,
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and usename = session_user"
            " and pid <> pg_backend_pid()",
        )
        assert post.send(post.message(48)) in {204, 429}
        assert post.send(post.message(49)) == 204
        assert ("ticket", 49, "updated", 1) in post.hints()

    def test_forgeries_do_not_make_us_ask_for_keys_again_and_again(self, post: Post) -> None:
        before = post.keys_asked()
        for _ in range(20):
            assert post.send(post.message(88), signed="forged") == 403
        assert post.keys_asked() <= before + 1
        answers = set()
        for number in range(30):
            url = f"{post.simulator.callbacks.key_url(1)}{number}"
            message = post.message(89, Metadata={"key_url": url})
            answers.add(post.send(message, signed="forged"))
        assert post.keys_asked() <= before + 12
        assert answers == {403, 429}

    def test_what_was_refused_is_counted_by_reason(self, post: Post) -> None:
        assert post.send(post.message(90), token="guess") == 403
        post.send(post.message(91))
        for _ in range(100):
            counts = rows_of(post.dsn, "select outcome, times from cw_sync.callback_count")
            if "token" in dict(counts):
                return
            post.send(post.message(91))
            time.sleep(0.05)
        raise AssertionError(counts)

    def test_that_it_listens_is_in_the_warehouse(self, post: Post) -> None:
        with psycopg.connect(post.dsn) as connection:
            for _ in range(200):
                standing = callback_standing(connection, "connectwise")
                connection.commit()
                if standing.listens:
                    break
                time.sleep(0.05)
            assert standing.listens

    def test_the_health_endpoint_answers(self, post: Post) -> None:
        health = httpx.get(post.url.replace("/callbacks", "/health"), timeout=PATIENCE)
        assert health.json() == {"status": "ok"}


def test_with_the_warehouse_away_senders_are_asked_to_come_again(dsn: str) -> None:
    away = f"postgresql://nobody:secret@127.0.0.1:{free_port()}/none"
    with Simulator(Tenant()) as simulator:
        listener = Listener.of("connectwise", simulator.url, "demo", TOKEN)
        with receiving(away, listener) as url:
            assert Post(url, simulator, dsn).send(Post(url, simulator, dsn).message()) == 429


def test_with_the_key_away_senders_are_asked_to_come_again_and_nothing_is_stored(
    dsn: str,
) -> None:
    port = free_port()
    listener = Listener.of("connectwise", f"http://127.0.0.1:{port}", "demo", TOKEN)
    with receiving(dsn, listener) as url:
        with Simulator(Tenant(), port=port) as simulator:
            post = Post(url, simulator, dsn)
            message = post.message()
            body = msgspec.json.encode(message)
            signed = simulator.callbacks.signature(body)
        assert post.send(body, signed=signed) == 429
        assert post.hints() == []
        with Simulator(Tenant(), port=port) as simulator:
            assert Post(url, simulator, dsn).send(message) == 204
        assert post.hints() == [("ticket", 7601, "updated", 1)]


def test_a_callback_of_the_simulator_becomes_a_hint(dsn: str) -> None:
    tenant = Tenant()
    with Simulator(tenant) as simulator:
        listener = Listener.of("connectwise", simulator.url, "demo", TOKEN)
        with receiving(dsn, listener) as url:
            entry = {"url": f"{url}/{TOKEN}?recordId=", "type": "Ticket", "level": "Owner"}
            tenant.put("/system/callbacks", {**entry, "objectId": 1})
            tenant.put("/service/tickets", {"id": 7601, "summary": "x"})
            post = Post(url, simulator, dsn)
            for _ in range(200):
                if post.hints():
                    break
                time.sleep(0.02)
            assert post.hints() == [("ticket", 7601, "added", 1)]


@pytest.mark.parametrize(
    ("site", "key_host"),
    [
        ("na.myconnectwise.net", "na.myconnectwise.net"),
        ("api-na.myconnectwise.net", "na.myconnectwise.net"),
        ("sandbox-na.myconnectwise.net", "sandbox-na.myconnectwise.net"),
        ("https://psa.example.com:8443", "psa.example.com:8443"),
    ],
)
def test_a_key_is_asked_of_the_host_that_real_messages_name(site: str, key_host: str) -> None:
    url = f"https://{key_host}/v2025_1//system/callbackkey/index.rails?companyName=Demo&id=1"
    listener = Listener.of("connectwise", site, "demo", TOKEN)
    assert listener.is_key_url(url)
    assert not listener.is_key_url(url.replace(key_host, f"{key_host}.example.org"))
    assert not listener.is_key_url(url.replace(key_host, f"evil.example.org/{key_host}"))
    assert not listener.is_key_url(url.replace("https", "http"))


def test_the_signature_is_the_guides() -> None:
    from cw_pipeline.live.signature import signature  # noqa: PLC0415

    secret = hashlib.sha256(b"sharedSecretKey").digest()
    expected = base64.b64encode(hmac.new(secret, b"{}", hashlib.sha256).digest())
    assert signature("sharedSecretKey", b"{}") == expected
