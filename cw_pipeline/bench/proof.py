"""What a proof costs: the sweep of a list, and the comparison of its ids with the table."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from cw_pipeline.bench.finding import CaseResult, cpu
from cw_pipeline.bench.lab import SCHEMA, TICKETS
from cw_pipeline.bench.records import FIRST, SPAN, STEP, stamp_of
from cw_pipeline.catalog import CATALOG
from cw_pipeline.warehouse import Database, ListSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.bench.lab import Lab
    from cw_pipeline.bench.scale import Scale
    from cw_pipeline.warehouse import ListDifference

_PAGE = 1000
_MB = 1e6


def proof(lab: Lab, scale: Scale) -> CaseResult:
    """A reconcile of tables that hold what their lists hold, and of one that does not."""
    found, sizes = CaseResult("proof"), (scale.growth[1], scale.growth[-1])
    took, difference = 0.0, None
    for size in dict.fromkeys(sizes):
        with lab.database() as dsn:
            lab.sync(dsn, f"t{_PAGE}")
            _multiply(dsn, size)
            # A list of its own: another case changes records of the plain one.
            found.add(str(size), lab.sync(dsn, f"t{size}-wait0", proof=True))
            if size == sizes[-1]:
                took, difference = _compare(dsn, size)
    assert difference is not None
    _say_sweep(found, sizes)
    apart = sum(map(len, (difference.missing, difference.stale, difference.extra)))
    found.say(
        f"comparing {sizes[-1]:,} ids and stamps with the table, {apart:,} of them apart",
        f"{took:.1f} s",
        "≤ 10 s",
        kept=took <= 10 and apart == 3 * (size // _PAGE),  # noqa: PLR2004 - the promise
    )
    return found


def _say_sweep(found: CaseResult, sizes: tuple[int, int]) -> None:
    few, many = (found.runs[str(size)][0] for size in sizes)
    asked, most = many.costs["requests"], -(-sizes[1] // _PAGE) + 5
    found.say(
        f"proof of {sizes[1]:,} tickets",
        f"{asked:,} requests, {many.wall:.1f} s; {cpu([many])}",
        f"≤ {most:,} requests",
        kept=asked <= most,
    )
    small, large = few.costs["memory"] / _MB, many.costs["memory"] / _MB
    found.say(
        f"memory of a proof, {sizes[0]:,} and {sizes[1]:,} records",
        f"{small:.0f} and {large:.0f} MB ({large / small - 1:+.0%})",
        "within 10 %, ≤ 200 MB",
        kept=large <= 1.1 * small and large <= 200,  # noqa: PLR2004 - the promise
    )


def _multiply(dsn: str, size: int) -> None:
    """Fills a table of a page of tickets up to `size`, as wide as they are."""
    set_here = {"id", "last_updated"}
    names = [c.name for c in CATALOG[TICKETS].row_columns if c.name not in set_here]
    query = sql.SQL(
        "insert into {table} (id, last_updated, {names})"
        " select {first} + at, to_timestamp({born} + at * {step}::bigint % {span}), {names}"
        " from generate_series({page}, {last}) at join {table} t on t.id = {first} + at % {page}"
    )
    born = stamp_of(0)
    with psycopg.connect(dsn) as connection:
        connection.execute("set cw_pipeline.writes = on")  # else they are marked as edited by hand
        connection.execute(
            query.format(
                table=sql.Identifier(SCHEMA, CATALOG[TICKETS].table),
                names=sql.SQL(", ").join(map(sql.Identifier, names)),
                first=FIRST,
                born=born,
                step=STEP,
                span=SPAN,
                page=_PAGE,
                last=size - 1,
            )
        )
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        # The schema is marked with its tenant: here each size of list is one of its own.
        connection.execute("delete from cw_sync.schema_owner where schema = %s", [SCHEMA])


def _compare(dsn: str, size: int) -> tuple[float, ListDifference]:
    """How long the comparison takes where one in a thousand is missing, stale and extra each."""
    with Database(dsn, SCHEMA) as database:
        sweep = ListSnapshot(database, CATALOG[TICKETS], datetime.now(UTC))
        for ids, stamps in _pages(size):
            sweep.add(ids, stamps)
        started = time.monotonic()
        difference = sweep.difference()
        return time.monotonic() - started, difference


def _pages(size: int) -> Iterator[tuple[list[int], list[datetime | None]]]:
    """Pages of a list that differs: of each, one record is gone, one changed and one is new."""
    for start in range(0, size - size % _PAGE, _PAGE):
        chosen = range(start + 1, start + _PAGE)
        stamps: list[datetime | None] = [datetime.fromtimestamp(stamp_of(at), UTC) for at in chosen]
        stamps[0] = datetime.fromtimestamp(stamp_of(start + 1), UTC) + timedelta(hours=1)
        yield (
            [*(FIRST + at for at in chosen), FIRST + size + start],
            [*stamps, datetime.now(UTC)],
        )
