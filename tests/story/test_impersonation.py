"""Asking with keys made for a member, as the guide's "Member Impersonation" describes."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import stamina

from cw_pipeline import composition
from cw_pipeline.errors import ConfigError, SourceDenied
from cw_pipeline.settings import Settings
from cw_pipeline.simulator import CLIENT_ID, Fault, Simulator, Tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.connectwise import ConnectWise

LIST = "/service/tickets"
TOKENS = "/system/members/jdoe/tokens"


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@contextmanager
def impersonating(simulator: Simulator, **options: Any) -> Iterator[ConnectWise]:
    given: dict[str, Any] = {
        "site": simulator.url,
        "company": "demo",
        "public_key": "public",
        "private_key": "private",
        "client_id": CLIENT_ID,
        "auth": "impersonation",
        "impersonate": "jdoe",
    }
    settings = Settings(**{**given, **options})
    with composition.source(settings) as source:
        yield source


def ask(source: ConnectWise) -> Any:
    return source.get(LIST, msgspec.json.decode)


def asked_for_keys(simulator: Simulator) -> int:
    return simulator.count_by_path()[TOKENS]


@pytest.mark.parametrize("user_type", ["member", "integrator"])
def test_keys_are_made_once_and_used_for_every_question(
    simulator: Simulator, tenant: Tenant, user_type: str
) -> None:
    tenant.put(LIST, {"id": 1})
    with impersonating(simulator, user_type=user_type) as source:
        assert [ask(source)[0]["id"] for _ in range(3)] == [1, 1, 1]
    assert asked_for_keys(simulator) == 1
    assert {seen.status for seen in simulator.requests} == {200}


@pytest.mark.parametrize("days", [-3, 0, 3], ids="server {} days off".format)
def test_keys_are_renewed_before_they_expire_whatever_our_clock_says(
    simulator: Simulator, tenant: Tenant, days: int
) -> None:
    tenant.advance(days * 86400)
    with impersonating(simulator) as source:
        ask(source)
        ask(source)
        assert asked_for_keys(simulator) == 1
        source._auth._renew_at -= timedelta(hours=3, minutes=54).total_seconds()  # type: ignore[attr-defined]
        ask(source)
        assert asked_for_keys(simulator) == 1
        source._auth._renew_at -= timedelta(minutes=2).total_seconds()  # type: ignore[attr-defined]
        ask(source)
        assert asked_for_keys(simulator) == 2
    assert {seen.status for seen in simulator.requests} == {200}


def test_keys_that_no_longer_open_are_made_anew_once(simulator: Simulator, tenant: Tenant) -> None:
    with impersonating(simulator) as source:
        ask(source)
        tenant.advance(5 * 3600)  # expired there; a laptop that slept does not notice
        assert ask(source) == []
        simulator.keys.client_id = "changed"
        with pytest.raises(SourceDenied):
            ask(source)
    assert asked_for_keys(simulator) <= 4


@pytest.mark.parametrize("kind", ["500", "503", "429", "reset"])
def test_a_bad_moment_while_keys_are_made_passes(simulator: Simulator, kind: Any) -> None:
    fault = Fault(kind, path=TOKENS, times=2, retry_after=0)
    simulator.faults.add(fault)
    with impersonating(simulator) as source:
        assert ask(source) == []
    assert fault.fired == 2


def test_keys_that_are_refused_name_the_settings(simulator: Simulator, tenant: Tenant) -> None:
    tenant.put("/system/members", {"id": 1, "identifier": "somebody"})
    with impersonating(simulator) as source, pytest.raises(SourceDenied, match="CW_IMPERSONATE"):
        ask(source)


def test_an_answer_with_keys_does_not_stay_in_memory(simulator: Simulator, tenant: Tenant) -> None:
    tenant.put(LIST, {"id": 1})
    gc.collect()
    gc.disable()
    try:
        with impersonating(simulator) as source:
            ask(source)
            answers = [each for each in gc.get_objects() if type(each) is httpx.Response]
            assert not [each for each in answers if b"privateKey" in each.content]
    finally:
        gc.enable()


def test_impersonation_needs_a_member(simulator: Simulator) -> None:
    with (
        pytest.raises(ConfigError, match="CW_IMPERSONATE"),
        impersonating(simulator, impersonate=None),
    ):
        pass


def test_cookies_are_refused_with_the_guides_reason(simulator: Simulator) -> None:
    with (
        pytest.raises(ConfigError, match=r"API Members.*SAML"),
        impersonating(simulator, auth="cookie"),
    ):
        pass


def test_no_key_shows_in_an_error(simulator: Simulator) -> None:
    simulator.keys.private = "rotated"
    with impersonating(simulator, private_key="s3cr3t") as source:
        with pytest.raises(SourceDenied) as raised:
            ask(source)
        assert "s3cr3t" not in repr(raised.value) + repr(source)
