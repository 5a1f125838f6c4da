"""What the SQL files say: one file, one view or table, its comments the ones BI authors see.

The comment that opens a file describes the view. A comment behind a column of the last `select`
describes the column. `{{source}}` is the schema of the entities, `{{reporting}}` the one of the
views; naming a view there is what makes it a dependency. Of a tracked entity `{{history}}.table`
has the versions that are over, and `{{versions}}.table` all of them, see `versions_query`.

A view with a `<name>.changed.sql` beside it is kept as a table. That query gives the keys of the
rows to be computed anew after a change `{{since}}` a moment; `{{only: column}}` in the view's own
file is where it is narrowed to them, `{{only by index: column}}` where that is a column of a big
table, or of its versions, that has an index; `{{only by index: column, key}}` where it is one of
several columns of the keys. `{{only from: day, month}}` leaves out days before the first of the
keys `month`, which an index on the days finds. A query of rows without columns (`select from …`)
says only whether anything changed: then the whole table is computed anew.
A line `-- index: columns` names an index of the table, `-- index: columns where …` one of some
of its rows.
`{{work changed: column}}` is a query of that column in the time entries, expenses and products that
changed, also as they were.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from functools import cache
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import ConfigError
from cw_pipeline.paths import SQL
from cw_pipeline.warehouse.history import versions_query, versions_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cw_pipeline.model import Entity

log = logging.getLogger(__name__)

LINEAGE = Path(__file__).with_name("lineage.json")
_FOLDER = SQL / "reporting"
_TYPES = SQL / "bi" / "columns.json"
_CHANGED = ".changed.sql"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_HEAD = re.compile(r"(?:--.*\n)+")
_COLUMN = re.compile(r"^ {4}(?:.*[ .])?(\w+),? -- (.+)$", re.MULTILINE)
_READS = re.compile(r"\{\{(source|history|versions|reporting)\}\}\.(\w+)")
_VERSIONS = re.compile(r"\{\{versions\}\}\.(\w+)")
_HISTORY = re.compile(r"\{\{history\}\}\.(\w+)")
_INDEX = re.compile(r"^-- index: (.+?)( where .+)?$", re.MULTILINE)
_WORK_CHANGED = re.compile(r"\{\{work changed: (\w+)\}\}")
_WORK = r"""select \1 from {{reporting}}.fct_time_entry_all where changed_at > {{since}}
    union
    -- whose it was before it was moved
    select \1 from {{history}}.time_entries where _recorded_to >= {{since}}
    union
    select \1 from {{source}}.expense_entries where _synced_at >= {{since}}
    union
    select \1 from {{history}}.expense_entries where _recorded_to >= {{since}}
    union
    select \1 from {{source}}.procurement_products where _synced_at >= {{since}}
    union
    select \1 from {{history}}.procurement_products where _recorded_to >= {{since}}"""
# Raised where what refreshes have kept in tables may be wrong: the next `migrate` fills them anew.
_KEPT = "2: rows in which only a sign changed were kept"
_ONLY = re.compile(r"\{\{only: ([^}]+)\}\}")
# As an array, which Postgres takes down into a union; a table of keys is joined with all of it.
_ONLY_BY_INDEX = re.compile(r"\{\{only by index: ([^}]+?)(?:, (\w+))?\}\}")
_ONLY_FROM = re.compile(r"\{\{only from: ([^}]+), (\w+)\}\}")


@dataclass(frozen=True, slots=True)
class ViewScript:
    """A view, or a table if `changed` tells what to compute anew.

    `sources` are the tables of entities that it reads itself, `histories` those of which it reads
    the versions that are over. `needs` are the views that it reads, `all_needs` those and what it
    asks what has to be computed anew. `watched_tables` are tables of entities that a table asks
    what was synced to them lately.
    """

    name: str
    query: str
    changed: str | None = None
    sources: frozenset[str] = field(init=False, repr=False, compare=False)
    histories: frozenset[str] = field(init=False, repr=False, compare=False)
    needs: frozenset[str] = field(init=False, repr=False, compare=False)
    all_needs: frozenset[str] = field(init=False, repr=False, compare=False)
    watched_tables: list[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        reads, asks = (_READS.findall(text or "") for text in (self.query, self.changed))
        needs = {name for schema, name in reads if schema == "reporting"} - {self.name}
        asked = {name for schema, name in asks if schema == "reporting"} - {self.name}
        past = {"history", "versions"}
        found = {
            "sources": frozenset(name for schema, name in reads if schema != "reporting"),
            "histories": frozenset(name for schema, name in reads if schema in past),
            "needs": frozenset(needs),
            "all_needs": frozenset(needs | asked),
            "watched_tables": sorted({name for schema, name in asks if schema == "source"}),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @property
    def comment(self) -> str:
        """What the view is, with its grain and its sources."""
        head = _HEAD.match(self.query)
        lines = head.group().splitlines() if head else []
        return " ".join(line.removeprefix("--").strip() for line in lines)

    @property
    def columns(self) -> dict[str, str]:
        """What each column is, in the view's order."""
        described: dict[str, str] = {}
        for name, text in _COLUMN.findall(self.query):
            described.setdefault(name, text)
        return described

    @property
    def indexes(self) -> list[tuple[list[str], str]]:
        """The columns of each index of a table, and which rows are in it: ` where …`, or all."""
        return [(names.split(", "), rows) for names, rows in _INDEX.findall(self.changed or "")]

    @property
    def whole(self) -> str:
        """The query for every row, with its placeholders."""
        return _ONLY_FROM.sub("true", _ONLY_BY_INDEX.sub("true", _ONLY.sub("true", self.query)))

    def query_for(
        self,
        place: ReportingSchema,
        only: str | None = None,
        instead: Mapping[str, str] | None = None,
    ) -> str:
        """The query as it runs there: for every row, or for the keys in the table `only`.

        `instead` of some views it reads others: their names in SQL by the names of the views.
        """
        query = self.whole
        if only is not None:
            query = _ONLY.sub(rf"(\1) in (table {only})", self.query)
            query = _ONLY_BY_INDEX.sub(
                lambda at: f"{at[1]} = any(array(select distinct {at[2] or '*'} from {only}))",  # noqa: S608
                query,
            )
            query = _ONLY_FROM.sub(rf"\1 >= (select min(\2) from {only})", query)  # noqa: S608
        for name, other in (instead or {}).items():
            whole = re.compile(rf"\{{\{{reporting\}}\}}\.{name}\b")
            query = whole.sub(other.replace("\\", r"\\"), query)
        return place.fill(query)

    def digest(self, place: ReportingSchema) -> str:
        """Changes whenever the view must be made anew."""
        kept = "" if self.changed is None else f"{self.changed}\n{_KEPT}"
        text = "\n".join([self.query_for(place), kept, self.query])
        return sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ReportingSchema:
    """Where views go: the tenant, which is the schema of its entities, and its time zone.

    A month is closed at the end of day `month_closes_on` of the next one; 0: when it ends. The
    fiscal year begins with month `fiscal_year_start`, which only views ask for: tables are filled
    again without it.
    """

    tenant: str
    time_zone: str = "UTC"
    month_closes_on: int = 5
    fiscal_year_start: int = 1

    @property
    def schema(self) -> str:
        """The schema of the views."""
        return reporting_schema(self.tenant)

    def fill(self, text: str, **more: str) -> str:
        """The text with names and literals where it has placeholders."""
        text = _VERSIONS.sub(lambda found: self._versions(found[1]), text)
        text = _HISTORY.sub(lambda found: f'"{self.tenant}"."{versions_table(found[1])}"', text)
        texts = {"tenant": self.tenant, "time_zone": self.time_zone, **more}
        values = {
            "source": f'"{self.tenant}"',
            "reporting": f'"{self.schema}"',
            "month_closes_on": str(self.month_closes_on),
            "fiscal_year_start": str(self.fiscal_year_start),
            **{name: "'" + value.replace("'", "''") + "'" for name, value in texts.items()},
        }
        for name, value in values.items():
            text = text.replace(f"{{{{{name}}}}}", value)
        return text

    def _versions(self, table: str) -> str:
        entity = _entity(table)
        if entity is None or entity.table != table:
            raise ConfigError(f"sql/reporting: {{{{versions}}}}.{table} is no table of an entity")
        history = f'"{self.tenant}"."{versions_table(table)}"'
        return versions_query(entity, f'"{self.tenant}"."{table}"', history)


