"""Fuzzes the compiled reader with coverage guidance and sanitizers, then compares it with Python.

    python -m tests.fuzz --seconds 3600 --jobs 2     # needs clang with its fuzzer (libFuzzer)
    python -m tests.fuzz --minimize                  # keeps what reaches new code in the corpus

What ends the fuzzer is written to the working directory. Inputs that reach new code are then read
by compiled code and by Python, which must make the same of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.transform import PageReader
from cw_pipeline.transform.compiled import ReaderLayout, layout_of
from cw_pipeline.transform.compiled_build import SOURCES
from tests.fuzz.bodies import ENTITIES, corpus, dictionary, differences, keep, seeds
from tests.unit.sent import outside

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
_SANITIZERS = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
_FLAGS = ("-g", "-O1", "-std=c11", *_SANITIZERS)
_LONGEST = 16_384  # bytes of an input


def plans() -> str:
    """A header with the plans of the lists that are fuzzed, some fields of each learned."""
    layouts = [layout for name in ENTITIES for layout in _layouts(name)]
    parts = [_declared(f"P{at}", layout) for at, layout in enumerate(layouts)]
    names = ", ".join(f"&P{at}" for at in range(len(layouts)))
    listed = f"static const struct plan *const PLANS[] = {{{names}}};"
    count = f"enum {{ PLAN_COUNT = {len(layouts)} }};"
    return "\n".join(['#include "plan.h"', *parts, listed, count, ""])


def _layouts(name: str) -> Iterable[ReaderLayout]:
    """As records are read, and as they are fingerprinted, where fields are left out."""
    entity = CATALOG[name]
    reader = PageReader(entity)
    reader.read_page(b'[{"id": 1, "future": [1], "_info": {"x": 1, "x_href": 2}}]', **outside(name))
    yield layout_of(entity, reader._record_shape.learned_fields())
    yield layout_of(entity, is_closed=False)


def _declared(name: str, layout: ReaderLayout) -> str:
    names, kept = layout.kept  # type: ignore[misc] # what its addresses lead to
    text = ",".join(map(str, names)) or "0"
    lines = [f"static const unsigned char {name}_names[] = {{{text}}};"]
    kinds = ("field", "object", "extra", "table")
    for kind, numbers in zip(kinds, kept, strict=True):
        values = ",".join(map(str, numbers)) or "0"
        lines.append(f"static const int32_t {name}_{kind}s[] = {{{values}}};")
    own = [f"(const struct {kind} *)(const void *){name}_{kind}s" for kind in kinds]
    numbers = [getattr(layout, field) for field, _ in ReaderLayout._fields_[5:]]
    values = ", ".join([f"{name}_names", *own, *map(str, numbers)])
    lines.append(f"static const struct plan {name} = {{{values}}};")
    return "\n".join(lines)


def build(folder: Path, compiler: str) -> Path:
    """The fuzzer."""
    (folder / "plans.h").write_text(plans())
    program = folder / "fuzz_reader"
    include = [f"-I{folder}", f"-I{SOURCES}"]
    source = str(HERE / "reader.c")
    subprocess.run([compiler, *_FLAGS, *include, source, "-o", str(program)], check=True)
    return program


def fuzz(program: Path, found: Path, seconds: int, jobs: int) -> int:
    """Runs it: its exit code. Inputs that reach new code go to `found`, with the corpus."""
    found.mkdir()
    for at, seed in enumerate([*corpus(), *seeds()]):
        (found / f"seed-{at}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-max_len={_LONGEST}", "-timeout=10"]
    several = [f"-fork={jobs}", "-ignore_crashes=0"] if jobs > 1 else []
    words = found.with_name("words")
    words.write_text("".join(f'"{_escaped(each)}"\n' for each in dictionary()))
    limits.append(f"-dict={words}")
    command = [str(program), *limits, *several, "-print_final_stats=1", "-verbosity=1", str(found)]
    return subprocess.run(command, check=False).returncode


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def minimize(program: Path, found: Path, largest: int = 400) -> None:
    """Keeps the smallest inputs that reach everything that the found ones do."""
    with TemporaryDirectory() as scratch:
        limits = [f"-max_len={largest}"]
        merge = [str(program), "-merge=1", *limits, scratch, str(found)]
        subprocess.run(merge, check=True, capture_output=True)
        keep(path.read_bytes() for path in Path(scratch).iterdir())


def main() -> int:
    """0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="of each job")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minimize", action="store_true", help="write the corpus anew")
    parser.add_argument("--cc", default=os.environ.get("CLANG") or _clang())
    asked = parser.parse_args()
    if not asked.cc:
        say("no clang with its fuzzer (Debian: clang-14 and libclang-rt-14-dev), or set CLANG")
        return 2
    with TemporaryDirectory() as scratch:
        folder, found = Path(scratch), Path(scratch, "found")
        program = build(folder, asked.cc)
        if code := fuzz(program, found, asked.seconds, asked.jobs):
            return code
        if asked.minimize:
            minimize(program, found)
        bodies = [path.read_bytes() for path in sorted(found.iterdir()) if path.is_file()]
        different = differences(bodies)
        say(f"{len(bodies)} inputs reach all code that was reached, {len(different)} differ")
        for body in different[:5]:
            say(f"read in two ways: {body!r}")
        return 1 if different else 0


def say(line: str) -> None:
    """Prints a line."""
    sys.stdout.write(f"{line}\n")


def _clang() -> str:
    versions = ("", *(f"-{version}" for version in range(30, 13, -1)))
    found = (shutil.which(f"clang{version}") for version in versions)
    return next((path for path in found if path), "")


if __name__ == "__main__":
    sys.exit(main())
