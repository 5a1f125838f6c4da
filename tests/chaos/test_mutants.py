"""The tests would notice: the code is broken on purpose, and each break is caught.

`test tests/chaos/test_mutants.py --mutants` breaks it, and tells which test saw what; a plain run
only looks whether the list of breaks still fits the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.conftest import SEEN
from tests.chaos.mutants import MUTANTS, Mutant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_every_break_still_fits_the_code() -> None:
    for mutant in MUTANTS:
        for module, text in mutant.broken().items():
            if module.endswith(".py"):
                compile(text, module, "exec")


@pytest.mark.timeout(0)  # as long as the tests take that are to see it
def test_a_test_sees_the_break(
    mutant: Mutant,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    histories: int = request.config.getoption("--histories")
    catcher = mutant.catcher(mutant.planted(tmp_path), max(20, histories))
    assert catcher is not None, f"no test of {', '.join(mutant.tests)} sees it"
    record_property(SEEN, f"{mutant.name}: {catcher}")