def reporting_schema(tenant: str) -> str:
    """`reporting` for the default tenant, `<schema>_reporting` for another one."""
    return "reporting" if tenant == "connectwise" else f"{tenant}_reporting"


@cache
def scripts() -> tuple[ViewScript, ...]:
    """Every view, each after those it reads.

    A file of the user's beside ours is a view like them. Raises ConfigError for views that read
    each other in a circle.
    """
    made = {}
    for path in sorted(_FOLDER.glob("*.sql")):
        if path.name.endswith(_CHANGED):
            continue
        if not _NAME.fullmatch(path.stem):
            log.warning(
                "sql/reporting/%s is left out: name the file as a view is named, in small letters,"
                " digits and _",
                path.name,
            )
            continue
        changed = path.with_name(path.stem + _CHANGED)
        since_query = None
        if changed.exists():
            since_query = _WORK_CHANGED.sub(_WORK, changed.read_text("utf-8"))
        made[path.stem] = ViewScript(path.stem, path.read_text("utf-8"), since_query)
    try:
        ordered = in_order(made.values())
    except CycleError as error:
        circle = ", ".join(f"{name}.sql" for name in dict.fromkeys(error.args[1]))
        raise ConfigError(f"sql/reporting: {circle} read each other in a circle") from error
    tables = {declared.table for declared in CATALOG.declared.values()}
    for script in ordered:  # what is not known of a view, which only a view of the user's lacks
        for name in sorted(script.needs - made.keys()):
            log.warning(
                "sql/reporting/%s.sql reads %s, and there is no %s.sql", script.name, name, name
            )
        for table in sorted(script.sources):
            if table.partition("__")[0] not in tables:
                log.warning(
                    "sql/reporting/%s.sql reads %s, which is no table of the catalog's: how old its"
                    " rows are is not known",
                    script.name,
                    table,
                )
    return ordered


