"""Rows are packed exactly as Postgres reads them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.types.numeric import NumericBinaryLoader

from cw_pipeline.transform import copy_format
from cw_pipeline.transform.copy_format import PackedNumbers

_LOADER = NumericBinaryLoader(1700)

digits = st.from_regex(r"-?[0-9]{1,30}(\.[0-9]{1,20})?", fullmatch=True)


@given(digits)
@example("0")
@example("-0.00")
@example("0.0001")
@example("0.00010")
@example("10000")
@example("100000000.5")
@example("-12.50")
@example("9" * 5000 + ".5")
def test_a_number_is_packed_with_every_digit_and_no_other(text: str) -> None:
    read = _LOADER.load(copy_format.numeric(text.encode()))
    assert read == Decimal(text)
    assert -int(read.as_tuple().exponent) == len(text.partition(".")[2])


@pytest.mark.parametrize("text", ["1E+3", "1.5e-7", "-2e0", '"12.30"', "007"])
def test_a_number_in_another_spelling_is_the_same_number(text: str) -> None:
    packed = PackedNumbers()[text.encode()]
    assert packed is not None
    assert _LOADER.load(packed) == Decimal(text.strip('"'))


@given(digits)
def test_one_number_is_one_packing_however_it_came(text: str) -> None:
    """Or a record read the exact way would not be known again."""
    if Decimal(text):  # Decimal writes out what it holds; of zeros it keeps the sign
        assert PackedNumbers()[text.encode()] == PackedNumbers()[f"{Decimal(text):f}".encode()]
