"""Addresses of Postgres: one reader for all of them, which shows no part of a password."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from cw_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SETTING = "CW_WAREHOUSE_DSN"
_SECRETS = frozenset(o.keyword.decode() for o in pq.Conninfo.get_defaults() if o.dispchar == b"*")
_SHORT = 5  # letters of a password
_PLACE = ("host", "hostaddr", "user", "dbname")
_SEMICOLON = re.compile(r";\s*\w+\s*=")
_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.:-]*://", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})|%00")
_ENCODE = "percent-encode @ : / ? # % and blanks in user and password (%40 %3A %2F %3F %23 %25 %20)"


def parse_address(address: str, setting: str = _SETTING) -> dict[str, str]:
    """An address as libpq's parameters: `host`, `user`, `password`, `dbname` and so on.

    URLs (`postgres://`, `postgresql://`, also with a driver as in `postgresql+psycopg://`) and
    libpq's keyword form (`host=db user=etl`, `service=warehouse`). What an address leaves out comes
    from the `PG*` variables and service files when it is used.

    Raises ConfigError that names the setting and the fix, and quotes nothing of the address.
    """
    text = address.strip()
    reason = _fault(text)
    if reason is None:
        scheme = _SCHEME.match(text)
        try:
            found = conninfo_to_dict(f"postgresql://{text[scheme.end() :]}" if scheme else text)
        except (psycopg.Error, UnicodeError) as error:
            reason = _unread(str(error), url=scheme is not None)
        else:
            parameters = {name: str(value) for name, value in found.items() if value is not None}
            ports = parameters.get("port", "").split(",")
            if not all(not port or (port.isascii() and port.isdigit()) for port in ports):
                reason = f"its port is no number; {_ENCODE}"
            elif any(_SEMICOLON.search(parameters.get(name, "")) for name in _PLACE):
                # All that follows, a password too, would else be shown as the name of a server.
                reason = "there is a ; between its parts: write blanks there, in a URL ? and &"
            else:
                return parameters
    # Outside of any handler: libpq's own messages quote the address, and its password with it.
    raise ConfigError(
        f"{setting} is no address of a database that can be used: {reason}. For example"
        " postgresql://user:password@host:5432/name"
    )


def describe_address(address: str, setting: str = _SETTING) -> str:
    """Where an address leads, for people: `etl@db.example.com:5432/warehouse`. No password.

    Parts that come from `PG*` variables or a service file are left out. Raises ConfigError.
    """
    found = parse_address(address, setting)
    user, host = found.get("user", ""), found.get("host") or found.get("hostaddr", "")
    port = f":{found['port']}" if "port" in found else ""
    place = f"{user}{'@' * bool(user)}{host}{port}/{found.get('dbname', '')}"
    return f"service {found['service']}" if "service" in found else place


def _fault(text: str) -> str | None:
    """What makes libpq read an address otherwise than it was meant, or print it."""
    if not text:
        return "it is empty"
    if text[0] in "\"'":
        return "there are quotes around it: take them away"
    scheme = _SCHEME.match(text)
    if scheme is None:
        if _OTHER_SCHEME.match(text):
            return "it is not an address of PostgreSQL: that begins with postgresql://"
        return None if "=" in text else "it is neither a URL nor made of name=value"
    rest = text[scheme.end() :]
    # As libpq does: user and password end at the first @, unless a / comes before it.
    credentials = re.match(r"[^@/]*@", rest)
    place, _, _ = rest[credentials.end() if credentials else 0 :].partition("?")
    faults = {
        "there is a blank in it": re.search(r"\s", rest),
        "there is a % that encodes nothing": _BAD_ESCAPE.search(rest),
        "there is an @ or a / too many": "@" in place or place.count("/") > 1,
    }
    return next((f"{fault}; {_ENCODE}" for fault, is_there in faults.items() if is_there), None)


def _unread(said: str, *, url: bool) -> str:
    """Why libpq could not read an address. Of what it says only names of its own are repeated."""
    quoted = re.findall(r'"([^"]*)"', said)
    known = [option.keyword.decode() for option in pq.Conninfo.get_defaults()]
    if len(quoted) == 1 and (near := get_close_matches(quoted[0], known, 1, 0.7)):
        return f"one of its parameters is unknown to PostgreSQL: did you mean {near[0]}?"
    if url:
        return f"PostgreSQL knows no such parameter, or cannot read it; {_ENCODE}"
    return "PostgreSQL cannot read it; put values with blanks or quotes into '…', and \\ before '"


def passwords(parameters: Mapping[str, str]) -> frozenset[str]:
    """What must not be printed. libpq takes a password from the environment, too."""
    found = {parameters.get(name) for name in _SECRETS} | {os.environ.get("PGPASSWORD")}
    return frozenset(secret for secret in found if secret)


def redact(text: str, hidden: Iterable[str]) -> str:
    """The text without the passwords, as they are and percent-encoded."""
    for secret in sorted(hidden, key=len, reverse=True):
        for form in {secret, quote(secret, safe="")}:
            # A short one is part of many words, and hiding it there would tell what it is.
            pattern = re.escape(form) if len(form) > _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
            text = re.sub(pattern, "***", text)
    return text