def kept_tables() -> set[str]:
    """Names of the views that are kept as tables."""
    return {script.name for script in scripts() if script.changed is not None}


def in_order(made: Iterable[ViewScript]) -> tuple[ViewScript, ...]:
    """The scripts, each after those it reads."""
    named = {script.name: script for script in made}
    order = TopologicalSorter(
        {name: sorted(each.needs & named.keys()) for name, each in named.items()}
    )
    return tuple(named[name] for name in order.static_order())


@cache
def lineage() -> dict[str, list[str]]:
    """What each view reads: names of views, and names of entities, which have a slash."""
    return {
        script.name: sorted({*_known_needs(script), *(entity.name for entity in _entities(script))})
        for script in scripts()
    }


@cache
def column_types() -> dict[str, dict[str, str]]:
    """The types of each view's columns, as PostgreSQL says them of a published schema.

    As `python -m tests.bi_tools --types` wrote them down; of a view of yours nothing is known.
    """
    published: dict[str, dict[str, str]] = json.loads(_TYPES.read_text("utf-8"))
    # What a view shows of `<name>_all` is the same.
    return {
        script.name: published.get(script.name.removesuffix("_all"), {})
        | published.get(script.name, {})
        for script in scripts()
    }


@cache
def column_lineage() -> dict[str, dict[str, list[str]]]:
    """The columns of each view, and what each comes from: `table.column` of an entity or a view.

    As `python -m tests.lineage` read it off the SQL. Of a view or a column that it has not seen
    nothing is known, and a warning says so.
    """
    traced: dict[str, dict[str, list[str]]] = json.loads(LINEAGE.read_text("utf-8"))
    found = {}
    for script in scripts():
        known = traced.get(script.name, {})
        if unknown := [name for name in script.columns if name not in known]:
            log.warning(
                "sql/reporting/%s.sql: what %s comes from is not known to lineage.json, and not"
                " shown; everything else works",
                script.name,
                ", ".join(unknown) if known else "it",
            )
        found[script.name] = known | {name: [] for name in unknown}
    return found


def entities() -> list[Entity]:
    """The entities whose tables the views read, which must be there whether synced or not."""
    found = {entity.name: entity for script in scripts() for entity in _entities(script)}
    return [found[name] for name in sorted(found)]


def tables_reading(names: Iterable[str]) -> set[str]:
    """The views that show anything of these entities, through other views too."""
    asked = {declared.table for name in names if (declared := CATALOG.declared.get(name))}
    found: set[str] = set()
    for script in scripts():
        if script.needs & found or asked & {table.partition("__")[0] for table in script.sources}:
            found.add(script.name)
    return found


def roots(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """What a view's age follows from: entities that it reads through views alone, and tables."""
    by_name = {script.name: script for script in scripts()}
    view = by_name[name]
    found = {entity.name for entity in _entities(view)}
    kept: set[str] = set()
    for need in _known_needs(view):
        if by_name[need].changed is not None:
            kept.add(need)
        else:
            through, behind = roots(need)
            found |= through
            kept |= behind
    return frozenset(found), frozenset(kept)


def _known_needs(script: ViewScript) -> frozenset[str]:
    return script.needs & {each.name for each in scripts()}


def _entities(script: ViewScript) -> list[Entity]:
    """The entities whose tables a view reads itself."""
    return [entity for table in script.sources if (entity := _entity(table)) is not None]


def _entity(table: str) -> Entity | None:
    """The entity that a table belongs to, be it the one of an array; None: of no entity."""
    name = _names().get(table.partition("__")[0])
    return None if name is None else CATALOG[name]


@cache
def _names() -> Mapping[str, str]:
    return {declared.table: name for name, declared in CATALOG.declared.items()}
