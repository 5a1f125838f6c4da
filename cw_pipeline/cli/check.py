"""`check`: what keeps it from working, step by step, each with the fix."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from cw_pipeline.cli import show
from cw_pipeline.cli.sync import choose
from cw_pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cw_pipeline.extract import ConnectWise
    from cw_pipeline.model import Entity
    from cw_pipeline.probe import Finding
    from cw_pipeline.settings import Settings

_WORDS = {True: "yes", False: "no", None: ""}


class Steps:
    """The steps of a check, shown as they are taken. One that fails ends the check."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self.taken: list[dict[str, object]] = []

    def take(self, name: str, step: Callable[[], str]) -> bool:
        """Takes a step: whether it went well."""
        try:
            said, well = step(), True
        except (PipelineError, OSError) as error:
            said, well = str(error), False
        self.taken.append({"step": name, "ok": well, "detail": said})
        if not self._silent:
            click.echo(f"{'✓' if well else '✗'} {name}: {said}")
        return well


@click.command()
@click.argument("entities", nargs=-1, metavar="[ENTITY]...")
@click.option(
    "--deep", is_flag=True, help="Also try counts, forward-only paging and single records."
)
@show.as_json
def check(entities: tuple[str, ...], *, deep: bool, json_: bool) -> int:
    """Find out what keeps it from working, and how to mend it.

    First the settings, the way to the tenant, the keys and the warehouse; then each list: whether
    the API member may read it, and whether it can be asked for changes only. What is found is
    remembered, and later syncs go by it. Costs one or two requests for each list.

    Exits 1 if anything is to be mended.
    """
    from cw_pipeline import ground  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.settings import Settings  # noqa: PLC0415

    settings = Settings.read()
    steps = Steps(silent=json_)
    findings: list[Finding] = []
    if steps.take("settings", lambda: _settings(settings)):
        steps.take("typing", _typing)
        chosen = choose(settings, entities)
        with ground.grounded(settings) as settings:
            findings = _checked(settings, steps, chosen, deep=deep)
    fine = all(step["ok"] for step in steps.taken) and all(found.well for found in findings)
    if json_:
        show.print_json({"ok": fine, "steps": steps.taken, "entities": findings})
    elif findings:
        _print(findings, deep=deep)
    return 0 if fine else 1


def _settings(settings: Settings) -> str:
    from cw_pipeline.extract import Site, trust  # noqa: PLC0415

    settings.require_tenant()
    if settings.site is not None:
        Site.of(settings.site)
    trust(settings.ca_file)
    tenant = "the embedded simulator" if settings.simulated else settings.site
    server = "embedded PostgreSQL" if settings.warehouse_dsn is None else "of CW_WAREHOUSE_DSN"
    return f"tenant {tenant}, warehouse {server}"


def _typing() -> str:
    from cw_pipeline.normalize.library import library  # noqa: PLC0415

    if library() is None:
        return "by Python. With a C compiler (such as gcc) a first load takes half the time or less"
    return "by compiled code"


def _checked(
    settings: Settings, steps: Steps, chosen: Sequence[Entity], *, deep: bool
) -> list[Finding]:
    from cw_pipeline import wiring  # noqa: PLC0415
    from cw_pipeline.cli.sync import with_tables  # noqa: PLC0415
    from cw_pipeline.extract import INTERACTIVE  # noqa: PLC0415
    from cw_pipeline.probe import probe_all  # noqa: PLC0415

    with ExitStack() as stack:
        source = stack.enter_context(wiring.source(settings, policy=INTERACTIVE))
        well = (
            steps.take("network", lambda: _network(settings.site or ""))
            and steps.take("company", lambda: _company(source))
            and steps.take("keys and clientId", lambda: _keys(source, settings))
        )
        well = steps.take("warehouse", lambda: _warehouse(with_tables(settings, chosen))) and well
        if not well:
            return []
        warehouse = stack.enter_context(wiring.warehouse(settings))
        findings: list[Finding] = []

        def probed() -> str:
            findings.extend(probe_all(chosen, source, warehouse, deep=deep))
            return show.count(sum(bool(found.readable) for found in findings), "list") + " readable"

        steps.take("lists", probed)
        return sorted(findings, key=lambda found: found.entity)


def _network(site: str) -> str:
    """Raises OSError saying which part of the way is closed."""
    from cw_pipeline.extract import Site  # noqa: PLC0415

    address = urlsplit(Site.of(site).info)
    host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, proto=socket.IPPROTO_TCP)
    except socket.gaierror as error:
        raise OSError(f"{host} has no address ({error.strerror}): check CW_SITE and DNS") from error
    return f"{host} is {found[0][4][0]}, {address.scheme}"


def _company(source: ConnectWise) -> str:
    info = source.discover()
    return f"{info.get('CompanyName') or info.get('CompanyID')}, version {info.get('VersionCode')}"


def _keys(source: ConnectWise, settings: Settings) -> str:
    def nothing(_: bytes) -> None:
        """That it answers is all that counts."""

    source.get("/system/info", nothing)
    return f"accepted, API version {settings.api_version}"


def _warehouse(settings: Settings) -> str:
    from cw_pipeline import wiring  # noqa: PLC0415
    from cw_pipeline.load import migrate  # noqa: PLC0415

    migrate(wiring.dsn(settings), settings.schema_, wiring.entities(settings))
    return f"up to date, schema {settings.schema_}"


def _print(findings: Sequence[Finding], *, deep: bool) -> None:
    heads = ("entity ", "readable ", "changes only ")
    deeper = ("records", "forward only ", "by id ") if deep else ()
    click.echo()
    show.table((*heads, *deeper), [_row(found, deep=deep) for found in findings])
    click.echo()
    for found in findings:
        if found.detail:
            click.echo(f"{'!' if found.well else '✗'} {found.entity}: {found.detail}")


def _row(found: Finding, *, deep: bool) -> tuple[str, ...]:
    seen = (found.entity, _WORDS[found.readable] or "?", _WORDS[found.filterable])
    if not deep:
        return seen
    records = _WORDS[found.count] if found.records is None else f"{found.records:,}"
    return (*seen, records, _WORDS[found.forward_only], _WORDS[found.by_id])
