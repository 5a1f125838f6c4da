"""`check`: what keeps it from working, step by step, each with the fix."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from cw_pipeline.cli import output
from cw_pipeline.cli.configuration import read_settings, settings_warnings, warehouse_place
from cw_pipeline.cli.sync import choose
from cw_pipeline.errors import (
    ConfigError,
    PipelineError,
    SourceError,
    SourceMissing,
    WarehouseError,
)
from cw_pipeline.model import ApiVersions
from cw_pipeline.wording import age, count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cw_pipeline.connectwise import ConnectWise
    from cw_pipeline.model import Entity
    from cw_pipeline.pipeline import Pipeline
    from cw_pipeline.settings import Settings
    from cw_pipeline.sync.capabilities import ListCapabilities

_NAMED = 3  # lists in a line
_AN_HOUR = 60  # minutes that a first load of lists below parents may take without a warning
_WORDS = {True: "yes", False: "no", None: ""}


class Steps:
    """The steps of a check, shown as they are taken. One that fails ends the check."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self.results: list[dict[str, object]] = []
        self.unusable = False
        """Whether a setting or the warehouse has to be mended before anything can be done."""

    def take(self, name: str, step: Callable[[], str]) -> bool:
        """Takes a step: whether it went well."""
        try:
            detail, is_fine = step(), True
        except (PipelineError, OSError) as error:
            detail, is_fine = str(error), False
            self.unusable |= isinstance(error, ConfigError | WarehouseError)
        self._note(name, detail, ok=is_fine)
        return is_fine

    def fail(self, name: str, detail: str) -> bool:
        """Notes a step that did not go well. Returns False."""
        self._note(name, detail, ok=False)
        return False

    def warn(self, name: str, detail: str) -> None:
        """Notes what may become a fault, and keeps nothing from working today."""
        self._note(name, detail, ok=True, warning=True)

    def _note(self, name: str, detail: str, *, ok: bool, warning: bool = False) -> None:
        self.results.append({"step": name, "ok": ok, "warning": warning, "detail": detail})
        if not self._silent:
            click.echo(f"{'!' if warning else '✓' if ok else '✗'} {name}: {detail}")


@click.command()
@click.argument("entities", nargs=-1, metavar="[ENTITY]...")
@click.option(
    "--deep", is_flag=True, help="Also try counts, forward-only paging and single records."
)
@output.as_json
def check(entities: tuple[str, ...], *, deep: bool, json_: bool) -> int:
    """Find out what keeps it from working, and how to mend it.

    First the settings, the way to the tenant, the keys and the warehouse; then each list: whether
    the API member may read it, and whether it can be asked for changes only. What is found is
    remembered, and later syncs go by it. Costs one or two requests for each list. Schemas and
    tables that lack in the warehouse are created, and it is said; where none lacks, nothing is.

    Exits 1 if anything is to be mended, 2 if it is a setting or the warehouse.
    """
    from cw_pipeline.dev import services  # noqa: PLC0415 - see cli/__init__.py

    settings = read_settings()
    steps = Steps(silent=json_)
    findings: list[ListCapabilities] = []
    for warning in settings_warnings():
        steps.warn("settings", warning)
    if steps.take("settings", lambda: _settings(settings)):
        steps.take("typing", _typing)
        chosen = choose(settings, entities)
        with services.dev_services(settings) as settings:
            if steps.take("server", lambda: server(settings)):
                findings = _take_steps(settings, steps, chosen, deep=deep)
    is_fine = all(step["ok"] for step in steps.results)
    is_fine = is_fine and all(finding.is_usable for finding in findings)
    if json_:
        output.print_json({"ok": is_fine, "steps": steps.results, "entities": findings})
    elif findings:
        _print(findings, deep=deep)
    return 0 if is_fine else 2 if steps.unusable else 1


