"""How an entity is declared: its path, and only what is unusual about it."""

from __future__ import annotations

from dataclasses import dataclass

from cw_pipeline.catalog.columns import arrays_of, columns_of, fit_name
from cw_pipeline.catalog.facts import fields, list_fact
from cw_pipeline.catalog.naming import entity_name, table_name
from cw_pipeline.catalog.reported import columns_of_versions
from cw_pipeline.model import Column, Entity, Kind, SyncMode

_PARENT = "/{parentId}"
_ONLY_ID = (Column("id", ("id",), Kind.BIGINT),)
_INDEXED = (
    "last_updated",
    "company_id",
    "board_id",
    "owner_id",
    "member_id",
    "agreement_id",
    "project_id",
    "ticket_id",
    "invoice_id",
    "charge_to_id",
)
"""Where they are columns of a list they have an index: the change stamp, and what views join by."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One line of the catalog, before the vendor's facts are added to it."""

    path: str
    about: str
    core: bool
    mode: SyncMode | None
    parent: str | None
    columns: tuple[Column, ...] | None
    step: str = ""
    history: bool = False
    right: str = ""

    @property
    def name(self) -> str:
        """What settings and commands call it: the path without slashes around it and ids in it.

        A list that is asked by query is named after its parent and a step of its own.
        """
        return entity_name(f"{self.parent}/{self.step}" if self.step else self.path)

    @property
    def table(self) -> str:
        """The table's name."""
        return fit_name(table_name(self.name))


def entity(  # noqa: PLR0913 - what a line may say
    path: str,
    about: str = "",
    *,
    core: bool = False,
    mode: SyncMode | None = None,
    parent: str | None = None,
    columns: tuple[Column, ...] | None = None,
    history: bool = False,
    right: str = "",
) -> Declared:
    """Declares the list at `path`; the rest follows from the vendor's facts.

    `core`: synced unless CW_ENTITIES says otherwise. `mode`, `parent` (a path) and `columns`
    speak where the facts are wrong or silent: a list the facts do not know has its `id`, and
    everything else in `_extra`. `history`: every version of its records is kept. `right`: where a
    security role keeps the right to inquire the list and those below it, if not where its module's
    are.
    """
    return Declared(path, about, core, mode, parent, columns, history=history, right=right)


def build_entity(declared: Declared, right: str = "") -> Entity:
    """The entity with its columns, which `right` of a security role lets one inquire."""
    path, asked, _ = declared.path.partition("?")
    fact = list_fact(path)
    model = fact.get("model", "")
    parent = _parent(declared, fact)
    keys = ("parent_id",) if parent else ()
    columns = declared.columns or (columns_of(model, keys) if model else _ONLY_ID)
    return Entity(
        name=declared.name,
        path=declared.path,
        table=declared.table,
        module=declared.name.split("/")[0],
        mode=declared.mode or _documented_mode(model, columns, parent),
        columns=columns,
        arrays=arrays_of(model, declared.table) if declared.columns is None else (),
        parent=parent,
        has_id=any(column.path == ("id",) for column in columns),
        count=fact.get("count", False) and not asked,
        search=fact.get("search", False),
        by_id=fact.get("byId", False) and not asked,
        core=declared.core,
        history=columns_of_versions(declared.table, columns) if declared.history else (),
        indexed=tuple(name for name in _INDEXED if name in {column.name for column in columns}),
        right=right,
        description=declared.about or _about(declared.path),
    )


def _parent(declared: Declared, fact: dict[str, str]) -> str | None:
    before, placeholder, _ = declared.path.rpartition(_PARENT)
    if not (placeholder or declared.step):
        return None
    return entity_name(declared.parent or fact.get("parent", before))


def _documented_mode(model: str, columns: tuple[Column, ...], parent: str | None) -> SyncMode:
    """As documented. A list of which no `_info` is may turn out to have stamps all the same."""
    if parent:
        return SyncMode.PER_PARENT
    if model and "_info" not in fields(model):
        return SyncMode.FULL
    paths = {column.path for column in columns}
    dated = {("id",), ("_info", "lastUpdated")} <= paths
    return SyncMode.INCREMENTAL if dated else SyncMode.FULL


def _about(path: str) -> str:
    words = [word.replace("_", " ") for word in map(_words, entity_name(path).split("/"))]
    return f"{words[0].capitalize()}: {', '.join(words[1:])}"


def _words(step: str) -> str:
    return table_name(step)
