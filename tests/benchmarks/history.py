"""What keeping versions costs: loads and edits of tickets, with and without, in turns.

    python -m tests.benchmarks.history --tickets 20000 --turns 5

Records become rows as in a sync, from the bytes of a page to the merge; nobody is asked for them.
Seconds are CPU seconds of the client and the server together, of each turn the middle of all. Exit
code 1: a first load is more than 3 % slower, or an edit takes more than 1.5 times as long.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg

from cw_pipeline.bench.meter import Meter
from cw_pipeline.bench.records import Records
from cw_pipeline.catalog import CATALOG
from cw_pipeline.transform import PageReader
from cw_pipeline.warehouse import Database, migrate, open_store
from tests.benchmarks.reporting import SCHEMA, database, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.model import Entity

TICKETS = CATALOG["service/tickets"]
LOAD, EDIT = 1.03, 1.5
"""How many times as long it may take with versions."""
PAGE = 1_000
_TABLES = (
    "connectwise.service_tickets, connectwise.service_tickets__versions,"
    " connectwise.service_tickets__custom_fields"
)


def main() -> int:
    """Measures and prints."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--tickets", type=int, default=20_000)
    asked.add_argument("--turns", type=int, default=5)
    asked.add_argument("--dsn", help="an empty database; without it a server is started")
    options = asked.parse_args()
    found: dict[str, dict[bool, list[float]]] = defaultdict(lambda: defaultdict(list))
    with database(options.dsn) as dsn:
        migrate(dsn, SCHEMA, [TICKETS])
        records = Records(min(options.tickets, 2_000))
        _turn(dsn, TICKETS, records, options.tickets)  # what is made once counts for neither
        for turn in range(options.turns):
            for kept in (True, False) if turn % 2 else (False, True):
                entity = TICKETS if kept else replace(TICKETS, history=())
                for what, seconds in _turn(dsn, entity, records, options.tickets).items():
                    found[what][kept].append(seconds)
            say(f"turn {turn + 1} of {options.turns}")
        _turn(dsn, TICKETS, records, options.tickets)
        size = _bytes_a_version(dsn)
    ratios = {what: _say(what, seconds) for what, seconds in found.items()}
    say(f"{size[0]:.0f} bytes a version, {size[1]:.0f} of them indexes")
    load, *edits = ratios.values()
    return 1 if load > LOAD or max(edits) > EDIT else 0


def _say(what: str, seconds: dict[bool, list[float]]) -> float:
    """Prints the middle of each, and gives the middle of the turns' ratios."""
    without, kept = statistics.median(seconds[False]), statistics.median(seconds[True])
    ratio = statistics.median(
        own / other for own, other in zip(seconds[True], seconds[False], strict=True)
    )
    say(f"{what}: {without * 1e6:.0f} µs a ticket, with versions {kept * 1e6:.0f}: {ratio:.3f}")
    return ratio


def _turn(dsn: str, entity: Entity, records: Records, tickets: int) -> dict[str, float]:
    """CPU seconds a ticket, of a first load, of edits by the page and of edits one by one."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"truncate {_TABLES}".encode())
        now = time.time() - 86_400
        meter = Meter(connection, None)
        pages = [range(at, min(at + PAGE, tickets)) for at in range(0, tickets, PAGE)]
        spent = {}
        for what, changed, parts in (
            ("first load", None, pages),
            ("edits, a thousand at once", now, pages),
            ("edits, one by one", now + 60, [range(at, at + 1) for at in range(300)]),
        ):
            made = [
                b"[%s]" % b",".join(records.raw(at, changed=changed) for at in part)
                for part in parts
            ]
            with Database(dsn, SCHEMA) as warehouse:
                meter.restart()
                _load(warehouse, entity, made)
                cost = meter.cost()
            number = sum(map(len, parts))
            spent[what] = (cost.client + (cost.postgres or 0.0)) / number
        return spent


def _load(warehouse: Database, entity: Entity, pages: Iterable[bytes]) -> None:
    reader = PageReader(entity)
    with open_store(warehouse, entity, "refresh") as store:
        for page in pages:
            store.load(reader.read_page(page))


def _bytes_a_version(dsn: str) -> tuple[float, float]:
    query = (
        "select pg_total_relation_size(t), pg_indexes_size(t), (select count(*) from"
        " connectwise.service_tickets__versions) from"
        " to_regclass('connectwise.service_tickets__versions') t"
    )
    with psycopg.connect(dsn) as connection:
        row: Any = connection.execute(query).fetchone()
    return row[0] / row[2], row[1] / row[2]


if __name__ == "__main__":
    sys.exit(main())
