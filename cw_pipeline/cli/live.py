"""`live`: the worker that stays."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import click

from cw_pipeline.cli.configuration import read_settings, warehouse_place
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cw_pipeline.live.worker import LiveTenant
    from cw_pipeline.settings import Settings


@click.command()
@click.argument("settings_files", nargs=-1, metavar="[SETTINGS_FILE]...", type=click.Path())
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8460",
    show_default=True,
    help="Where callbacks come in, once CW_CALLBACK_URL is set.",
)
@click.option(
    "--leave-first-load",
    is_flag=True,
    help="Leave lists that were never read to Dagster's schedule, which shows how far it is.",
)
@click.option("--with-parent", is_flag=True, hidden=True, help="End when stdin does.")
def live(
    *, settings_files: tuple[str, ...], listen: str, leave_first_load: bool, with_parent: bool
) -> int:
    """Stay, and keep the warehouse in step within seconds.

    A list is asked what is new after as long as it has been quiet: one that has just changed in a
    minute, one that rests each quarter of an hour, or hourly if it has no callbacks; no oftener in
    all than by the schedule alone. With CW_CALLBACK_URL set, callbacks of ConnectWise come in at
    --listen, behind a proxy that speaks TLS; what they name is read at once, and those lists are
    asked every five minutes. Reports follow. `callbacks apply` registers with ConnectWise.

    Several tenants of one warehouse are kept in one process when each is named by its settings
    file: `live acme.env globex.env`. Each has a CW_SCHEMA of its own. They share 20 connections.

    Runs until Ctrl-C. Dagster's schedules go on as a safety net. Of one tenant only one is live at
    a time: a second one waits, and takes over within a minute after the first has died.
    """
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.dev import services  # noqa: PLC0415
    from cw_pipeline.live.receiver_process import receiver_beside  # noqa: PLC0415
    from cw_pipeline.live.registrations import callback_url  # noqa: PLC0415
    from cw_pipeline.live.worker import CONNECTIONS, LiveTenant, Worker  # noqa: PLC0415
    from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415
    from cw_pipeline.process import give_memory_back_once_loaded, tune_process  # noqa: PLC0415

    host, port = _address(listen)
    if with_parent:
        Thread(target=_end_with_stdin, name="parent", daemon=True).start()
    given = tenants_of(settings_files) if settings_files else [read_settings().require_tenant()]
    for each in given:
        if each.callback_url is not None:
            callback_url(each)  # a bad one is named before anything begins
    tune_process()
    give_memory_back_once_loaded()
    if not logging.root.handlers:
        _log_faults_alone()
    with ExitStack() as stack:
        place = warehouse_place(given[0])
        filled = [stack.enter_context(services.dev_services(each)) for each in given]
        most = min(each.max_connections or CONNECTIONS for each in filled)
        shared = stack.enter_context(composition.shared_parts(filled[0], most))
        tenants = [
            LiveTenant(
                stack.enter_context(Pipeline(each, shared=shared)),
                _say(each.schema_),
                leaves_first_load=leave_first_load,
            )
            for each in filled
        ]
        _connect(tenants)
        called = [each for each in filled if each.callback_url is not None]
        if called:
            stack.enter_context(receiver_beside(called, host, port, click.echo))
            seen = ", ".join(dict.fromkeys(str(each.callback_url) for each in called))
            click.echo(f"callbacks: http://{host}:{port}/callbacks, seen as {seen}")
        if len(called) < len(filled):
            names = ", ".join(each.schema_ for each in filled if each.callback_url is None)
            click.echo(f"{names}: no CW_CALLBACK_URL, so no callbacks: lists are only asked")
        if with_parent:  # `up` says what it has started, and that it ends
            stack.enter_context(suppress(KeyboardInterrupt))
        else:
            click.echo(f"{count(len(filled), 'tenant')} into {place}. Ctrl-C stops it.")
        Worker(tenants, shared.connections).run()
    return 0


def _log_faults_alone() -> None:
    """Leaves each try of a request to `-v`: a list that fails is said once, and when it is over."""
    logging.getLogger("cw_pipeline.connectwise").setLevel(logging.ERROR)
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger("cw_pipeline.live").addHandler(shown)


def _end_with_stdin() -> None:
    """Interrupts us when who started us is gone, or was killed: else we would stay for ever."""
    while os.read(0, 4096):  # not by sys.stdin, whose lock would be held when Python ends
        pass
    os.kill(os.getpid(), signal.SIGINT)


def tenants_of(files: Sequence[str]) -> list[Settings]:
    """The settings of several tenants of one warehouse, each as its file has them.

    What the environment sets counts for all of them, so it must not be what tells them apart.
    Raises ConfigError.
    """
    from cw_pipeline.dev.services import environment_kept  # noqa: PLC0415
    from cw_pipeline.environment import NAMED_FILE  # noqa: PLC0415
    from cw_pipeline.errors import ConfigError  # noqa: PLC0415
    from cw_pipeline.settings import TENANT, Settings  # noqa: PLC0415

    named = [name for name in (*TENANT[:-1], "CW_SCHEMA") if os.environ.get(name)]
    if named and len(files) > 1:
        raise ConfigError(
            f"{', '.join(named)} in the environment would go before what each settings file says:"
            " take it out of the environment"
        )
    found: dict[str, tuple[str, Settings]] = {}
    for file in files:
        if not Path(file).is_file():
            raise ConfigError(f"{file} is no settings file")
        with environment_kept():
            os.environ[NAMED_FILE] = str(Path(file).absolute())
            settings = Settings.read().require_tenant()
        if settings.site is None or settings.warehouse_dsn is None:
            raise ConfigError(f"{file} sets no CW_SITE and CW_WAREHOUSE_DSN")
        if settings.schema_ in found:
            raise ConfigError(
                f"{found[settings.schema_][0]} and {file} both have CW_SCHEMA={settings.schema_}:"
                " each tenant needs a schema of its own"
            )
        found[settings.schema_] = file, settings
    tenants = [settings for _, settings in found.values()]
    if len({each.warehouse_dsn for each in tenants}) > 1:
        raise ConfigError(
            "these settings files name different warehouses in CW_WAREHOUSE_DSN: start a `live` for"
            " each warehouse, because its tenants share connections"
        )
    called = {each.ca_file: file for file, each in found.values() if each.callback_url is not None}
    if len(called) > 1:
        (one, first), (other, second), *_ = called.items()
        raise ConfigError(
            f"CW_CA_FILE is {one or 'not set'} in {first} and {other or 'not set'} in {second}, and"
            " one receiver takes the callbacks of all of them: name one file that has the"
            " certificates of both, or start a `live` for each, with a --listen of its own"
        )
    return tenants


def _connect(tenants: Sequence[LiveTenant]) -> None:
    """Connects tenants; one of several that fails is tried again while the others live."""
    from cw_pipeline.errors import PipelineError  # noqa: PLC0415

    for tenant in tenants:
        try:
            tenant.connect()
        except PipelineError as error:
            if len(tenants) == 1:
                raise
            tenant.say(str(error))


def _say(name: str) -> Callable[[str], None]:
    """Says lines to whoever watches, each with the tenant's schema before it."""
    return lambda line: click.echo(f"{name}: {line}", err=True)


def _address(listen: str) -> tuple[str, int]:
    """Host and port. Raises UsageError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise click.UsageError(f"--listen {listen}: HOST:PORT, such as 127.0.0.1:8460")
    return host.strip("[]"), int(port)
