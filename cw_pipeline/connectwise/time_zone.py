"""The time zone that a tenant works in, as an IANA name, read off its time zone setups and members.

ConnectWise names zones as Windows does, or as whoever set it up liked: "US Eastern", "(GMT+01:00)
Amsterdam, Berlin, Bern". A name counts only if its zone has the offset that the setup has.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from cw_pipeline.errors import SourceError

if TYPE_CHECKING:
    from cw_pipeline.connectwise.client import ConnectWise

# What Windows and people call zones without naming a city that is one of the IANA's.
_NAMED = (
    (r"arizona", "America/Phoenix"),
    (r"saskatchewan", "America/Regina"),
    (r"indiana", "America/Indiana/Indianapolis"),
    (r"newfoundland", "America/St_Johns"),
    (r"atlantic", "America/Halifax"),
    (r"\beastern|\best\b", "America/New_York"),
    (r"\bcentral|\bcst\b", "America/Chicago"),
    (r"\bmountain|\bmst\b", "America/Denver"),
    (r"\bpacific|\bpst\b", "America/Los_Angeles"),
    (r"alaska", "America/Anchorage"),
    (r"hawaii", "Pacific/Honolulu"),
    (r"edinburgh|greenwich|\bgmt standard|united kingdom|\buk\b", "Europe/London"),
    (r"western europe|w\. europe|\bcet\b", "Europe/Berlin"),
    (r"central europe|romance", "Europe/Paris"),
    (r"eastern europe|\bfle\b|\bgtb\b", "Europe/Helsinki"),
    (r"canberra|aus(tralia)? eastern", "Australia/Sydney"),
    (r"aus(tralia)? central|cen\. australia", "Australia/Adelaide"),
    (r"w\. australia|aus(tralia)? western", "Australia/Perth"),
    (r"new zealand|wellington", "Pacific/Auckland"),
    (r"pretoria|south africa", "Africa/Johannesburg"),
    (r"abu dhabi|arabian", "Asia/Dubai"),
    (r"mumbai|new delhi|\bindia\b", "Asia/Kolkata"),
    (r"beijing|hong kong|china", "Asia/Shanghai"),
    (r"osaka|japan", "Asia/Tokyo"),
    (r"coordinated universal|\butc\b(?![+-])", "Etc/UTC"),
)
_REGIONS = ("Africa", "America", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")


@dataclass(frozen=True, slots=True)
class TenantTimeZone:
    """What the tenant calls its time zone, and the IANA name of it, if it is known."""

    label: str
    zone: str | None
    reason: str


def tenant_time_zone(source: ConnectWise) -> TenantTimeZone | None:
    """The tenant's own: its default setup, else the one that most of its members have.

    Costs one or two requests. None where it has none, or the API member may not read them.
    """
    try:
        setups = {one["id"]: one for one in _all(source, "/system/timeZoneSetups?pageSize=1000")}
        if not setups:
            return None
        defaults = [one for one in setups.values() if one.get("defaultFlag")]
        chosen, reason = (defaults or [*setups.values()])[0], "its default"
        if len(defaults) != 1 and len(setups) > 1:
            used = _of_members(source)
            most = next((key for key, _ in used.most_common() if key in setups), None)
            if most is not None:
                chosen = setups[most]
                reason = f"that of {used[most]} of {used.total()} members"
    except SourceError:
        return None
    words = [str(chosen.get("name") or ""), str((chosen.get("timeZone") or {}).get("name") or "")]
    label = words[0] or words[1]
    offset = chosen.get("offset")
    zones = (zone_named(each, offset) for each in words if each)
    return TenantTimeZone(label, next(filter(None, zones), None), reason)


def _all(source: ConnectWise, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = source.get(path, msgspec.json.decode)
    return found


def _of_members(source: ConnectWise) -> Counter[int]:
    """How many members have each time zone setup."""
    members = _all(source, "/system/members?pageSize=1000&fields=id,timeZone")
    return Counter(one["timeZone"]["id"] for one in members if one.get("timeZone"))


def zone_named(name: str, offset: float | None = None) -> str | None:
    """The IANA name of a zone that ConnectWise names so; None if none has this offset (in hours).

    The offset may be the one in winter or in summer. The zone itself may be named, too.
    """
    text = _plain(name)
    exact = next((zone for zone in _zones() if zone.lower() == name.strip().lower()), None)
    named = [zone for pattern, zone in _NAMED if re.search(pattern, text)]
    cities = [zone for city, zone in _cities().items() if re.search(rf"\b{city}\b", text)]
    for zone in (exact, *sorted(cities, key=lambda zone: -len(zone)), *named):
        if zone is not None and (offset is None or offset in _offsets(zone)):
            return "UTC" if zone == "Etc/UTC" else zone
    return None


def same_clock(one: str, other: str) -> bool:
    """Whether two zones show the same time all year."""
    return all(ZoneInfo(one).utcoffset(at) == ZoneInfo(other).utcoffset(at) for at in _year())


def _offsets(zone: str) -> set[float]:
    hour = timedelta(hours=1)
    return {(ZoneInfo(zone).utcoffset(at) or timedelta()) / hour for at in _year()}


def _year() -> list[datetime]:
    year = datetime.now(UTC).year
    return [datetime(year, month, 15, 12) for month in range(1, 13)]  # noqa: DTZ001 - local


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


@cache
def _cities() -> dict[str, str]:
    """The zone of each city that has one of its own."""
    known = (zone for zone in sorted(_zones()) if zone.partition("/")[0] in _REGIONS)
    return {_plain(zone.rpartition("/")[2].replace("_", " ")): zone for zone in known}


def _plain(text: str) -> str:
    """Small letters without accents."""
    folded = unicodedata.normalize("NFKD", text)
    return "".join(each for each in folded if not unicodedata.combining(each)).lower()
