"""What the settings mean for each part: the one place that makes parts of settings."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.catalog.attached import AUDITED, DOCUMENTED, audit_trail, documents
from cw_pipeline.connectwise import (
    BACKGROUND,
    AnswerLimits,
    ConnectWise,
    Credentials,
    Policy,
    RateLimiter,
    Site,
    SourceClock,
)
from cw_pipeline.errors import ConfigError
from cw_pipeline.machine import THIS, Machine
from cw_pipeline.model import ApiVersions
from cw_pipeline.reports_api.api import tables_shared
from cw_pipeline.sync.context import Limits, LoadSlots, SyncContext
from cw_pipeline.transform.mask import MaskingRules
from cw_pipeline.warehouse import Connections, Database, RequestBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cw_pipeline.catalog.declare import Declared
    from cw_pipeline.model import Entity
    from cw_pipeline.settings import Settings
    from cw_pipeline.warehouse.ddl import Patience


@dataclass(frozen=True, slots=True)
class Shared:
    """What tenants of one process share: connections to their warehouse, and turns to load pages.

    Requests are each tenant's own: one whose ConnectWise is slow must not hold up the others.
    """

    connections: Connections
    load_slots: LoadSlots


def limits(settings: Settings) -> Limits:
    """The tenant's limits, as set."""
    return Limits(
        page_size=settings.page_size,
        concurrency=settings.max_concurrency,
        requests_per_minute=settings.requests_per_minute,
        overlap=timedelta(seconds=settings.overlap_seconds),
        max_delete_fraction=settings.max_delete_fraction,
        max_reject_fraction=settings.max_reject_fraction,
        min_rejects=settings.min_rejects,
        children_max_age=timedelta(hours=settings.children_max_age_hours),
        children_share=settings.children_share,
        reread_nights=settings.reread_nights,
    )


def masking_rules(settings: Settings) -> MaskingRules | None:
    """What CW_HASH_COLUMNS and CW_DROP_COLUMNS hide, if anything. Raises ConfigError."""
    if not settings.hash_columns and not settings.drop_columns:
        return None
    key = settings.hash_key.get_secret_value() if settings.hash_key else None
    return MaskingRules.of(settings.hash_columns, settings.drop_columns, key)


def report_names(settings: Settings) -> list[str]:
    """The reports that CW_REPORTS chooses to keep as tables.

    Raises ConfigError for two that would be one table.
    """
    names = (word.strip() for word in (settings.reports or "").split(","))
    chosen = list(dict.fromkeys(name for name in names if name))
    if len(chosen) > 1 and (shared := tables_shared(chosen)):
        said = "; ".join(f"{' and '.join(names)} would be one table" for names in shared)
        raise ConfigError(f"CW_REPORTS: {said}: keep one of them")
    return chosen


def entities(settings: Settings) -> list[Entity]:
    """The entities that `CW_ENTITIES` names, and what CW_AUDIT_TRAIL and CW_DOCUMENTS attach.

    Raises ConfigError for an unknown one.
    """
    chosen = select(settings.entities)
    known = {entity.name for entity in chosen}
    attached: list[str] = []
    if settings.audit_trail:
        attached += _attached_names("CW_AUDIT_TRAIL", settings.audit_trail, AUDITED, audit_trail)
    if settings.documents:
        attached += _attached_names("CW_DOCUMENTS", settings.documents, DOCUMENTED, documents)
    return [*chosen, *(CATALOG[name] for name in attached if name not in known)]


def with_parents(chosen: Iterable[Entity]) -> list[Entity]:
    """These entities and those above them, whose tables are read to know what to ask for."""
    family: dict[str, Entity] = {}
    for entity in chosen:
        above: Entity | None = entity
        while above is not None and above.name not in family:
            family[above.name] = above
            above = CATALOG[above.parent] if above.parent else None
    return list(family.values())


def configured_names(settings: Settings) -> list[str]:
    """The names of all that the settings keep up to date, reports too. Raises ConfigError."""
    names = [entity.name for entity in entities(settings)]
    return [*names, *(f"system/reports/{name}" for name in report_names(settings))]


def _attached_names(
    setting: str, value: str, kinds: Mapping[str, str], declared: Callable[[str], Declared]
) -> Iterator[str]:
    """The names of what hangs on records of the kinds that a setting lists."""
    spellings = {kind.lower(): kind for kind in kinds}
    for word in value.split(","):
        if not word.strip():
            continue
        if word.strip().lower() not in spellings:
            raise ConfigError(
                f"{setting}: {word.strip()!r} is not known; write some of {', '.join(kinds)}"
            )
        yield declared(spellings[word.strip().lower()]).name


