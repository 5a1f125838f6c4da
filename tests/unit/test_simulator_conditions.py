from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_pipeline.simulator.answers import BadQuery
from cw_pipeline.simulator.conditions import Compare, Instant, Logic, Node, predicate
from cw_pipeline.simulator.grammar import parse
from cw_pipeline.simulator.query import reader

TICKET = {
    "id": 7,
    "summary": 'The "Printer" is slow [urgent]',
    "board": {"id": 3, "name": "Help Desk"},
    "closedFlag": False,
    "budgetHours": 2.5,
    "requiredDate": "2025-03-01T00:00:00Z",
    "poNumber": "",
    "_info": {"lastUpdated": "2025-05-23T10:00:00Z", "updatedBy": "zadmin"},
}


def verdict(text: str, record: dict[str, Any] = TICKET) -> bool | None:
    return predicate(parse(text), reader)(record)


@pytest.mark.parametrize(
    "text",
    [
        "id = 7",
        "id=7",
        "ID >= 7 AND Id <= 7",
        "id in (5, 6, 7)",
        "id not in (5,6)",
        "not id = 8",
        "(id = 1 or id = 7) and closedFlag = False",
        "closedflag=false",
        "board/id = 3",
        "Board/Name = 'help desk'",
        "BoardId = 3",
        'board/name in ("Sales", "Help Desk")',
        "budgetHours > 2.4 and budgetHours<2.6",
        "budgetHours >= -1",
        'summary contains "printer"',
        'summary not contains "scanner"',
        'summary like "the*slow*"',
        'summary not like "*fast*"',
        'summary like "*[[]urgent]"',
        r'summary like "The \"Printer\"*"',
        "poNumber = ''",
        "lastUpdated >= [2025-05-23T10:00:00Z]",
        "lastUpdated > [2025-05-23]",
        "LastUpdated = [2025-05-23T10:00:00]",
        "_info/lastUpdated < [2025-05-23T12:00:01+02:00]",
        "requiredDate = [2025-03-01]",
        "agreement/id = null",
        "agreement = null and board != null",
        "updatedBy = 'ZADMIN'",
    ],
)
def test_a_condition_finds_the_record_it_describes(text: str) -> None:
    assert verdict(text) is True


@pytest.mark.parametrize(
    "text",
    ["id = 8", "id in (1, 2)", "not (id = 7)", "closedFlag = True", "summary like 'printer'"],
)
def test_a_condition_passes_over_what_it_does_not_describe(text: str) -> None:
    assert verdict(text) is False


@pytest.mark.parametrize(
    "text", ["agreement/id = 1", "agreement/id != 1", "not agreement/id = 1", "agreement/id < 5"]
)
def test_a_missing_value_answers_no_comparison(text: str) -> None:
    assert verdict(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "id",
        "id =",
        "id = 7 and",
        "= 7",
        "id == 7",
        "id = 7 id = 8",
        "(id = 7",
        "id in ()",
        "id in 7",
        "summary = printer",
        "summary like 5",
        "lastUpdated > 2025-05-23",
        "lastUpdated > [yesterday]",
        "id < null",
        "id = 7; drop",
        "summary = 'unclosed",
        "not",
    ],
)
def test_what_the_grammar_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(BadQuery) as refusal:
        parse(text)
    assert refusal.value.answer.status == 400


def test_the_refusal_recites_the_grammar() -> None:
    with pytest.raises(BadQuery) as refusal:
        parse("summary = printer")
    assert b"DateTime in square brackets" in refusal.value.answer.body


_texts = st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cs"]), max_size=8)
_names = st.sampled_from([("id",), ("board", "id"), ("_info", "lastupdated"), ("summary",)])
_plain = st.one_of(
    st.integers(-(10**9), 10**9),
    st.booleans(),
    _texts,
    st.integers(0, 2**31).map(lambda moment: Instant(float(moment))),
)
_compares = st.one_of(
    st.builds(Compare, _names, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), _plain),
    st.builds(Compare, _names, st.sampled_from(["=", "!="]), st.none()),
    st.builds(Compare, _names, st.sampled_from(["like", "contains"]), _texts),
    st.builds(Compare, _names, st.just("in"), st.lists(_plain, min_size=1, max_size=3).map(tuple)),
)


def _logic(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    some = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Logic, st.sampled_from(["and", "or"]), some),
        st.builds(Logic, st.just("not"), st.tuples(parts)),
    )


def _written(node: Node) -> str:
    if isinstance(node, Compare):
        return f"{'/'.join(node.path)} {node.op} {_literal(node.value)}"
    if node.word == "not":
        return f"not ({_written(node.parts[0])})"
    return f" {node.word} ".join(f"({_written(part)})" for part in node.parts)


def _literal(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value)
        case int():
            return str(value)
        case str():
            return f'"{value}"'
        case Instant():
            return f"[{_iso(value)}]"
        case _:
            return f"({', '.join(map(_literal, value))})"


def _iso(moment: Instant) -> str:
    return datetime.fromtimestamp(moment.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@given(st.recursive(_compares, _logic, max_leaves=6))
def test_every_condition_that_can_be_written_is_read_back_the_same(tree: Node) -> None:
    assert parse(_written(tree)) == tree


@given(st.text(max_size=30))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    with suppress(BadQuery):
        parse(text)
