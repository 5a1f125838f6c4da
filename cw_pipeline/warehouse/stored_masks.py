"""What became private is hidden where it is stored, too."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from cw_pipeline.errors import WarehouseLocked
from cw_pipeline.warehouse.private_columns import StoredRowMasker, private_columns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.model import Entity
    from cw_pipeline.transform.mask import MaskingRules
    from cw_pipeline.warehouse import Warehouse
    from cw_pipeline.warehouse.private_columns import ColumnRef

log = logging.getLogger(__name__)


def mask_stored_rows(
    warehouse: Warehouse, entities: Iterable[Entity], privacy: MaskingRules | None
) -> None:
    """Hashes and drops what was stored before it was private, once, and notes what is private.

    What is no longer private comes back as its records are read again. An entity whose table
    somebody keeps locked is not synced this time, see `Warehouse.locked`. Raises WarehouseError.
    """
    with warehouse.connection() as connection:
        known = private_columns(connection, warehouse.tenant)
    if privacy is None and not known:
        return
    for entity in entities:
        tables = {entity.table, *(array.table for array in entity.arrays)}
        before = {place: how for place, how in known.items() if place[0] in tables}
        wanted = _wanted(entity, privacy)
        if before == wanted:
            continue
        try:
            _hide(warehouse, entity, (before, wanted), privacy)
        except WarehouseLocked as error:
            log.warning("%s: what is stored could not be made private: %s", entity.name, error)
            warehouse.locked[entity.name] = error


def _wanted(entity: Entity, privacy: MaskingRules | None) -> dict[ColumnRef, str]:
    """The private columns, and the patterns, which may mean fields that have none yet."""
    if privacy is None:
        return {}
    patterns = {(entity.table, p.column): str(p.how) for p in privacy.about(entity)}
    return {**patterns, **privacy.columns(entity)}


def _hide(
    warehouse: Warehouse,
    entity: Entity,
    change: tuple[dict[ColumnRef, str], dict[ColumnRef, str]],
    privacy: MaskingRules | None,
) -> None:
    before, wanted = change
    veil = privacy.mask_of(entity) if privacy else None
    columns = privacy.columns(entity) if privacy else {}
    with warehouse.transaction() as connection:
        hiding = StoredRowMasker(connection, warehouse.tenant)
        hiding.record(wanted, before)
        if veil is None or not wanted.items() - before.items():
            return
        for place, how in columns.items() - before.items():
            if how == "dropped":
                hiding.drop(place, entity.name)
            else:
                hiding.hash(place, entity.name, veil.value)
        for table in (entity.table, *(array.table for array in entity.arrays)):
            hiding.rewrite_extra(table, partial(veil.part, table))
        hiding.rewrite_letters(entity.name, partial(veil.part, entity.table))
