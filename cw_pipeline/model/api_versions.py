"""Which version of the API's models a list is asked in (guide, "Versioning", "Per Endpoint")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import date

_WANTED = "a version such as 2025.1, and others for lists or globs of them: 2025.1,finance/*=2024.1"
_VERSION = re.compile(r"[\w.]+")
_RELEASE = re.compile(r"(20\d\d)\.(\d{1,2})")
_PART = re.compile(r"/(?:count|search)$|/\d+(?=/|$)")
_QUARTERS = 4


@dataclass(frozen=True, slots=True)
class ApiVersions:
    """The version that all lists are asked in, and others of some: `patterns`, first match wins."""

    usual: str
    patterns: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, text: str) -> Self:
        """The versions that a setting names. Raises ValueError, saying what is wanted."""
        usual: list[str] = []
        patterns: list[tuple[str, str]] = []
        for word in text.split(","):
            pattern, equals, version = (part.strip() for part in word.strip().rpartition("="))
            if not _VERSION.fullmatch(version) or bool(pattern) != bool(equals):
                raise ValueError(_WANTED)
            if pattern:
                patterns.append((pattern.strip("/").lower(), version))
            else:
                usual.append(version)
        if len(usual) != 1:
            raise ValueError(_WANTED)
        return cls(usual[0], tuple(patterns))

    def version_of(self, path: str) -> str:
        """The version for a path below the API's base, or for an entity's name."""
        name = _PART.sub("", path.partition("?")[0]).strip("/").lower()
        fitting = (version for pattern, version in self.patterns if fnmatchcase(name, pattern))
        return next(fitting, self.usual)

    @property
    def all(self) -> list[str]:
        """Every version that is asked for, once."""
        return list(dict.fromkeys((self.usual, *(version for _, version in self.patterns))))

    def unused_patterns(self, names: list[str]) -> list[str]:
        """The patterns that fit none of these entities."""
        lower = [name.lower() for name in names]
        return [
            pattern
            for pattern, _ in self.patterns
            if not any(fnmatchcase(name, pattern) for name in lower)
        ]

    def older_than_a_year(self, today: date) -> list[str]:
        """The versions that are, each once, with what is asked in it: `2024.1 (finance/*)`.

        The guide: a version is supported for 12 months after the next one has come.
        """
        asked: dict[str, list[str]] = {self.usual: ["all lists"]}
        if self.patterns:
            asked[self.usual] = ["all other lists"]
        for pattern, version in self.patterns:
            asked.setdefault(version, []).append(pattern)
        return [
            f"{version} ({', '.join(lists)})"
            for version, lists in asked.items()
            if _is_older_than_a_year(version, today)
        ]


def _is_older_than_a_year(version: str, today: date) -> bool:
    """By the end of its quarter or month: releases of a year are numbered by either."""
    found = _RELEASE.fullmatch(version)
    if found is None:
        return False
    year, number = int(found[1]), int(found[2])
    month = 3 * number if number <= _QUARTERS else min(number, 12)
    return (today.year - year) * 12 + today.month - month > 12  # noqa: PLR2004 - months of a year
