"""Where a tenant lives, who asks, and which servers are believed to be it.

Addresses by the rules of the guide's "Cloud vs Premise" and "Cloud URLs".
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from cw_pipeline.errors import ConfigError

_CLOUD = (".myconnectwise.net", ".connectwisedev.com")
_ON_PREMISE = "v4_6_release/"
_SHORT = 7  # letters: such words are no keys, and part of others


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks. The keys never show in a repr."""

    company: str
    public_key: str = field(repr=False)
    private_key: str = field(repr=False)
    client_id: str = field(repr=False)
    impersonate: str = ""
    user_type: str = "member"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may hold, though a server or a proxy says it: also as it is sent."""
        sent = f"{self.company}+{self.public_key}:{self.private_key}"
        keys = (self.private_key, self.public_key, self.client_id)
        return (b64encode(sent.encode()).decode(), *(key for key in keys if len(key) > _SHORT))


@dataclass(frozen=True, slots=True)
class Site:
    """A tenant's addresses: `info` answers /login/companyinfo, `api` holds the API.

    `fixed`: it was named by a URL, which holds for both. `is_loopback`: it is this machine itself.
    """

    info: str
    api: str
    fixed: bool
    is_loopback: bool

    @classmethod
    def of(cls, text: str) -> Site:
        """The site `CW_SITE` names. Raises ConfigError when it cannot be one."""
        fixed = "://" in text
        try:
            parts = urlsplit(text if fixed else f"https://{text}")
            host, port_number = (parts.hostname or "").lower(), parts.port
        except ValueError as error:
            raise ConfigError(f"CW_SITE={_without_secret(text)!r} is no site: {error}") from None
        if not _is_host(host) or parts.scheme not in ("http", "https") or parts.username:
            raise ConfigError(
                f"CW_SITE={_without_secret(text)!r} is no site. Give a host such as"
                " na.myconnectwise.net, or a URL such as https://psa.example.com"
            )
        try:
            is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:  # a name
            is_loopback = False
        if parts.scheme == "http" and not is_loopback:
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
        return cls(f"{scheme}://{info}{port}", f"{scheme}://{api}{port}", fixed, is_loopback)

    def base(self, codebase: str) -> str:
        """The API's base URL, with the codebase that companyinfo gave."""
        api = self.api
        host = urlsplit(api).hostname or ""
        hosted = codebase != _ON_PREMISE and not self.fixed
        if hosted and not host.startswith("api-"):
            # The guide: any codebase but v4_6_release/ must be asked with the prefix.
            api = api.replace("://", "://api-", 1)
        return f"{api}/{codebase.strip('/')}/apis/3.0"


def _is_host(host: str) -> bool:
    """Whether a request can be sent there."""
    try:
        return bool(host) and not re.search(r"[\s\\]", host) and bool(httpx.URL(host=host).host)
    except httpx.InvalidURL:
        return False


def _without_secret(text: str) -> str:
    return text.rsplit("@", 1)[-1]


_EXPIRED, _NOT_YET_VALID, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
"""X509_V_ERR_CERT_HAS_EXPIRED, _CERT_NOT_YET_VALID, _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH."""

_OLD_TLS = {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION"}
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}


def trust(ca_file: str | None) -> ssl.SSLContext:
    """The authorities whose certificates are accepted, for a connection.

    Those that httpx brings or SSL_CERT_FILE names, those of this machine's trust store, and the
    certificates in `ca_file` (PEM or DER; an authority's, or a server's own). Raises ConfigError
    naming CW_CA_FILE.
    """
    context = httpx.create_ssl_context()
    context.load_default_certs()
    if ca_file is None:
        return context
    try:
        content = Path(ca_file).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"CW_CA_FILE={ca_file} cannot be read: {error.strerror}") from None
    is_text = b"-----BEGIN" in content
    try:
        context.load_verify_locations(cadata=content.decode("latin-1") if is_text else content)
    except (ssl.SSLError, ValueError):
        raise ConfigError(
            f"CW_CA_FILE={ca_file} holds no certificate. It has to be the certificate of the"
            " authority that signed the server's, as PEM (`-----BEGIN CERTIFICATE-----`)"
        ) from None
    # From Python 3.13 on, authorities that lack extensions of RFC 5280 are refused. Self-made ones
    # often do. Signature, name and dates are verified all the same.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def certificate_fault(error: BaseException | None) -> str:
    """What is wrong with the server's certificate, and what to do; empty if nothing is."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    if error is None:
        return ""
    if error.verify_code == _EXPIRED:
        return (
            "the server's certificate has expired. Have it renewed: no setting helps, CW_CA_FILE"
            " neither"
        )
    if error.verify_code == _NOT_YET_VALID:
        return (
            "the server's certificate is not valid yet. Check this machine's clock; CW_CA_FILE does"
            " not help"
        )
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return (
            f"the server's certificate is for another name ({error.verify_message.rstrip('.')})."
            " Set CW_SITE to the name that the certificate has; CW_CA_FILE does not help"
        )
    return (
        f"the server's certificate is of an authority that is not trusted ({error.verify_message})."
        " If it is your company's own (an on-premise server, or a proxy that inspects TLS), set"
        " CW_CA_FILE to a file with that authority's certificate (PEM)"
    )


def handshake_fault(error: BaseException | None) -> str:
    """Why no TLS connection came about, if that is why; empty otherwise."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    if error is None or error.reason is None:
        return ""
    if error.reason in _NO_TLS:
        return (
            "what answers at this address does not speak TLS. Check the port in CW_SITE; of a"
            " server on this machine that speaks plain HTTP, it has to begin with http://"
        )
    if error.reason in _OLD_TLS:
        return "the server offers only versions of TLS below 1.2. Enable TLS 1.2 or later there"
    return f"the TLS handshake failed ({error.reason.lower().replace('_', ' ')})"
