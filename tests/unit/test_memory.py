"""The tests' server lives in memory where that is possible, and on disk everywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import memory


@pytest.mark.parametrize("folder", ["/proc/self", "/nowhere", "/dev/null"])
def test_a_folder_that_nobody_can_write_to_is_not_used(folder: str) -> None:
    assert memory(Path(folder)) is None


def test_a_folder_without_room_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory(tmp_path) in (tmp_path, None)
    monkeypatch.setattr("tests.conftest._ROOM", 2**63)
    assert memory(tmp_path) is None
