"""The compiled reader is built once, where only we can write, and loaded only if it is sound."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.transform import PageReader, compiled_build
from cw_pipeline.transform.compiled import reader_library
from cw_pipeline.transform.compiled_build import SOURCES
from tests.unit.mangled import TICKETS, reading_by

if TYPE_CHECKING:
    from collections.abc import Callable

CC = shutil.which("cc") or ""
pytestmark = pytest.mark.skipif(not CC, reason="needs a C compiler")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The one folder where a compiled reader may be; none is there yet, nor is the folder."""
    folder = tmp_path / "cache" / "cw_pipeline"
    monkeypatch.setenv("CFLAGS", "-O0")  # compiled in a tenth of the time
    monkeypatch.setattr(compiled_build, "_places", lambda: [(folder, 0o700)])
    return folder


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def built_in(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        (" ", "CC is empty. Unset CC"),
        ("no-such-compiler", "no-such-compiler does not start (No such file or directory)"),
        ("false", "false failed: exit code 1"),
        ("sh -c 'echo no stdio.h; exit 3' --", "failed: no stdio.h. Install gcc and the headers"),
    ],
)
def test_without_a_compiler_that_works_python_reads_everything_and_says_why_once(
    compiler: str, reason: str, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with reading_by(compiler):
        for _ in range(3):
            assert reader_library() is None
        assert list(PageReader(TICKETS).read_page(b'[{"id": 1}]').ids) == [1]
    (said,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "Python decodes every record" in said.message
    assert reason in said.message
    assert "cw-pipeline setup" in said.message
    assert list(place.iterdir()) == []


def test_who_turns_it_off_is_not_warned(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with reading_by(""):
        assert reader_library() is None
    assert caplog.records == []
    assert not place.exists()


@pytest.mark.parametrize("compiler", ["no-such-compiler", " "])
def test_what_was_built_is_used_where_the_compiler_is_gone(compiler: str, place: Path) -> None:
    with reading_by("cc"):
        assert reader_library() is not None
    file = built_in(place)
    with reading_by(compiler):
        assert reader_library() is not None
    assert built_in(place) == file


def test_lists_that_are_read_side_by_side_have_it_built_once(place: Path, tmp_path: Path) -> None:
    counting = program(tmp_path / "counting", f'echo >>"{tmp_path}/calls"; exec cc "$@"')
    with reading_by(counting), ThreadPoolExecutor(8) as lanes:
        assert None not in list(lanes.map(lambda _: reader_library(), range(8)))
    assert (tmp_path / "calls").read_text() == "\n"
    assert built_in(place).suffix == ".so"


def test_where_ours_cannot_be_written_the_users_own_folder_takes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked, own = tmp_path / "blocked", tmp_path / "own"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setattr(compiled_build, "_places", lambda: [(blocked, 0o755), (own, 0o700)])
    with reading_by("cc"):
        assert reader_library() is not None
    assert built_in(own).suffix == ".so"
    monkeypatch.setattr(compiled_build, "_places", lambda: [(blocked, 0o755)])
    with reading_by("cc"):
        assert reader_library() is None
    assert f"no folder can hold compiled code ({blocked}: " in caplog.text


def test_a_compiler_with_a_wrapper_and_arguments_is_called_as_such(
    place: Path, tmp_path: Path
) -> None:
    wrapper = program(tmp_path / "my ccache", f'echo "$1" >"{tmp_path}/called"; exec "$@"')
    with reading_by(f"'{wrapper}' cc -g0"):
        assert reader_library() is not None
    assert (tmp_path / "called").read_text() == "cc\n"
    assert built_in(place)


def test_a_compiler_that_hangs_is_stopped_with_all_that_it_started(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled_build, "TIME_LIMIT", 0.5)
    # As ccache does: the child holds the output open, and would outlive its parent.
    hanging = program(tmp_path / "hanging", f'sleep 600 & echo $! >"{tmp_path}/child"; wait')
    begun = time.monotonic()
    with reading_by(hanging):
        assert reader_library() is None
    assert time.monotonic() - begun < 30
    assert "did not end in" in caplog.text
    child = int((tmp_path / "child").read_text())
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_it_is_written_by_its_owner_alone_whatever_the_umask(
    umask: int, place: Path, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        with reading_by("cc"):
            assert reader_library() is not None
        compiled_build.build_library(tmp_path / "for all" / "built")
    finally:
        os.umask(before)
    for path in (place.parent, place, built_in(place)):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "for all" / "built", built_in(tmp_path / "for all" / "built")):
        assert path.stat().st_mode & 0o777 == 0o755


def lent(path: Path) -> None:
    """Root gives it to another account."""
    os.chown(path, 65533, -1)


@pytest.mark.parametrize("part", ["file", "folder"])
@pytest.mark.parametrize("change", [0o777, 0o722, 0o702, lent])
def test_what_others_could_have_written_is_not_loaded_but_built_anew(
    part: str,
    change: int | Callable[[Path], None],
    place: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if callable(change) and os.geteuid():
        pytest.skip("only root can give a file away")
    with reading_by("cc"):
        reader_library()
    file = built_in(place)
    number = file.stat().st_ino
    path = file if part == "file" else place
    if callable(change):
        change(path)
    else:
        path.chmod(change)
    with reading_by(" "), caplog.at_level("INFO"):
        assert reader_library() is None
    with reading_by(" "):  # and not later, either
        assert reader_library() is None
    assert f"{path} belongs to another" in caplog.text or f"{path} can be written" in caplog.text
    with reading_by("cc"):
        remade = reader_library() is not None
    if part == "folder" and callable(change):  # there, nothing of ours would be safe
        assert not remade
        assert f"belongs to another user ({65533})" in caplog.text
    else:
        assert remade
        assert built_in(place).stat().st_ino != number
        assert place.stat().st_mode & 0o777 == 0o700


def rewrite(file: Path, data: bytes) -> None:
    """As another file: this process has the old one in its memory."""
    file.unlink()
    file.write_bytes(data)
    file.chmod(0o700)


def cut_off(file: Path) -> None:
    rewrite(file, file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path) -> None:
    rewrite(file, b"")


def scribbled_on(file: Path) -> None:
    data = file.read_bytes()
    third = len(data) // 3
    rewrite(file, data[:third] + bytes(third) + data[2 * third :])


def compiled_from(before: str, after: str) -> Callable[[Path], None]:
    """Compiled from sources in which this was replaced, and named as if it were the right one."""

    def change(file: Path) -> None:
        sources = file.parent.parent / "sources"
        shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("built"))
        texts = {source: source.read_text() for source in sources.glob("*.[ch]")}
        assert sum(text.count(before) for text in texts.values()) == 1
        for source, text in texts.items():
            source.write_text(text.replace(before, after))
        made = sources / "made.so"
        command = [CC, "-std=c11", "-shared", "-fPIC", "-o", str(made), str(sources / "records.c")]
        subprocess.run(command, check=True)
        digest = compiled_build._digest(made.read_bytes())
        stem = file.stem.rpartition("-")[0]
        rewrite(file.rename(file.with_name(f"{stem}-{digest}.so")), made.read_bytes())

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(cut_off, emptied, scribbled_on),
        compiled_from("struct_sizes", "sizes"),
        compiled_from("int64_t failed;", "int64_t failed, more;"),
        compiled_from("PRIME_1 = 0x9E", "PRIME_1 = 0x9F"),
        compiled_from(
            "put_16(rows, (unsigned)(plan->keys", "put_16(rows, 1 + (unsigned)(plan->keys"
        ),
    ],
    ids=["cut off", "empty", "overwritten", "other symbols", "other sizes", "hash", "rows"],
)
def test_a_library_that_is_damaged_or_answers_wrongly_is_built_anew(
    change: Callable[[Path], None], place: Path
) -> None:
    with reading_by("cc"):
        reader_library()
    file = built_in(place)
    change(file)
    with reading_by(" "):
        assert reader_library() is None
    with reading_by("cc"):
        assert reader_library() is not None
    assert built_in(place) == file
    with reading_by(" "):
        assert reader_library() is not None


def alone(folder: Path) -> list[str]:
    """A copy of what builds it, as set-up runs it."""
    shutil.copytree(SOURCES, folder / "c", ignore=shutil.ignore_patterns("built"))
    shutil.copy(compiled_build.__file__, folder)
    return [sys.executable, "-I", "-S", str(folder / "compiled_build.py")]


@pytest.mark.parametrize("kind", ["a file", "noexec"])
def test_set_up_compiles_nothing_where_it_could_not_be_loaded_and_says_who_will(
    kind: str, tmp_path: Path
) -> None:
    command = alone(tmp_path)
    built, reason = tmp_path / "c" / "built", "Not a directory"
    if kind == "a file":
        built.write_text("where the folder should be")
    else:
        built.mkdir()
        reason = "its disk is mounted with `noexec`"
        alone_here = ["unshare", "-m"]
        mount = ["mount", "-t", "tmpfs", "-o", "noexec,size=5m", "tmpfs", str(built)]
        command = [*alone_here, "sh", "-c", f"{shlex.join(mount)} && {shlex.join(command)}"]
        if os.geteuid() or subprocess.run([*alone_here, *mount], check=False).returncode:
            pytest.skip("no disk can be mounted here")
    compiler = program(tmp_path / "counting", f'echo >>"{tmp_path}/calls"; exec cc "$@"')
    done = subprocess.run(
        command, env={**os.environ, "CC": compiler}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"{built} cannot hold compiled code: {reason}. Where there is" in done.stderr
    assert not (tmp_path / "calls").exists()


def test_set_up_builds_it_for_all_who_run_the_code(tmp_path: Path) -> None:
    """As `_bootstrap`, the Dockerfile and `cw-pipeline setup` do, without the dependencies."""
    command = alone(tmp_path)
    without = subprocess.run(
        command, env={**os.environ, "CC": "no-such"}, capture_output=True, text=True, check=False
    )
    assert without.returncode == 1
    assert "Python will decode every record" in without.stderr
    subprocess.run(command, check=True)
    file = built_in(tmp_path / "c" / "built")
    before = file.stat()
    subprocess.run(command, env={**os.environ, "CC": "no-such"}, check=True)
    after = built_in(tmp_path / "c" / "built").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert before.st_mode & 0o777 == 0o755
