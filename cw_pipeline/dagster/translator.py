"""How a table becomes an asset, for those who want it otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

    from cw_pipeline.model import Entity


@dataclass(frozen=True, slots=True)
class ConnectWiseTableProps:
    """A table or view of a tenant, and the asset that it is unless somebody changes it.

    `entity` is the list that is kept in the table; None for all else: what proofs found, reports of
    the reporting API, tables and views of the reporting schema.
    """

    schema: str
    table: str
    entity: Entity | None
    spec: dg.AssetSpec


class ConnectWiseTranslator:
    """Makes asset specs of tables. Override `get_asset_spec`, and return another.

        class Ours(ConnectWiseTranslator):
            def get_asset_spec(self, props):
                spec = super().get_asset_spec(props)
                key = spec.key.with_prefix("raw")
                return spec.replace_attributes(key=key, owners=["team:data"])

    Key, group, description, owners, tags, kinds, automation condition and metadata may change.
    Dependencies follow the keys. The key must depend on schema, table and entity alone: it is also
    asked for with a spec that has nothing but its key.
    """

    def get_asset_spec(self, props: ConnectWiseTableProps) -> dg.AssetSpec:
        """The asset of a table."""
        return props.spec
