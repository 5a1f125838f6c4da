"""Which paging a list takes, found out by trying: the cheap and safe ones first."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from cw_pipeline.connectwise import Paging
from cw_pipeline.errors import SourceRefused
from cw_pipeline.sync.list_reader import PagingNotHonored

if TYPE_CHECKING:
    from collections.abc import Callable

    from cw_pipeline.sync.run import Run

T = TypeVar("T")

_NEXT = {Paging.FORWARD: Paging.KEYSET, Paging.KEYSET: Paging.OFFSET}


def read_with_any_paging(work: Run, read: Callable[[], T]) -> T:
    """What `read` gives with the first paging that the list takes, from the reader's present one.

    `read` begins anew each time. That a list takes no forward-only paging is remembered. Offsets
    are the last resort: a record deleted meanwhile shifts them, so what they did not show counts
    as gone only once a second question says so. Raises what the last way raises.
    """
    while True:
        way = work.reader.paging
        try:
            return read()
        except PagingNotHonored:
            if way not in _NEXT:
                raise
        except SourceRefused as error:
            if way is not Paging.KEYSET or error.status != HTTPStatus.BAD_REQUEST:
                raise  # only a 400 is about the condition, or the order
        if way is Paging.FORWARD:
            work.hold.learn(forward_only=False)
        if work.reader.paging is way:  # another thread may have found out at the same time
            work.reader.paging = _NEXT[way]
