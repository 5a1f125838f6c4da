"""A misspelled word is answered with what was probably meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.errors import ConfigError
from cw_pipeline.suggest import closest, did_you_mean


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("servce/*", "'service/*'"),
        ("servce_*", "'service_*'"),
        ("service/tickts*", "'service/tickets*'"),
        ("*/notse", "'*/notes'"),
        ("service/ticket", "'service/tickets'"),
        ("Service/Tickts", "'service/tickets'"),
        ("companies/notes", "'company/companies/notes'"),
        ("contcts", "'company/contacts'"),
        ("company", "'company/*'"),
        ("service_ticket", "'service/tickets'"),
    ],
)
def test_an_entity_that_does_not_exist_is_answered_with_one_that_does(
    written: str, meant: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        select(written)
    assert str(raised.value).endswith(f"did you mean {meant}?")


def test_an_ending_that_several_entities_have_is_answered_with_each() -> None:
    with pytest.raises(ConfigError, match="'project/tickets' or 'service/tickets'"):
        select("tickets")


def test_what_is_like_nothing_is_answered_with_where_to_look() -> None:
    with pytest.raises(ConfigError, match="see `catalog list`"):
        select("qqq/*")


@given(st.text(min_size=1, max_size=30).filter(lambda word: "," not in word))
def test_whatever_is_suggested_can_be_selected(word: str) -> None:
    try:
        select(word)
    except ConfigError as error:
        for suggested in str(error).partition("did you mean ")[2].split("'")[1::2]:
            assert select(suggested)


@given(st.sampled_from(sorted(CATALOG)), st.data())
def test_one_wrong_letter_in_a_long_name_does_not_hide_it(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    if name[at] == "/" or len(name) < 12:  # of a short one too little is left
        return
    wrong = f"{name[:at]}~{name[at + 1 :]}"
    with pytest.raises(ConfigError, match="did you mean"):
        select(wrong)


def test_what_all_known_words_begin_with_makes_none_of_them_likely() -> None:
    known = ["CW_SITE", "CW_SCHEMA", "CW_AUTH"]
    assert closest("CW_SITES", known) == ["CW_SITE"]
    assert closest("cw_shcema", known) == ["CW_SCHEMA"]
    assert closest("CW_QQQQ", known) == []


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        ([], ""),
        (["a"], "did you mean 'a'?"),
        (["a", "b"], "did you mean 'a' or 'b'?"),
        (["a", "b", "c"], "did you mean 'a', 'b' or 'c'?"),
    ],
)
def test_suggestions_are_a_question(candidates: list[str], said: str) -> None:
    assert did_you_mean(candidates) == said
