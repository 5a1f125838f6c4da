"""The naming rule: a vendor's spelling in, a warehouse name out. One rule, no exceptions."""

from __future__ import annotations

import re

# A run of capitals is one word, with its plural s; digits stay with what precedes them.
_WORD = re.compile(r"[A-Z]{2,}s(?![a-z])\d*|[A-Z]+\d*(?![a-z])|[A-Z]?[a-z][a-z0-9]*|\d+")


def snake(spelling: str) -> str:
    """`closedFlag` → `closed_flag`, `RMADispositions` → `rma_dispositions`, `SLAs` → `slas`."""
    return "_".join(_WORD.findall(spelling)).lower()


def entity_name(path: str) -> str:
    """`/finance/agreements/{parentId}/additions` → `finance/agreements/additions`."""
    return "/".join(step for step in path.split("/") if step and not step.startswith("{"))


def table_name(path: str) -> str:
    """`/finance/agreements/{parentId}/additions` → `finance_agreements_additions`."""
    return "_".join(snake(step) for step in entity_name(path).split("/"))
