"""Inputs of the fuzzer as pages, and whether both decoders make the same of them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cw_pipeline.bench.records import Records
from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceBroken
from cw_pipeline.transform import PageReader
from tests.unit.mangled import PIECES, reading_by
from tests.unit.sent import outside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cw_pipeline.model import Batch

CORPUS = Path(__file__).parent / "corpus.txt"
"""Inputs that reach all code between them, one a line, in base64."""

ENTITIES = ("service/tickets", "finance/agreements/additions", "system/reports", "company/contacts")
"""With arrays; below a parent; without ids; with JSON as it comes. Each has two plans."""


def entity_of(body: bytes) -> str:
    """The list whose plan the input's first byte chooses."""
    return ENTITIES[body[0] % (2 * len(ENTITIES)) // 2]


def corpus() -> list[bytes]:
    """The inputs that are kept."""
    return [b64decode(line) for line in CORPUS.read_text().splitlines()]


def keep(bodies: Iterable[bytes]) -> None:
    """Puts inputs in the place of those that are kept."""
    lines = sorted(
        (b64encode(body).decode() for body in bodies), key=lambda line: (len(line), line)
    )
    CORPUS.write_text("".join(f"{line}\n" for line in lines))


def seeds() -> Iterator[bytes]:
    """What the fuzzer begins with: real pages, and pieces that mean something in JSON."""
    records = Records(40)
    page = b"[" + b",".join(records.raw(at, odd=at > 0) for at in range(2)) + b"]"
    stamped = b'[{"id": 1, "_info": {"lastUpdated": "2024-01-01T00:00:00Z"}}]'
    unknown = b'[{"id": 2, "future": ' + b", ".join(PIECES[-4:]) + b"}]"
    for plan in range(2 * len(ENTITIES)):
        for hashed in (0, 0x80):
            yield from (bytes([plan | hashed]) + body for body in (page, stamped, unknown))


def dictionary() -> Iterator[bytes]:
    """What the fuzzer puts in, beside what it finds out: pieces of JSON, and names of fields."""
    yield from (piece for piece in PIECES if len(piece) < _LONGEST_WORD)
    keys = {key for name in ENTITIES for column in CATALOG[name].columns for key in column.path}
    yield from (f'"{key}":'.encode() for key in sorted(keys))


_LONGEST_WORD = 64  # bytes, that libFuzzer takes


def differences(inputs: list[bytes]) -> list[bytes]:
    """Those of which compiled code and Python make something else."""
    inputs = [body for body in inputs if body]
    with reading_by("cc"):
        compiled = [result(body) for body in inputs]
    with reading_by(""):
        ways = zip(inputs, compiled, map(result, inputs), strict=True)
        return [body for body, here, there in ways if here != there]


def result(body: bytes) -> Batch | str:
    """What becomes of an input's page."""
    name = entity_of(body)
    about: dict[str, Any] = {**outside(name), "seed": 5 if body[0] & 0x80 else None}
    try:
        batch = PageReader(CATALOG[name]).read_page(body[1:], **about)
    except SourceBroken as error:
        return str(error)
    # What was noted of fields may come in another order, and texts are slices of two kinds.
    drift = tuple(sorted(batch.drift, key=repr))
    return replace(batch, drift=drift, records=[bytes(each) for each in batch.records])