def source(
    settings: Settings,
    gate: RateLimiter | None = None,
    policy: Policy = BACKGROUND,
    stopping: Event | None = None,
    machine: Machine = THIS,
) -> ConnectWise:
    """The tenant's API. Raises ConfigError if the settings do not name one."""
    if settings.auth not in {"keys", "impersonation"}:
        raise ConfigError(
            f"CW_AUTH={settings.auth!r} is not supported: the guide says that vendor integrations"
            " should ignore cookie authentication and use API Members instead, and that member"
            " hashes stop working where SAML is on. Use keys (the default) or impersonation"
        )
    settings.require_tenant()
    if settings.site is None:
        raise ConfigError("CW_SITE is not set: no tenant to read")
    asked = [*CATALOG, "system/info", "system/reports/*"]
    versions = ApiVersions.of(settings.api_version)
    # A version of lists that do not exist would never be asked in.
    if versions.patterns and (unused := versions.unused_patterns(asked)):
        raise ConfigError(
            f"CW_API_VERSION: {', '.join(unused)} fits no list. Write it as in CW_ENTITIES, such as"
            " finance/* (`catalog list` shows all)"
        )
    if settings.auth == "impersonation" and settings.impersonate is None:
        raise ConfigError("CW_AUTH=impersonation needs CW_IMPERSONATE: the member's identifier")
    secrets = settings.public_key, settings.private_key, settings.client_id
    public_key, private_key, client_id = (
        secret.get_secret_value() if secret else "" for secret in secrets
    )
    credentials = Credentials(
        company=settings.company or "",
        public_key=public_key,
        private_key=private_key,
        client_id=client_id,
        impersonate="" if settings.auth == "keys" else settings.impersonate or "",
        user_type=settings.user_type,
    )
    return ConnectWise(
        Site.of(settings.site),
        credentials,
        api_version=settings.api_version,
        gate=gate,
        policy=policy,
        timeout=settings.timeout_seconds,
        max_concurrency=settings.max_concurrency,
        ca_file=settings.ca_file,
        stopping=stopping,
        answer_limits=AnswerLimits(
            body_bytes=int(settings.max_answer_mb * 2**20),
            header_bytes=settings.max_header_kb * 2**10,
        ),
        clock=SourceClock(timedelta(seconds=settings.clock_tolerance_seconds), machine),
        machine=machine,
    )


@contextmanager
def sync_context(  # noqa: PLR0913 - those of `Pipeline`
    settings: Settings,
    *,
    yields_to_refresh: bool = False,
    dagster_run_id: str | None = None,
    policy: Policy = BACKGROUND,
    patience: Patience | None = None,
    machine: Machine = THIS,
    shared: Shared | None = None,
) -> Iterator[SyncContext]:
    """The warehouse's connections, and an API client that shares the tenant's budget.

    Everything that waits in them ends when the context's `stopping` is set, as it is at the end of
    the block. The arguments are those of `Pipeline`; a simulation gives a `machine` of its own.
    Raises ConfigError, WarehouseError.
    """
    stopping = Event()
    with ExitStack() as stack:
        database = stack.enter_context(warehouse(settings, patience, machine, shared))
        budget = RequestBudget(
            database,
            settings.requests_per_minute,
            yielding=yields_to_refresh,
            stopping=stopping,
            machine=machine,
        )
        gate = RateLimiter(budget.grant, budget.announce_pause, stopping, machine)
        api = stack.enter_context(source(settings, gate, policy, stopping, machine))
        fetchers = machine.executor(settings.max_concurrency, "fetch")
        # Not waited for: an interrupted one may hang in a connection until that times out.
        stack.callback(fetchers.shutdown, wait=False, cancel_futures=True)
        stack.callback(stopping.set)
        context = SyncContext(
            api,
            database,
            limits(settings),
            fetchers,
            dagster_run_id,
            masking_rules(settings),
            stopping=stopping,
            machine=machine,
        )
        yield replace(context, load_slots=shared.load_slots) if shared else context


def tenant(settings: Settings) -> str:
    """Which tenant it is, `company@host`: what its schema is marked with."""
    host = urlsplit(Site.of(settings.site or "").info).hostname
    return f"{settings.company}@{host}".lower()


def dsn(settings: Settings) -> str:
    """The warehouse's address. Raises ConfigError if there is none."""
    if settings.warehouse_dsn is None:
        raise ConfigError("CW_WAREHOUSE_DSN is not set, and no embedded PostgreSQL was started")
    return settings.warehouse_dsn.get_secret_value()


def warehouse(
    settings: Settings,
    patience: Patience | None = None,
    machine: Machine = THIS,
    shared: Shared | None = None,
    *,
    connections: int | None = None,
) -> Database:
    """The tenant's part of the warehouse, not yet opened. `patience`: for what others lock.

    At most so many `connections`; None: as many as the settings say.
    """
    most = connections or settings.max_connections or 2 * settings.max_concurrency + 4
    place = shared.connections if shared else dsn(settings)
    return Database(
        place, settings.schema_, max_connections=most, patience=patience, machine=machine
    )


@contextmanager
def shared_parts(settings: Settings, connections: int) -> Iterator[Shared]:
    """What tenants of one process share, inside the block, over the warehouse of these settings.

    Pages are what keeps connections longest: all tenants together load so few of them at a time
    that first loads leave connections to hints.
    """
    with Connections(dsn(settings), max_connections=connections) as opened:
        yield Shared(opened, LoadSlots(max(2, connections // 4)))