def _settings(settings: Settings) -> str:
    from cw_pipeline.address import parse_address  # noqa: PLC0415
    from cw_pipeline.connectwise import Site, trust  # noqa: PLC0415

    settings.require_tenant()
    if settings.site is not None:
        Site.of(settings.site)
    trust(settings.ca_file)
    for name, address in _addresses(settings):
        parse_address(address, name)
    tenant = "the embedded simulator" if settings.is_simulated else settings.site
    return f"tenant {tenant}, warehouse {warehouse_place(settings)}"


def _addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, secret in (
        ("CW_WAREHOUSE_DSN", settings.warehouse_dsn),
        ("CW_DAGSTER_PG_URL", settings.dagster_pg_url),
    ):
        if secret is not None:
            yield name, secret.get_secret_value()


def server(settings: Settings) -> str:
    """Asked before the tenant is: without a warehouse there is nothing to read for.

    Raises WarehouseError too where it gives fewer connections than a process needs.
    """
    from cw_pipeline import composition  # noqa: PLC0415
    from cw_pipeline.warehouse.connections import describe_server  # noqa: PLC0415
    from cw_pipeline.warehouse.database import Database  # noqa: PLC0415

    description = describe_server(composition.dsn(settings))
    with Database(composition.dsn(settings), settings.schema_):
        return description


def _typing() -> str:
    from cw_pipeline.transform.compiled import reader_library  # noqa: PLC0415

    if reader_library() is None:
        return "by Python. With a C compiler (such as gcc) a first load takes half the time or less"
    return "by compiled code"


def _take_steps(
    settings: Settings, steps: Steps, chosen: Sequence[Entity], *, deep: bool
) -> list[ListCapabilities]:
    from cw_pipeline import composition  # noqa: PLC0415
    from cw_pipeline.connectwise import INTERACTIVE  # noqa: PLC0415
    from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415
    from cw_pipeline.sync.capabilities import requests_per_parent  # noqa: PLC0415

    names = [entity.name for entity in chosen]
    with (
        composition.source(settings, policy=INTERACTIVE) as source,
        Pipeline(settings, policy=INTERACTIVE) as pipeline,
    ):
        tenant = TenantCheck(source, settings)
        is_fine = steps.take("network", lambda: network(settings.site or "")) and tenant.check(
            steps
        )
        is_fine = steps.take("warehouse", lambda: _migrate(pipeline, names)) and is_fine
        if not is_fine:
            return []
        check_time_zone(steps, source, settings.time_zone)
        if settings.callback_url is not None:
            check_callbacks(steps, source, pipeline)
        findings: list[ListCapabilities] = []

        def probe() -> str:
            findings.extend(pipeline.probe(*names, deep=deep))
            return count(sum(bool(finding.readable) for finding in findings), "list") + " readable"

        if steps.take("lists", probe):
            requests = requests_per_parent(chosen, source)
            _first_load(steps, requests, settings.requests_per_minute)
        return sorted(findings, key=lambda finding: finding.entity)


def check_time_zone(steps: Steps, source: ConnectWise, used: str) -> None:
    """Says in which time zone reports count days, and warns if the tenant works in another one."""
    from cw_pipeline.connectwise.time_zone import same_clock, tenant_time_zone  # noqa: PLC0415

    zone = tenant_time_zone(source)
    if zone is None:
        steps.take("time zone", lambda: f"{used}; the tenant's own could not be read")
    elif zone.zone is None:
        text = f"reports use {used}; the tenant calls its own {zone.label!r} ({zone.reason})"
        steps.warn("time zone", f"{text}: set CW_TIME_ZONE if that is another one")
    elif same_clock(used, zone.zone):
        steps.take("time zone", lambda: f"{used}, as the tenant's ({zone.label}, {zone.reason})")
    else:
        steps.warn(
            "time zone",
            f"reports count days in {used}, the tenant works in {zone.zone} ({zone.label},"
            f" {zone.reason}): set CW_TIME_ZONE={zone.zone}. Reports are then computed again",
        )


