"""Each list is asked in the version that CW_API_VERSION names for it."""

from __future__ import annotations

from datetime import date

import pytest

from cw_pipeline import composition
from cw_pipeline.errors import ConfigError
from cw_pipeline.model import ApiVersions
from cw_pipeline.settings import Settings

VERSIONS = ApiVersions.of("finance/agreements/*=2023.4, 2025.1 ,finance/*=2024.1")


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/service/tickets?pageSize=1000", "2025.1"),
        ("/finance/invoices", "2024.1"),
        ("/finance/invoices/count?conditions=id>5", "2024.1"),
        ("/finance/agreements/search", "2024.1"),
        ("/finance/agreements/12/additions?pageSize=1000&pageId=0", "2023.4"),
        ("finance/agreements/additions", "2023.4"),
        ("/Finance/Invoices", "2024.1"),
        ("/company/companies/5/sites/finance", "2025.1"),
    ],
)
def test_the_first_pattern_that_fits_a_list_counts(path: str, version: str) -> None:
    assert VERSIONS.version_of(path) == version


@pytest.mark.parametrize("text", ["", "finance/*=2024.1", "2025.1,2024.1", "2025.1,=2024.1",
                                  "2025.1,finance/*=", "2025.1;x", "2025.1,finance/*"])  # fmt: skip
def test_what_names_no_version_for_all_or_two_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"CW_API_VERSION: a version such as 2025\.1, and others"):
        Settings.of({"CW_API_VERSION": text})


def test_a_pattern_that_fits_no_list_is_refused_by_name() -> None:
    tenant = {"CW_SITE": "na.myconnectwise.net", "CW_COMPANY": "demo", "CW_PUBLIC_KEY": "a"}
    keys = {"CW_PRIVATE_KEY": "b", "CW_CLIENT_ID": "c"}
    settings = Settings.of(
        {**tenant, **keys, "CW_API_VERSION": "2025.1,finace/*=2024.1,time/*=2024.1"}
    )
    with pytest.raises(ConfigError, match=r"CW_API_VERSION: finace/\* fits no list"):
        composition.source(settings)


def test_versions_are_old_a_year_after_their_month_or_quarter() -> None:
    old = VERSIONS.older_than_a_year
    assert old(date(2025, 3, 31)) == ["2023.4 (finance/agreements/*)"]
    assert old(date(2025, 4, 1)) == ["2024.1 (finance/*)", "2023.4 (finance/agreements/*)"][::-1]
    assert old(date(2026, 4, 1))[0] == "2025.1 (all other lists)"
    assert ApiVersions.of("2025.11").older_than_a_year(date(2026, 12, 1)) == ["2025.11 (all lists)"]
    assert ApiVersions.of("2025.11").older_than_a_year(date(2026, 11, 30)) == []
