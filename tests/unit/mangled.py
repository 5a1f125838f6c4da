"""Pages that came damaged, read by compiled code and by Python: `python -m tests.unit.mangled`.

Run with the compiler's sanitizers, it also tells when the code leaves its memory.
"""

from __future__ import annotations

import random
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.bench.records import Records
from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceBroken
from cw_pipeline.transform import PageReader, compiled_build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.model import Batch

TICKETS = CATALOG["service/tickets"]
PIECES = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"0", b"-", b"1.50", b"1e5"),
    *(b"null", b"true", b"\x00", b"\x1f", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\xf0\x9f\x8e"),
    *(b"\\u0000", b"\\ud83d\\ude00", b"\\ud83d", b"\\u00e9", b"\\x", b"\\n", b"[" * 200),
    *(
        b'"id":7,',
        b'"future":1,',
        b'"_info":{},',
        b'"2025-02-29T00:00:00Z"',
        b"99999999999999999999",
    ),
)


def mangled(body: bytes, some: random.Random) -> bytes:
    """The body with a few pieces taken out, doubled or put in, or cut off."""
    for _ in range(some.randint(1, 3)):
        at = some.randrange(len(body) + 1)
        until = min(len(body), at + some.choice((0, 1, 1, 8, 200)))
        put = some.choice((b"", b"", body[at:until] * 2, *PIECES))
        body = body[:at] + put + body[until:]
    return body if some.random() < 0.9 else body[: some.randrange(len(body) + 1)]


@contextmanager
def reading_by(compiler: str) -> Iterator[None]:
    """What is made inside reads by what this C compiler makes; by Python alone if it is empty."""
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("CC", compiler)
            patched.setenv("CW_COMPILED", "on" if compiler else "off")
            compiled_build.load_library.cache_clear()
            yield
    finally:
        compiled_build.load_library.cache_clear()


def read(bodies: list[bytes]) -> list[Batch | str]:
    """What becomes of each."""
    found: list[Batch | str] = []
    for body in bodies:
        try:
            batch = PageReader(TICKETS).read_page(body, seed=7)
            # What was noted of fields may come in another order.
            found.append(replace(batch, drift=tuple(sorted(batch.drift, key=repr))))
        except SourceBroken as error:
            found.append(str(error))
    return found


def differences(count: int, seed: int) -> list[bytes]:
    """Of so many damaged pages those that the two ways make something else of."""
    some = random.Random(seed)  # noqa: S311 - the same pages every time
    records = Records(40)
    page = b"[" + b",".join(records.raw(at, odd=at > 0) for at in range(4)) + b"]"
    bodies = [mangled(page, some) for _ in range(count)]
    with reading_by("cc"):
        compiled = read(bodies)
    with reading_by(""):
        ways = zip(bodies, compiled, read(bodies), strict=True)
    return [body for body, here, there in ways if here != there]


if __name__ == "__main__":
    with TemporaryDirectory() as folder:  # compiled with these CFLAGS, not at set-up
        compiled_build._places = lambda: [(Path(folder), 0o700)]
        different = differences(int(sys.argv[1]), int(sys.argv[2]))
    sys.exit(f"read in two ways: {different[0].decode()}" if different else 0)
