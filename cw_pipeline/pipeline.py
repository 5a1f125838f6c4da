"""From settings to connected parts: the one place that knows how they fit together."""

from __future__ import annotations

import ctypes
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cw_pipeline import reporting
from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.catalog.attached import AUDITED, DOCUMENTED, audit_trail, documents
from cw_pipeline.connectwise import (
    BACKGROUND,
    ConnectWise,
    Credentials,
    Policy,
    RateLimiter,
    Site,
    refuse_cookies,
    trust,
)
from cw_pipeline.errors import ConfigError, WarehouseLocked
from cw_pipeline.reporting.custom_fields import custom_views_are_behind, refresh_custom_views
from cw_pipeline.sync.context import Limits, SyncContext
from cw_pipeline.transform.mask import MaskingRules
from cw_pipeline.warehouse import Database, RequestBudget, migrate, status, up_to_date_schema
from cw_pipeline.warehouse.ddl import Patience
from cw_pipeline.warehouse.owner import mark_tenant
from cw_pipeline.warehouse.private_columns import mask_stored_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pydantic import SecretStr

    from cw_pipeline.catalog.declare import Declared
    from cw_pipeline.model import Entity
    from cw_pipeline.settings import Settings

log = logging.getLogger(__name__)

_AT_THE_END = 30.0  # seconds that a sync waits for those who read views of custom fields
_MALLOC = {-8: 1, -1: 64 << 20, -3: 3 << 20}
"""malloc.h: M_ARENA_MAX; M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in bytes."""


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


def privacy(settings: Settings) -> MaskingRules | None:
    """What CW_HASH_COLUMNS and CW_DROP_COLUMNS hide, if anything. Raises ConfigError."""
    key = settings.hash_key.get_secret_value() if settings.hash_key else None
    return MaskingRules.of(settings.hash_columns, settings.drop_columns, key)


def reports(settings: Settings) -> list[str]:
    """The reports that CW_REPORTS chooses to keep as tables."""
    names = (word.strip() for word in (settings.reports or "").split(","))
    return list(dict.fromkeys(name for name in names if name))


def entities(settings: Settings) -> list[Entity]:
    """The entities that `CW_ENTITIES` names, and what CW_AUDIT_TRAIL and CW_DOCUMENTS attach.

    Raises ConfigError for an unknown one.
    """
    chosen = select(settings.entities)
    known = {entity.name for entity in chosen}
    attached = (
        *_attached("CW_AUDIT_TRAIL", settings.audit_trail, AUDITED, audit_trail),
        *_attached("CW_DOCUMENTS", settings.documents, DOCUMENTED, documents),
    )
    return [*chosen, *(CATALOG[name] for name in attached if name not in known)]


def wanted(settings: Settings) -> list[str]:
    """The names of all that the settings keep up to date, reports too. Raises ConfigError."""
    names = [entity.name for entity in entities(settings)]
    return [*names, *(f"system/reports/{name}" for name in reports(settings))]


def remember_wanted(settings: Settings) -> None:
    """Stores that, so that what is no longer named makes no table look old."""
    with warehouse(settings) as store, store.transaction() as connection:
        status.remember_wanted(connection, store.tenant, wanted(settings))


def _attached(
    setting: str, value: str | None, kinds: Mapping[str, str], declared: Callable[[str], Declared]
) -> Iterator[str]:
    """The names of what hangs on records of the kinds that a setting lists."""
    spelled = {kind.lower(): kind for kind in kinds}
    for word in (value or "").split(","):
        if not word.strip():
            continue
        if word.strip().lower() not in spelled:
            raise ConfigError(f"{setting}: {word.strip()!r} is none of {', '.join(kinds)}")
        yield declared(spelled[word.strip().lower()]).name


def source(
    settings: Settings,
    gate: RateLimiter | None = None,
    policy: Policy = BACKGROUND,
    stopping: Event | None = None,
) -> ConnectWise:
    """The tenant's API. Raises ConfigError if the settings do not name one."""
    refuse_cookies(settings.auth)
    settings.require_tenant()
    if settings.site is None:
        raise ConfigError("CW_SITE is not set: no tenant to read")
    credentials = Credentials(
        company=settings.company or "",
        public_key=_revealed(settings.public_key),
        private_key=_revealed(settings.private_key),
        client_id=_revealed(settings.client_id),
        impersonate=_impersonated(settings),
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
    )


