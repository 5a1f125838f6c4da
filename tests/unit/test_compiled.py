"""Compiled code makes of a page what Python makes of it, to the byte, or leaves it to Python."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cw_pipeline import transform
from cw_pipeline.bench.records import Records
from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceBroken
from cw_pipeline.transform import PageReader
from cw_pipeline.transform.compiled import compiled_reader
from cw_pipeline.transform.pages import RecordFingerprints, SkippingPageReader
from tests.fuzz.bodies import corpus
from tests.fuzz.bodies import differences as differences_of
from tests.unit.mangled import TICKETS, differences, reading_by
from tests.unit.sent import outside, page_of, pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from cw_pipeline.model import Batch

SOURCES = Path(transform.__file__).parent / "c"
CC = shutil.which("cc") or ""
STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"


pytestmark = pytest.mark.skipif(not CC, reason="needs a C compiler")


def batch_by(compiler: str, entity: str, body: bytes) -> Batch:
    with reading_by(compiler):
        return PageReader(CATALOG[entity]).read_page(body, seed=5, **outside(entity))


@settings(max_examples=150, deadline=None)
@given(pages(odds=True))
def test_a_page_becomes_the_same_rows_and_rejects(page: tuple[str, list[dict[str, Any]]]) -> None:
    entity, some = page
    body = page_of(*some)
    here, there = batch_by("cc", entity, body), batch_by("", entity, body)
    assert set(here.drift) == set(there.drift)
    for part in ("read", "cursor", "ids", "last_updated", "hashes", "tables", "rejects"):
        assert getattr(here, part) == getattr(there, part)


instants = st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}".format,
    st.sampled_from([0, 1, 4, 99, 1900, 1999, 2000, 2023, 2024, 2100, 9999]),
    st.integers(0, 13),
    st.sampled_from([0, 1, 28, 29, 30, 31, 32]),
    st.sampled_from([0, 23, 24]),
    st.sampled_from([0, 59, 60]),
    st.sampled_from([0, 59, 60]),
    st.sampled_from(["Z", "Z", ".5Z", ".123456Z", ".1234567Z", ".Z", "z", "", "+01:00", "Z "]),
)
days = instants.map(lambda instant: instant[:10]) | instants.filter(lambda one: len(one) > 10)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(instants, days), min_size=1, max_size=20))
@example([("2023-02-29T00:00:00Z", "2023-02-29"), ("1900-02-29T00:00:00Z", "2000-02-29")])
@example([(f"2024-02-29T23:59:59{part}Z", "2024-02-29") for part in (".5", ".123456", ".", ",5")])
@example([("2024-02-29T23:59:59.12x4Z", "2024-02-29T00:00:00Z"), ("2024-02-29Z", "2024.02-29")])
def test_an_instant_and_a_day_are_the_ones_that_python_reads(some: list[tuple[str, str]]) -> None:
    page = [
        {"id": at, "startDate": day, "_info": {"lastUpdated": instant}}
        for at, (instant, day) in enumerate(some)
    ]
    here, there = (batch_by(way, "finance/agreements", page_of(*page)) for way in ("cc", ""))
    assert (here.ids, here.last_updated, here.tables) == (
        there.ids,
        there.last_updated,
        there.tables,
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_page_becomes_the_same_or_is_broken_both_ways(seed: int) -> None:
    assert differences(200, seed) == []


def test_what_the_fuzzer_found_becomes_the_same_both_ways() -> None:
    """`python -m tests.fuzz` looks for more of it."""
    assert differences_of(corpus()) == []


# JSON values that compiled code writes, and those that it leaves to Python.
WRITTEN = (
    *("0", "-1", "1.50", "-0.0", "0.000001", "0.00000", "123456789012345678", "true", "false"),
    *('"x"', '"\u00e9"', '"\U0001f600"', '""', "[]", "{}", "[ ]", "{ }", "[1, 2 ,3]", "[[], {}]"),
    *(
        '{"b": 1, "a": 2}',
        '{"ab": 1, "a": 2}',
        '{"a": 1, "ab": 2}',
        '{"c": 1, "a": {"z": 0, "b": 1}}',
    ),
    *('{"": 1}', '{"b": null, "\u00e9": 2, "a": 3, "B": 4}', '[{"b": [{"d": 1, "c": 2}], "a": 2}]'),
    30 * "[" + 30 * "]",
    *(json.dumps({f"{at:02}": at for at in order}) for order in (range(64), range(63, -1, -1))),
)
LEFT = (
    *(
        "1e5",
        "1E-2",
        "1234567890123456789",
        "-0",
        "0.0000001",
        "0.0000000",
        r'"a\nb"',
        r'{"\u0061": 1}',
    ),
    *('{"a": 1, "a": 2}', '{"b": 1, "a": 2, "b": 3}', '[{"a": "1", "b": 1e5}]', '["\\u00e9"]'),
    json.dumps({f"{at:02}": at for at in range(65)}),
    33 * "[" + 33 * "]",
)
BROKEN = (
    *("", "tru", "nul", "falsy", "01", "1.", "-", "+1", '"x', '"\t"', "[1", "[1,]", "[1 2]", "[,]"),
    *('{"a" 1}', '{"a":}', "{1: 2}", '{"a": 1,}', '{"a": 1', '{"a": 1]', "[1}", '{"a": [1, tru]}'),
    *(r'"\x"', r'"\u12"', r'"\u00g0"', '"\\', "[0.]", '{"b": 1, "a": 2 "c": 3}'),
)


PLACES = (
    ("service/tickets", '"future": %s'),
    ("service/tickets", '"customFields": [{"id": 3, "value": %s}]'),
    ("company/contacts", '"integratorTags": %s'),
)


def result_by(compiler: str, entity: str, body: bytes) -> tuple[Any, ...] | str:
    try:
        batch = batch_by(compiler, entity, body)
    except SourceBroken as error:
        return str(error)
    return batch.ids, batch.hashes, batch.tables, batch.rejects


@pytest.mark.parametrize("value", [*WRITTEN, *LEFT, *BROKEN])
@pytest.mark.parametrize(("entity", "place"), PLACES)
def test_any_json_is_stored_as_python_writes_it(entity: str, place: str, value: str) -> None:
    # The field that the catalog does not know is learned from the first record.
    body = f'[{{"id": 1, {place % "[1]"}}}, {{"id": 2, {place % value}}}]'.encode()
    assert result_by("cc", entity, body) == result_by("", entity, body)


@pytest.mark.parametrize(("entity", "place"), PLACES)
def test_a_page_that_was_cut_off_is_broken_both_ways(entity: str, place: str) -> None:
    body = f'[{{"id": 1, {place % """{"b": [true, -1.5], "a": "x"}"""}}}]'.encode()
    for end in range(len(body)):
        here, there = (result_by(way, entity, body[:end]) for way in ("cc", ""))
        assert here == there
        assert isinstance(here, str)


@pytest.mark.parametrize("value", [*WRITTEN, *LEFT])
@pytest.mark.parametrize(("entity", "place"), PLACES)
def test_python_is_needed_for_few_kinds_of_json(entity: str, place: str, value: str) -> None:
    normalizer = PageReader(CATALOG[entity])
    normalizer.read_page(f'[{{"id": 1, {place % 1}}}]'.encode())
    code = normalizer._compiled
    assert code is not None
    tables = [bytearray() for _ in (entity, *CATALOG[entity].arrays)]
    run = code.read(f'[{{"id": 2, {place % value}}}]'.encode(), 0, (), 5, tables)
    assert run is not None
    assert (run.refused is None) == (value in WRITTEN)


@pytest.mark.parametrize(
    "text",
    [
        *(b"\xc2\x80", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf"),
        *(b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xc2x", b"\xe0\x9f\xbf", b"\xe0\xa0x"),
        *(b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff"),
        *(rb"\ud83d\ude00", rb"\uD83D\uDE00", rb"\ud83d", rb"\ude00", rb"\ud83dx", rb"\ud83d\n"),
        *(rb"\ud83d\ud83d", rb"\ud83d\u0041", rb"\ud83d\uffff", rb"\u0000", rb"\/\b\f\r\t", b"\t"),
    ],
)
def test_text_in_any_encoding_becomes_the_same(text: bytes) -> None:
    body = b'[\r\n\t{"id": 1, "summary": "' + text + b'"\t}\n]\r\n'
    assert result_by("cc", "service/tickets", body) == result_by("", "service/tickets", body)


def nested(levels: int) -> dict[str, Any]:
    """A record with that many objects and arrays in each other, and one of the latter."""
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"in": value}
    return {"id": levels, "future": value}


def on_a_small_stack(work: Callable[[], None]) -> None:
    """Does it in a thread whose stack has 256 KB, as servers give their threads."""
    before = threading.stack_size(256 * 1024)
    try:
        with ThreadPoolExecutor(1) as lanes:
            lanes.submit(work).result()
    finally:
        threading.stack_size(before)


def test_records_nested_deeply_become_the_same_on_a_small_stack() -> None:
    body = page_of(*(nested(levels) for levels in (1, 31, 32, 33, 98, 200, 2)))

    def both_ways() -> None:
        here, there = (batch_by(way, "service/tickets", body) for way in ("cc", ""))
        assert here.ids == [1, 31, 32, 33, 98, 200, 2]
        assert (here.tables, here.hashes) == (there.tables, there.hashes)

    on_a_small_stack(both_ways)


def test_python_reads_a_record_nested_deeper_than_32_levels_and_only_that() -> None:
    learned = PageReader(TICKETS)
    learned.read_page(page_of(nested(1)), seed=5)
    code = learned._compiled
    assert code is not None
    for levels, refused in ((32, None), (33, 33), (300, 300)):
        body = page_of(nested(2), nested(levels), nested(3))
        run = code.read(body, 0, (), 5, [bytearray(), bytearray()])
        assert run is not None
        found = run.refused and json.loads(body[slice(*run.refused)])["id"]
        assert found == refused


def test_python_is_needed_for_neither_nulls_nor_a_field_that_was_learned() -> None:
    records = Records(40)
    normalizer = PageReader(TICKETS)
    normalizer.read_page(b"[" + records.raw(1, odd=True) + b"]")
    code = normalizer._compiled
    assert code is not None
    some = [at for at in range(40) if at % 4 < 2]
    for odd in (False, True):
        body = b"[" + b",".join(records.raw(at, odd=odd) for at in some) + b"]"
        run = code.read(body, 0, (), 5, [bytearray(), bytearray()])
        assert run is not None
        assert (len(run.ids), run.refused) == (20, None)


@pytest.mark.parametrize("way", ["compiled", "Python"])
def test_a_run_is_told_of_each_new_field_whatever_another_run_has_learned(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CW_COMPILED", "on" if way == "compiled" else "off")
    body = b'[{"id": 1, "colour": "red", "customFields": [{"id": 2, "shade": 3}]}, {"id": 4}]'
    runs = [PageReader(TICKETS).read_page(body) for _ in range(2)]
    assert [each.column for each in runs[0].drift] == ["colour", "customFields.shade"]
    assert runs[0] == runs[1]


def test_two_runs_of_a_list_share_what_takes_long_to_make() -> None:
    first, second, third = (PageReader(TICKETS) for _ in range(3))
    assert first._compiled is not None
    assert second._compiled is not None
    assert first._compiled._plan is second._compiled._plan
    assert (made := first._decoder) is second._decoder
    # Keys that are data: each record has another shape, and would drive others' out.
    third.read_page(page_of(*({"id": at, f"of {at}": at} for at in range(40))))
    assert third._decoder is not made
    assert PageReader(TICKETS)._decoder is made


def test_pages_that_are_read_side_by_side_learn_a_field_once() -> None:
    reader, begin = SkippingPageReader(TICKETS, None), threading.Barrier(8)

    def read(_: int) -> list[str]:
        begin.wait()
        batch = reader.batch(b'[{"id": 1, "colour": "red"}]', None, 0)
        return [each.column for each in batch.drift]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as lanes:
            seen = [*lanes.map(read, range(8))]
    finally:
        sys.setswitchinterval(before)
    assert sorted(seen) == [*[[]] * 7, ["colour"]]


def test_a_field_is_not_looked_for_among_those_of_another_object() -> None:
    code = compiled_reader(TICKETS)
    assert code is not None
    run = code.read(
        b'[{"id": 1, "board": {"identifier": "x", "colour": 1}}]',
        0,
        (),
        None,
        [bytearray(), bytearray()],
    )
    assert run is not None
    assert run.refused == (1, 53)


def test_what_is_seen_of_a_page_without_typing_it_is_the_same() -> None:
    records = Records(30)
    body = b"[" + b",".join(records.raw(at) for at in range(30)) + b"]"
    with reading_by("cc"):
        here = RecordFingerprints(TICKETS).fingerprint_page(body)
    with reading_by(""):
        there = RecordFingerprints(TICKETS).fingerprint_page(body)
    assert here is not None
    assert there is not None
    assert (here.ids, here.last_updated, here.sources) == (
        there.ids,
        there.last_updated,
        there.sources,
    )
    assert [*map(bytes, here.records)] == [*map(bytes, there.records)]
