"""`live`: the worker that stays."""

from __future__ import annotations

import logging
from contextlib import ExitStack

import click

from cw_pipeline.cli.configuration import read_settings, warehouse_place


@click.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8460",
    show_default=True,
    help="Where callbacks come in, once CW_CALLBACK_URL is set.",
)
def live(*, listen: str) -> int:
    """Stay, and keep the warehouse in step within seconds.

    Lists that have callbacks are asked each minute what is new, all others hourly. With
    CW_CALLBACK_URL set, callbacks of ConnectWise come in at --listen, behind a proxy that speaks
    TLS; what they name is read at once, and those lists are asked every five minutes. Reports
    follow. `callbacks apply` registers with ConnectWise.

    Runs until Ctrl-C. Dagster's schedules go on as a safety net. Of one tenant only one is live at
    a time: a second one waits, and takes over within a minute after the first has died.
    """
    from cw_pipeline.live.registrations import callback_url  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.live.worker import Worker, receiver_beside  # noqa: PLC0415
    from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415
    from cw_pipeline.process import tune_process  # noqa: PLC0415

    host, port = _address(listen)
    settings = read_settings().require_tenant()
    tune_process()
    if not logging.root.handlers:
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    with ExitStack() as stack:
        pipeline = stack.enter_context(Pipeline(settings))
        place = warehouse_place(settings)
        pipeline.connect()
        if settings.callback_url is not None:
            callback_url(settings)  # a bad one is named before anything begins
            entities = pipeline.select()
            stack.enter_context(
                receiver_beside(pipeline.settings, entities, host, port, click.echo)
            )
            click.echo(
                f"callbacks: http://{host}:{port}/callbacks, seen as {settings.callback_url}"
            )
        else:
            click.echo("CW_CALLBACK_URL is not set: no callbacks, lists are asked each minute")
        click.echo(f"into {place}. Ctrl-C stops it.")
        worker = Worker(pipeline, lambda line: click.echo(line, err=True))
        stack.callback(worker.stop.set)
        worker.run()
    return 0


def _address(listen: str) -> tuple[str, int]:
    """Host and port. Raises UsageError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise click.UsageError(f"--listen {listen}: HOST:PORT, such as 127.0.0.1:8460")
    return host.strip("[]"), int(port)