def tenant(settings: Settings) -> str:
    """Which tenant it is, `company@host`: what its schema is marked with."""
    host = urlsplit(Site.of(settings.site or "").info).hostname
    return f"{settings.company}@{host}".lower()


def dsn(settings: Settings) -> str:
    """The warehouse's address. Raises ConfigError if there is none."""
    if settings.warehouse_dsn is None:
        raise ConfigError("CW_WAREHOUSE_DSN is not set, and no embedded PostgreSQL was started")
    return settings.warehouse_dsn.get_secret_value()


def warehouse(settings: Settings, patience: Patience | None = None) -> Database:
    """The tenant's part of the warehouse, not yet opened. `patience`: for what others lock."""
    most = settings.max_connections or 2 * settings.max_concurrency + 4
    address = dsn(settings)
    return Database(address, settings.schema_, max_connections=most, patience=patience)


def migrated(settings: Settings) -> None:
    """Brings the warehouse up to this version: its state, and the tables of the entities.

    Raises ConfigError or WarehouseError.
    """
    kept = settings.history_columns or ""
    migrate(dsn(settings), settings.schema_, entities(settings), kept)


def published(settings: Settings) -> list[str]:
    """Brings the reporting schema up to this version: the views made anew.

    The tables it reads are made too, synced or not. Raises WarehouseError.
    """
    address, tenant = dsn(settings), settings.schema_
    migrate(address, tenant, reporting.entities())
    refresh_custom_views(address, tenant)
    return reporting.publish(address, tenant, settings.time_zone)


@contextmanager
def connected(
    settings: Settings,
    *,
    yielding: bool = False,
    dagster_run_id: str | None = None,
    policy: Policy = BACKGROUND,
    patience: Patience | None = None,
) -> Iterator[SyncContext]:
    """A migrated warehouse and a source that shares the tenant's request budget.

    `yielding`: the live refresh of another process goes first. `patience`: see `warehouse`. At the
    end of the block the views of custom fields follow what was read. Raises ConfigError or
    WarehouseError before anything is.
    """
    hidden = privacy(settings)
    trust(settings.ca_file)  # an unusable file must be named before the warehouse is touched
    chosen = entities(settings)
    with ExitStack() as stack:
        store = stack.enter_context(warehouse(settings, patience))
        kept = settings.history_columns or ""
        stored = up_to_date_schema(store, dsn(settings), chosen, kept)
        stopping = Event()
        budget = RequestBudget(
            store, settings.requests_per_minute, yielding=yielding, stopping=stopping
        )
        gate = RateLimiter(budget.grant, budget.announce_pause, stopping)
        api = stack.enter_context(source(settings, gate, policy, stopping))
        if stored.owner != tenant(settings):
            with store.transaction() as connection:
                mark_tenant(connection, store.tenant, tenant(settings))
        mask_stored_rows(store, chosen, hidden, stored.private)
        fetchers = ThreadPoolExecutor(settings.max_concurrency)
        # Not waited for: an interrupted one may hang in a connection until that times out.
        stack.callback(fetchers.shutdown, wait=False, cancel_futures=True)
        stack.callback(stopping.set)
        _keep_blocks()
        yield SyncContext(
            api, store, limits(settings), fetchers, dagster_run_id, hidden, stopping=stopping
        )
        _follow_custom_fields(settings, store)


def _follow_custom_fields(settings: Settings, store: Database) -> None:
    """What was read is kept, whoever reads the views meanwhile: the next sync makes up for it."""
    with store.connection() as connection:
        if not custom_views_are_behind(connection, store.tenant):
            return
    try:
        refresh_custom_views(dsn(settings), settings.schema_, Patience(give_up_after=_AT_THE_END))
    except WarehouseLocked as error:
        log.warning("%s. Or wait: the next sync does it", error)


def _keep_blocks() -> None:
    """The rows of pages, megabytes each, are put where others were before.

    glibc else asks the system for each anew, which has to zero it; and it keeps a heap for every
    thread, so that the blocks of one are of no use to another. Inflated bodies are larger, and go
    back at once: they would leave holes of 5 MB.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # musl has none
        for option, value in _MALLOC.items():
            libc.mallopt(option, value)


def _impersonated(settings: Settings) -> str:
    if settings.auth == "keys":
        return ""
    if settings.impersonate is None:
        raise ConfigError("CW_AUTH=impersonation needs CW_IMPERSONATE: the member's identifier")
    return settings.impersonate


def _revealed(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
