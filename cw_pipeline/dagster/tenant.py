"""What all definitions of one tenant are made with: its settings, names and assets.

Everything that a run needs comes from here. Nothing in this room reads the environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from cw_pipeline.dagster.names import CELERY_QUEUE, TENANT, picked_assets
from cw_pipeline.reporting import reporting_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from cw_pipeline.model import Entity
    from cw_pipeline.settings import Settings

OWNER = "team:connectwise"
KINDS = frozenset({"connectwise", "postgres"})


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


@dataclass(eq=False)
class TenantSetup:
    """One tenant, as its definitions are made of it.

    `settings` are those of the time when Dagster loads the code; secrets may be missing from them.
    `connect` gives those that a run goes by. `prefix` begins the names of jobs, ops, schedules,
    sensors and resources; without one they are as short as can be.

    `schema` is that of the tenant's tables, `reporting_schema` that of the star schema over them.
    `identity` tells the tenant from all others of the same Dagster: the prefix, else the schema,
    because two tenants in two warehouses may have one of the same name. `tags`, which every run of
    the tenant's jobs has, name it, and so does each asset. `resource` is the key of the resource
    that the tenant's ops share, `keys` are the assets that were made.
    """

    settings: Settings
    entities: Sequence[Entity]
    connect: Callable[[], Settings] = field(repr=False)
    prefix: str = ""
    translator: ConnectWiseTranslator = field(default_factory=ConnectWiseTranslator)
    running: bool = True
    schema: str = field(init=False)
    reporting_schema: str = field(init=False)
    identity: str = field(init=False)
    tags: dict[str, str] = field(init=False)
    resource: str = field(init=False)
    keys: set[dg.AssetKey] = field(default_factory=set, repr=False)
    _keys: dict[tuple[str, str], dg.AssetKey] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.schema = self.settings.schema_
        self.reporting_schema = reporting_schema(self.schema)
        self.identity = self.prefix or self.schema
        self.tags = {TENANT: self.identity}
        self.resource = self.name("tenant_run")

    def name(self, plain: str) -> str:
        """The name of a job, an op, a schedule, a sensor or a group."""
        return f"{self.prefix}_{plain}" if self.prefix else plain

    def key(self, table: str, schema: str | None = None) -> dg.AssetKey:
        """The asset of a table of the tenant's own schema, or of another one that it has."""
        place = schema or self.schema, table
        if place not in self._keys:
            self._keys[place] = self._translate(*place, dg.AssetSpec(dg.AssetKey(place))).key
        return self._keys[place]

    def reporting_key(self, table: str) -> dg.AssetKey:
        """The asset of a table or view of the reporting schema."""
        return self.key(table, self.reporting_schema)

    def spec(
        self,
        schema: str,
        table: str,
        *,
        group: str,
        kinds: Collection[str] = KINDS,
        tags: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **more: Any,  # noqa: ANN401 - whatever else dg.AssetSpec takes
    ) -> dg.AssetSpec:
        """The asset of a table or view, as the translator wants it."""
        plain = dg.AssetSpec(
            dg.AssetKey([schema, table]),
            group_name=self.name(group),
            owners=[OWNER],
            kinds=set(kinds),
            tags={**(tags or {}), **self.tags},
            metadata={
                "dagster/table_name": f"{schema}.{table}",
                "dagster/storage_kind": "postgres",
                **(metadata or {}),
            },
            **more,
        )
        made = self._translate(schema, table, plain)
        if made.tags.get(TENANT) != self.identity:  # by which the queue knows whose it is
            made = made.merge_attributes(tags=self.tags)
        self.keys.add(made.key)
        return made

    def owns(self, run: dg.DagsterRun) -> bool:
        """Whether a run is this tenant's: of one of its jobs, or of picked assets, all its own."""
        if picked := picked_assets(run):
            return picked <= self.keys
        return run.tags.get(TENANT) == self.identity

    def op(self, plain: str, *, asks: bool = False) -> dict[str, Any]:
        """The arguments of every op: its name, whose resource it needs, where it runs.

        `asks`: it asks the tenant, so it takes its turn in a pool that is the tenant's own, as is
        its request budget.
        """
        pool = {"pool": f"{self.identity}_api"} if asks else {}
        return {
            "name": self.name(plain),
            "required_resource_keys": {self.resource},
            # A tenant's steps want to run at the tenant's own workers.
            "op_tags": {CELERY_QUEUE: self.identity} if self.settings.executor == "celery" else {},
            **pool,
        }

    def _translate(self, schema: str, table: str, plain: dg.AssetSpec) -> dg.AssetSpec:
        of_table = (each for each in self.entities if each.table == table and schema == self.schema)
        props = ConnectWiseTableProps(schema, table, next(of_table, None), plain)
        return self.translator.get_asset_spec(props)
