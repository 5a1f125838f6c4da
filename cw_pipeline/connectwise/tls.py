"""Which servers are believed to be who they say they are, and what to do about one that is not."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from cw_pipeline.errors import ConfigError

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
