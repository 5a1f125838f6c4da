"""Where a tenant lives: the rules of the guide's "Cloud vs Premise" and "Cloud URLs". Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cw_pipeline.errors import ConfigError

_CLOUD = (".myconnectwise.net", ".connectwisedev.com")
_ON_PREMISE = "v4_6_release/"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks. The keys never show in a repr."""

    company: str
    public_key: str = field(repr=False)
    private_key: str = field(repr=False)
    client_id: str = field(repr=False)
    impersonate: str = ""
    user_type: str = "member"


@dataclass(frozen=True, slots=True)
class Site:
    """A tenant's addresses: `info` answers /login/companyinfo, `api` holds the API."""

    info: str
    api: str
    fixed: bool

    @classmethod
    def of(cls, text: str) -> Site:
        """The site `CW_SITE` names. Raises ConfigError when it cannot be one."""
        fixed = "://" in text
        try:
            parts = urlsplit(text if fixed else f"https://{text}")
            host, port_number = (parts.hostname or "").lower(), parts.port
        except ValueError as error:
            raise ConfigError(f"CW_SITE={_without_secret(text)!r} is no site: {error}") from None
        if not host or parts.scheme not in ("http", "https") or parts.username:
            raise ConfigError(
                f"CW_SITE={_without_secret(text)!r} is no site. Give a host such as"
                " na.myconnectwise.net, or a URL such as https://psa.example.com"
            )
        if parts.scheme == "http" and not _is_loopback(host):
            raise ConfigError(
                f"CW_SITE asks for plain http to {host}: the API keys would cross the network in"
                " clear text, and ConnectWise refuses it. Use https"
            )
        port = f":{port_number}" if port_number else ""
        host = f"[{host}]" if ":" in host else host
        is_cloud = host.endswith(_CLOUD)
        name = host.removeprefix("sandbox-") if is_cloud else host
        plain = name.removeprefix("api-") if is_cloud else name
        api = f"api-{plain}" if is_cloud else name
        info = host if fixed else plain
        scheme = parts.scheme
        return cls(f"{scheme}://{info}{port}", f"{scheme}://{api}{port}", fixed)

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine itself."""
        return _is_loopback(urlsplit(self.api).hostname or "")

    def base(self, codebase: str) -> str:
        """The API's base URL, with the codebase that companyinfo gave."""
        api = self.api
        host = urlsplit(api).hostname or ""
        hosted = codebase != _ON_PREMISE and not self.fixed
        if hosted and not host.startswith("api-"):
            # The guide: any codebase but v4_6_release/ must be asked with the prefix.
            api = api.replace("://", "://api-", 1)
        return f"{api}/{codebase.strip('/')}/apis/3.0"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_secret(text: str) -> str:
    return text.rsplit("@", 1)[-1]
