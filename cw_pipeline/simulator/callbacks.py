"""Callbacks: a POST to whoever registered at `/system/callbacks`, when a record changes.

Deliveries come from a few threads, started by the first of them: those of a record one after the
other, as it changed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import queue
import threading
import time
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit
from uuid import NAMESPACE_URL, uuid4, uuid5

import msgspec

from cw_pipeline.simulator.answers import Answer, as_json
from cw_pipeline.simulator.levels import REGISTRATIONS, covers, type_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from cw_pipeline.simulator.tenant import Change, Tenant

_ACCEPTED = range(200, 300)
_RETRIED = frozenset({404, 409, 419, 429})
_TIMEOUT = 5.0
_SENDERS = 4
_FAILING_DAYS = 3
_KEY_PATH = "/v2025_1//system/callbackkey/index.rails"
"""Of a `key_url`, as real messages have it: beside the API, and with two slashes."""


@dataclass(frozen=True, slots=True)
class _Delivery:
    registration: int
    url: str
    body: bytes


class Callbacks:
    """Watches a tenant and delivers. `waits` are the seconds before each further attempt."""

    def __init__(
        self, tenant: Tenant, url: str, company: str, waits: tuple[float, ...] = (2.0, 4.0)
    ) -> None:
        self._tenant, self._url, self._company, self._waits = tenant, url, company, waits
        self._secret = uuid4().hex
        self._queues: list[queue.Queue[_Delivery | None]] = [queue.Queue() for _ in range(_SENDERS)]
        self._is_sending = False
        self._failed_days: dict[int, set[date]] = {}

    def listen(self) -> None:
        """From now on changes are delivered."""
        self._tenant.watchers.append(self._queue_deliveries)

    def close(self) -> None:
        """No more deliveries; what is queued is dropped."""
        if self._queue_deliveries in self._tenant.watchers:
            self._tenant.watchers.remove(self._queue_deliveries)
        for each in self._queues:
            each.put(None)

    def key(self, path: str, query: Mapping[str, str]) -> Answer | None:
        """The answer at `key_url`, the key that signs; None for any other path.

        One host serves many customers: another company's name gets another key.
        """
        if path.replace("//", "/") != _KEY_PATH.replace("//", "/"):
            return None
        company = query.get("companyName", "").lower()
        return as_json({"signing_key": self._secret_of(company)})

    def key_url(self, registration: int) -> str:
        """Where the key of a registration is: each has an address of its own."""
        key_id = uuid5(NAMESPACE_URL, f"{self._url}/{registration}")
        return f"{self._url}{_KEY_PATH}?companyName={self._company}&id={key_id}"

    def _secret_of(self, company: str) -> str:
        return self._secret if company == self._company.lower() else f"{self._secret}-{company}"

    def signature(self, body: bytes, company: str | None = None) -> str:
        """The `x-content-signature` of a body: HMAC-SHA256 under the SHA-256 of the key.

        With a `company` it is the signature that another customer of the same host would have.
        """
        secret = self._secret_of((company or self._company).lower())
        key = hashlib.sha256(secret.encode()).digest()
        return base64.b64encode(hmac.new(key, body, hashlib.sha256).digest()).decode()

    def _queue_deliveries(self, change: Change) -> None:
        if type_of(change.path) is None or not self._tenant.has(REGISTRATIONS):
            return
        for each in self._tenant.records(REGISTRATIONS).values():
            # One that was put without an address must not break who changes a record.
            wanted = isinstance(each.get("url"), str) and not each.get("inactiveFlag")
            if wanted and covers(each, change.path, change.record, self._tenant):
                self._deliver(each, change)

    def _deliver(self, registration: dict[str, Any], change: Change) -> None:
        record_id = change.record["id"]
        body = msgspec.json.encode(self._message(registration, change))
        url = _with_id(registration["url"], record_id, change.action)
        waiting = self._queues[record_id % _SENDERS]
        waiting.put(_Delivery(registration["id"], url, body))
        if not self._is_sending:
            self._is_sending = True
            for each in self._queues:
                run = partial(self._send, each)
                threading.Thread(target=run, name="callbacks", daemon=True).start()

    def _message(self, registration: dict[str, Any], change: Change) -> dict[str, Any]:
        entity = None
        if change.action != "deleted":
            entity = msgspec.json.encode(change.record).decode()
        return {
            "Action": change.action,
            "CallbackObjectRecId": registration["id"],
            "CompanyId": self._company,
            "Entity": entity,
            "FromUrl": urlsplit(self._url).netloc,
            "ID": change.record["id"],
            "MemberId": "zadmin",
            "MessageId": str(uuid4()),
            "Metadata": {"key_url": self.key_url(registration["id"])},
            "PartnerId": self._company,
            "ProductInstanceId": "1",
            "Type": str(registration["type"]).lower(),
        }

    def _send(self, waiting: queue.Queue[_Delivery | None]) -> None:
        while (each := waiting.get()) is not None:
            headers = {
                "Content-Type": "application/json",
                "x-content-signature": self.signature(each.body),
            }
            if _deliver(each, headers, self._waits):
                self._failed_days.pop(each.registration, None)
            else:
                self._count_failure(each.registration)

    def _count_failure(self, registration: int) -> None:
        """The third failing day in a row switches the callback off."""
        with self._tenant.lock:
            days = self._failed_days.setdefault(registration, set())
            days.add(self._tenant.now().date())
            if len(days) >= _FAILING_DAYS:
                del self._failed_days[registration]  # who switches it on again has three days again
                if registration in self._tenant.collection(REGISTRATIONS):
                    self._tenant.edit(REGISTRATIONS, registration, inactiveFlag=True)


def _deliver(delivery: _Delivery, headers: dict[str, str], waits: tuple[float, ...]) -> bool:
    for wait in (*waits, None):
        status = _post(delivery, headers)
        if status in _ACCEPTED:
            return True
        if status not in _RETRIED or wait is None:
            return False
        time.sleep(wait)
    return False


def _post(delivery: _Delivery, headers: dict[str, str]) -> int | None:
    """The status of one attempt; None when there was no answer in time."""
    try:
        connection, parts = _connection(delivery.url)
    except ValueError:  # an address that was put into the tenant as it is, and is none
        return None
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, delivery.body, headers)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _connection(url: str) -> tuple[HTTPConnection, SplitResult]:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=_TIMEOUT), parts


def _with_id(url: str, record_id: int, action: str) -> str:
    """The id goes to the very end of the URL, whatever stands there; so the guide warns."""
    joint = "" if url.endswith("=") or "?" in url else "?"
    return f"{url}{joint}{record_id}&action={action}"
