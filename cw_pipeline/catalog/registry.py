"""The catalog as a mapping, and the ways to choose from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cw_pipeline.catalog import (
    company,
    expense,
    finance,
    marketing,
    procurement,
    project,
    sales,
    schedule,
    service,
    system,
    time,
)
from cw_pipeline.catalog.attached import ATTACHED
from cw_pipeline.catalog.declare import build_entity
from cw_pipeline.errors import ConfigError
from cw_pipeline.suggest import closest, did_you_mean

if TYPE_CHECKING:
    from typing_extensions import override

    from cw_pipeline.catalog.declare import Declared
    from cw_pipeline.model import Entity
else:

    def override(method: object) -> object:
        """`typing.override` comes with Python 3.12; its backport costs 20 ms of every start."""
        return method


_MODULES = (
    company,
    expense,
    finance,
    marketing,
    procurement,
    project,
    sales,
    schedule,
    service,
    system,
    time,
)

DECLARED = tuple(line for module in _MODULES for line in module.ENTITIES)

_RIGHTS: dict[str, str] = {
    module.__name__.rpartition(".")[2]: module.RIGHT for module in _MODULES
} | {line.name: line.right for line in DECLARED if line.right}
"""Where a security role keeps the right to inquire a list, by the first words of its name."""

_AT_MOST = 3  # suggestions


class Catalog(Mapping[str, "Entity"]):
    """Entities by name, each built when it is first asked for.

    `attached` are found by name and never listed.
    """

    def __init__(self, declared: tuple[Declared, ...], attached: tuple[Declared, ...] = ()) -> None:
        self.declared = {one.name: one for one in declared}
        self.attached = {one.name: one for one in attached}
        self._built: dict[str, Entity] = {}

    @override
    def __getitem__(self, name: str) -> Entity:
        if name not in self._built:
            line = self.declared.get(name) or self.attached[name]
            self._built[name] = build_entity(line, _right(name))
        return self._built[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self.declared)

    @override
    def __len__(self) -> int:
        return len(self.declared)


def _right(name: str) -> str:
    """The right of the longest name that this one begins with."""
    fitting = [words for words in _RIGHTS if name.startswith(words)]
    return _RIGHTS[max(fitting, key=len)]


CATALOG = Catalog(DECLARED, ATTACHED)


def select(patterns: str | None, catalog: Catalog = CATALOG) -> list[Entity]:
    """The entities that a comma list of names, tables or globs means, parents before children.

    None means the core, as `core` does; `all` and `*` mean every one. A child may be chosen without
    its parent: the parent's table may be kept already. Raises ConfigError for what means nothing.
    """
    wanted = [word.strip() for word in (patterns or "core").split(",") if word.strip()]
    chosen = {name for word in wanted or ["core"] for name in _matching_names(word, catalog)}
    listed = [*catalog, *catalog.attached]
    return sorted((catalog[name] for name in listed if name in chosen), key=_depth)


def _matching_names(word: str, catalog: Catalog) -> list[str]:
    if word == "all":
        return list(catalog)
    if word in catalog:
        return [word]  # a long list of names must not try each as a pattern
    declared = catalog.declared.values()
    if word == "core":
        return [one.name for one in declared if one.core]
    glob = word.strip("/").lower()
    found = [
        one.name
        for one in declared
        if fnmatchcase(one.name.lower(), glob) or fnmatchcase(one.table, glob)
    ]
    # Of what is attached to records only a name is meant: it takes a request for each record.
    found += [
        one.name for one in catalog.attached.values() if glob in {one.name.lower(), one.table}
    ]
    if not found:
        hint = did_you_mean(_similar(glob, catalog)) or "see `catalog list`"
        raise ConfigError(f"CW_ENTITIES: no entity is called {word!r}; {hint}")
    return found


def _similar(word: str, catalog: Catalog) -> list[str]:
    """Names, tables or globs that mean something and are like a word that means nothing."""
    declared = [*catalog.declared.values(), *catalog.attached.values()]
    by_ending: dict[str, list[str]] = {}
    for one in sorted(declared, key=lambda each: (not each.core, each.name.count("/"))):
        by_ending.setdefault(one.name.rpartition("/")[2].lower(), []).append(one.name)
    if word in {one.name.split("/")[0] for one in declared}:
        return [f"{word}/*"]
    if set(word) & set("*?["):
        return closest(word, {glob for one in declared for glob in _globs(one)})
    return (
        by_ending.get(word, [])[:_AT_MOST]
        or closest(word, [one.name for one in declared])
        or [name for ending in closest(word, by_ending) for name in by_ending[ending][:_AT_MOST]]
        or closest(word, [one.table for one in declared])
    )


def _globs(one: Declared) -> Iterator[str]:
    """Globs of the forms that people write, which this entity matches."""
    above, _, ending = one.name.rpartition("/")
    yield from (f"{above}/*", f"{above}/{ending}*", f"*/{ending}", f"*{ending}*", f"*{ending}")
    yield from (f"{one.name.split('/')[0]}/*", f"{one.table.split('_')[0]}_*", f"{one.table}*")


def _depth(entity: Entity) -> int:
    return entity.path.count("{")
