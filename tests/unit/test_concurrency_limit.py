"""How many requests are in flight: more while it helps, never beyond the limit."""

from __future__ import annotations

import pytest

from cw_pipeline.connectwise.rate_limit import ConcurrencyLimit

PAGE, COUNT = ("/service/tickets", 20), ("/service/tickets/count", 4)


def answer(
    limit: ConcurrencyLimit, times: int, seconds: float = 0.6, like: tuple[str, int] = PAGE
) -> None:
    for _ in range(times):
        limit.note_answer(seconds, like)


def test_it_grows_up_to_the_limit_and_not_beyond() -> None:
    limit = ConcurrencyLimit(8)
    assert limit.limit == 4
    answer(limit, 100)
    assert limit.limit == 8


def test_a_quick_answer_of_another_kind_is_no_measure_for_a_page() -> None:
    limit = ConcurrencyLimit(8)
    answer(limit, 3, 0.002, COUNT)
    answer(limit, 30)
    assert limit.limit == 8


def test_pages_that_only_queue_up_lower_it_to_half_at_most() -> None:
    limit = ConcurrencyLimit(8)
    answer(limit, 100)
    answer(limit, 1, 6.0)
    assert limit.limit == 7
    answer(limit, 50, 6.0)  # one storm is one reason
    assert limit.limit == 7


@pytest.mark.parametrize(("most", "then"), [(8, 4), (1, 1)])
def test_a_refusal_halves_it_once_a_storm(most: int, then: int) -> None:
    limit = ConcurrencyLimit(most)
    answer(limit, 100)
    for _ in range(5):
        limit.note_refusal()
    assert limit.limit == then
