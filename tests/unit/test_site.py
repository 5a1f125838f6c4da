"""Where a tenant lives, from what CW_SITE says."""

from __future__ import annotations

import pytest

from cw_pipeline.connectwise import Credentials, Site
from cw_pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("said", "info", "base"),
    [
        ("na.myconnectwise.net", "na", "api-na"),
        ("api-na.myconnectwise.net", "na", "api-na"),
        ("sandbox-na.myconnectwise.net", "na", "api-na"),
        ("NA.MyConnectWise.net", "na", "api-na"),
    ],
)
def test_a_cloud_host_gets_its_prefix_once(said: str, info: str, base: str) -> None:
    site = Site.of(said)
    assert site.info == f"https://{info}.myconnectwise.net"
    expected = f"https://{base}.myconnectwise.net/v2025_1/apis/3.0"
    assert site.base("v2025_1/") == expected


def test_a_host_of_ones_own_is_asked_as_it_is() -> None:
    site = Site.of("psa.example.com")
    assert site.info == "https://psa.example.com"
    assert site.base("v4_6_release/") == "https://psa.example.com/v4_6_release/apis/3.0"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_plain_http_is_for_loopback(host: str) -> None:
    site = Site.of(f"http://{host}")
    assert site.info == f"http://{host}"
    assert site.base("v2025_1/") == f"http://{host}/v2025_1/apis/3.0"
    assert site.is_loopback


def test_plain_http_across_a_network_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="clear text"):
        Site.of("http://psa.example.com")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "ftp://x",
        "https://",
        "https://me:hidden-word@host",
        "host:port",
        "http://[::1",
        "https://h:99999",
    ],
)
def test_what_is_no_site_is_named_without_its_secrets(said: str) -> None:
    with pytest.raises(ConfigError, match="CW_SITE") as caught:
        Site.of(said)
    assert "hidden-word" not in str(caught.value)


def test_keys_do_not_show() -> None:
    assert "secret" not in repr(Credentials("acme", "secret-1", "secret-2", "secret-3"))


@pytest.mark.parametrize("site", ["na myconnectwise.net", "\ufeffna.myconnectwise.net", "https://"])
def test_a_host_that_no_request_can_be_sent_to_is_refused_by_name(site: str) -> None:
    with pytest.raises(ConfigError, match=r"^CW_SITE=.* is no site"):
        Site.of(site)