def check_callbacks(steps: Steps, source: ConnectWise, pipeline: Pipeline) -> None:
    """Says whether callbacks are registered, can come in, and do."""
    from cw_pipeline.live.registrations import steps_to_do  # noqa: PLC0415
    from cw_pipeline.warehouse.callbacks import callback_standing, note_registrations  # noqa: PLC0415

    try:
        to_do = ", ".join(map(str, steps_to_do(source, pipeline.settings, pipeline.select())))
        database = pipeline.connect([]).database
        with database.transaction() as connection:
            note_registrations(connection, database.schema, to_do)
            standing = callback_standing(connection, database.schema)
    except PipelineError as error:
        steps.fail("callbacks", str(error))
        return
    if standing.to_do:
        steps.fail("callbacks", str(standing))
    elif standing.faults:
        steps.warn("callbacks", str(standing))
    else:
        steps.take("callbacks", lambda: str(standing))


def network(site: str) -> str:
    """Raises OSError saying which part of the way is closed."""
    from cw_pipeline.connectwise import Site  # noqa: PLC0415

    address = urlsplit(Site.of(site).info)
    host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    try:
        addresses = socket.getaddrinfo(host, port, proto=socket.IPPROTO_TCP)
    except socket.gaierror as error:
        raise OSError(f"{host} has no address ({error.strerror}): check CW_SITE and DNS") from error
    return f"{host} is {addresses[0][4][0]}, {address.scheme}"


class TenantCheck:
    """What the tenant says of itself, and whether it accepts who asks and how."""

    def __init__(self, source: ConnectWise, settings: Settings) -> None:
        self._source = source
        self._settings = settings
        self._release = ""
        self._is_cloud = False

    def check(self, steps: Steps) -> bool:
        """Takes the steps "company", "keys and clientId" and "API version": whether all is well."""
        from cw_pipeline.connectwise import VERSION_REFUSED  # noqa: PLC0415

        if not steps.take("company", self._company):
            return False
        try:
            self._ask()
        except SourceError as error:
            if error.status in VERSION_REFUSED:
                return steps.fail("API version", self._refused_version(error))
            return steps.fail("keys and clientId", str(error))
        steps.take("keys and clientId", lambda: "accepted")
        versions = ApiVersions.of(self._settings.api_version)
        wanted = max(filter(None, map(_release, versions.all)), key=_parts, default="")
        old = versions.older_than_a_year(datetime.now(UTC).date())
        if self._release and wanted and _parts(wanted) > _parts(self._release):
            steps.warn(
                "API version",
                f"the tenant has release {self._release}, which is older than"
                f" CW_API_VERSION={wanted}. Set CW_API_VERSION={self._release}, or it may refuse"
                " requests or leave fields out",
            )
        else:
            steps.take("API version", lambda: self._settings.api_version)
        if old:
            steps.warn(
                "age of the API version",
                f"{', '.join(old)} is older than 12 months: ConnectWise supports a version for"
                " that long after the next one. Try a newer one with `check`, then keep it in"
                " CW_API_VERSION",
            )
        return True

    def _company(self) -> str:
        info = self._source.find_codebase()
        name, version = info.get("CompanyName") or info.get("CompanyID"), info.get("VersionCode")
        self._release = _release(f"{version} {info.get('Codebase')}")
        self._is_cloud = str(info.get("IsCloud")).lower() == "true"
        return f"{name}, version {version}"

    def _ask(self) -> None:
        """Asks as syncs do. Raises SourceError if that is not answered."""
        try:
            answer = self._source.get("/system/info", lambda body: body.decode())
        except SourceMissing as error:
            self._ask_elsewhere(error)
        else:
            self._release = _release(answer) or self._release

    def _ask_elsewhere(self, missing: SourceMissing) -> None:
        """Returns if another list answers. Raises SourceMissing with the guide's advice if not."""
        from cw_pipeline.sync.capabilities import NOTHING_FOUND  # noqa: PLC0415

        try:
            self._source.get("/company/companies?pageSize=1", lambda body: body.decode())
        except SourceMissing:
            other = ""
            name = urlsplit(self._settings.site or "").hostname
            if self._is_cloud and name and not name.startswith("api-"):
                other = f" (CW_SITE={name}, without a scheme, would ask api-{name})"
            raise SourceMissing(
                f"everything at {self._source.base} answers 404, although company info works."
                f" {NOTHING_FOUND}{other}",
                missing.status,
            ) from missing

    def _refused_version(self, refusal: SourceError) -> str:
        """What the tenant says to the version, and which one to ask for."""
        release, requested = self._release, self._source.versions.version_of("system/info")
        fix = "set CW_API_VERSION to an older one"
        if release and release != _release(requested):
            fix = f"the tenant has release {release}: set CW_API_VERSION={release} or an older one"
        return f"CW_API_VERSION={requested} is refused ({refusal}); {fix}"


