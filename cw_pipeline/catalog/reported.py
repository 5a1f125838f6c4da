"""Which columns of a list's table the report scripts read: what is kept of its versions.

Read off the scripts, so that a column that a new script needs is kept from the day it is there.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from cw_pipeline.model import Kind
from cw_pipeline.paths import SQL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cw_pipeline.model import Column

_READS = re.compile(r"\{\{(?:source|history|versions)\}\}\.(\w+)")
_WORD = re.compile(r"[a-z_][a-z0-9_]*")
_ALWAYS = frozenset({"last_updated", "updated_by", "date_entered"})
"""When a version began, who made it, and since when the record is there."""


def columns_of_versions(table: str, columns: Iterable[Column]) -> tuple[str, ...]:
    """The columns of the table that a script names which reads the table, keys left out.

    A word may mean another table's column of that name: then one column more is kept.
    """
    words = _words_by_table().get(table, frozenset()) | _ALWAYS
    return tuple(
        column.name
        for column in columns
        if column.name in words and column.name != "id" and column.kind is not Kind.JSONB
    )


@cache
def _words_by_table() -> Mapping[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for path in sorted((SQL / "reporting").glob("[!.]*.sql")):
        code = re.sub(r"--.*", "", path.read_text("utf-8"))
        words = frozenset(_WORD.findall(code))
        for table in set(_READS.findall(code)):
            found[table] = found.get(table, frozenset()) | words
    return found
