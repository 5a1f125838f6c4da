"""Which list, record or count a path means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cw_pipeline.simulator.answers import Refusal, no_endpoint, no_record
from cw_pipeline.simulator.tenant import canonical, template

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.simulator.tenant import Tenant


_SEARCHED = frozenset({"/service/tickets", "/project/tickets"})


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `path` is the canonical path of the list, without `/count`."""

    what: Literal["list", "count", "record", "search"]
    path: str
    record_id: int = 0


class Routes:
    """The lists a tenant has: those given, and those it holds records of."""

    def __init__(self, tenant: Tenant, paths: Iterable[str], uncounted: Iterable[str] = ()) -> None:
        self._tenant = tenant
        self._known = {template(path) for path in paths}
        self._uncounted = {template(path) for path in uncounted}

    def find(self, path: str) -> Target:
        """The target of a path. Raises Refusal (404) where the API has none."""
        path = canonical(path)
        head, _, tail = path.rpartition("/")
        if tail == "search" and head in _SEARCHED:
            return Target("search", head)
        if tail == "count" and self._is_list(head) and template(head) not in self._uncounted:
            self._check_parent(head)
            return Target("count", head)
        if self._is_list(path):
            self._check_parent(path)
            return Target("list", path)
        if tail.isdecimal() and self._is_list(head):
            return Target("record", head, int(tail))
        raise Refusal(no_endpoint())

    def _is_list(self, path: str) -> bool:
        return template(path) in self._known or self._tenant.has_like(path)

    def _check_parent(self, path: str) -> None:
        """Children of a record that does not exist: 404, not an empty list."""
        places = list(re.finditer(r"/(\d+)(?=/)", path))
        if not places:
            return
        parents, parent_id = path[: places[-1].start()], int(places[-1][1])
        if self._tenant.has(parents) and parent_id not in self._tenant.collection(parents):
            raise Refusal(no_record(parents, parent_id))