def _release(text: str) -> str:
    """The first release in a text, such as `2025.1` in `v2025_1/`; empty if there is none."""
    match = re.search(r"(?<!\d)(20\d\d)[._](\d{1,2})(?!\d)", text)
    return f"{match[1]}.{match[2]}" if match else ""


def _parts(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def _migrate(pipeline: Pipeline, names: Sequence[str]) -> str:
    """Brings the warehouse up to this version: what that created."""
    from cw_pipeline.warehouse.connections import connect  # noqa: PLC0415
    from cw_pipeline.warehouse.status import table_counts  # noqa: PLC0415

    dsn, schemas = pipeline.warehouse_dsn(), ("cw_sync", pipeline.settings.schema_)
    with connect(dsn, read_only=True) as connection:
        before = table_counts(connection, *schemas)
    pipeline.migrate(*names)
    with connect(dsn, read_only=True) as connection:
        after = table_counts(connection, *schemas)
    tables = sum(after.values()) - sum(before.values())
    new_schemas = " and ".join(name for name in schemas if name in after and name not in before)
    if new_schemas:
        return f"created the schemas {new_schemas} with {count(tables, 'table')}"
    new_tables = f"created {count(tables, 'table')}; " if tables else ""
    return f"{new_tables}up to date, schema {pipeline.settings.schema_}"


def _first_load(steps: Steps, requests: Mapping[str, int], per_minute: int) -> None:
    """Says what lists below parents cost at a first load: a request for each parent."""
    if not requests:
        return
    total = sum(requests.values())
    most = sorted(requests, key=lambda name: -requests[name])[:_NAMED]
    duration = age(timedelta(minutes=total / per_minute))
    text = (
        f"{count(total, 'request')} for lists that are read parent by parent"
        f" ({', '.join(f'{name} {requests[name]:,}' for name in most)}"
        f"{', …' if len(requests) > _NAMED else ''}), {duration} or more at"
        f" CW_REQUESTS_PER_MINUTE={per_minute}"
    )
    if total > _AN_HOUR * per_minute:
        steps.warn("first load", f"{text}. CW_ENTITIES chooses which lists are read")
    else:
        steps.take("first load", lambda: text)


def _print(findings: Sequence[ListCapabilities], *, deep: bool) -> None:
    heads = ("entity ", "readable ", "changes only ")
    deeper = ("records", "forward only ", "by id ") if deep else ()
    click.echo()
    output.table((*heads, *deeper), [_row(finding, deep=deep) for finding in findings])
    click.echo()
    for finding in findings:
        if finding.detail:
            click.echo(f"{'!' if finding.is_usable else '✗'} {finding.entity}: {finding.detail}")


def _row(finding: ListCapabilities, *, deep: bool) -> tuple[str, ...]:
    cells = (finding.entity, _WORDS[finding.readable] or "?", _WORDS[finding.filterable])
    if not deep:
        return cells
    records = _WORDS[finding.count] if finding.records is None else f"{finding.records:,}"
    return (*cells, records, _WORDS[finding.forward_only], _WORDS[finding.by_id])
