"""The compiled reader built in other ways: with sanitizers, without memory, without a warning."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cw_pipeline import transform
from cw_pipeline.paths import ROOT
from cw_pipeline.transform.coerce import coerce_record
from cw_pipeline.transform.compiled import CompiledReader, layout_of
from cw_pipeline.transform.record_shape import shape_of
from tests.unit.mangled import TICKETS
from tests.unit.sent import page_of

SOURCES = Path(transform.__file__).parent / "c"
CC = shutil.which("cc") or ""
STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"


pytestmark = pytest.mark.skipif(not CC, reason="needs a C compiler")

WITHOUT_MEMORY = """
#include <stdlib.h>
long left; /* how often there is memory */
static void *try_realloc(void *data, size_t size)
{
    return left-- > 0 ? realloc(data, size) : NULL;
}
static void *try_calloc(size_t count, size_t size)
{
    return left-- > 0 ? calloc(count, size) : NULL;
}
#include <string.h>
#define realloc try_realloc
#define calloc try_calloc
"""


def test_whenever_memory_runs_out_it_is_said(tmp_path: Path) -> None:
    """No row is lost, and nothing is written where there is no memory."""
    source, made = tmp_path / "limited.c", tmp_path / "limited.so"
    source.write_text(f'{WITHOUT_MEMORY}#include "{SOURCES / "records.c"}"\n')
    subprocess.run([CC, "-std=c11", "-shared", "-fPIC", "-o", made, source], check=True)
    library = ctypes.CDLL(str(made))
    shape = shape_of(TICKETS)
    coerce_record({"future": 1}, shape)
    code = CompiledReader(library, layout_of(TICKETS, shape.learned_fields()))
    left = ctypes.c_long.in_dll(library, "left")
    # Rows longer than the body: nulls take four bytes, which are not in the body at all.
    wide = {"b": 1, "a": {"d": 5000 * "x", "c": 2}}
    some = {"future": wide, "customFields": [{"id": 1, "value": wide}]}
    body = page_of(*({"id": at, **(some if at < 3 else {})} for at in range(40)))
    found = []
    for count in range(100):
        left.value = count
        try:
            run = code.read(body, 0, (), 5, [bytearray(), bytearray()])
        except MemoryError:
            found.append(False)
        else:
            assert run is not None
            assert (list(run.ids), run.refused) == (list(range(40)), None)
            found.append(True)
    assert found == sorted(found)
    assert 10 < found.index(True) < 90


def test_it_never_leaves_its_memory() -> None:
    """The compiler's sanitizers end the process where it does."""
    asan = subprocess.run(
        [CC, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(asan).is_absolute():
        pytest.skip("this compiler has no sanitizers")
    sane = {
        "CFLAGS": "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all",
        "LD_PRELOAD": asan,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "PYTHONMALLOC": "malloc",  # each body on its own, so that one byte too many is seen
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.mangled", "300", "77"],
        env=os.environ | sane,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    flags = [*STRICT.split(), "-O3", "-std=c11", "-shared", "-fPIC"]
    command = [CC, *flags, "-o", str(tmp_path / "records.so"), str(SOURCES / "records.c")]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""
