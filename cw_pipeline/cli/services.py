"""`up`, `down` and `simulate`: the parts that run beside the commands."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import click

from cw_pipeline.cli import dagster_processes, end_soon, supervise
from cw_pipeline.cli.configuration import demo_settings, read_settings
from cw_pipeline.process import give_memory_back
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator

_PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--port", type=_PORT, default=3000, show_default=True, help="Of Dagster's UI.")
@click.option("--demo", is_flag=True, help="On a made-up tenant, whatever is configured.")
@click.option("--bi", metavar="PORT", type=_PORT, help="Let BI tools in on this port of 127.0.0.1.")
@click.option(
    "--live/--no-live", "is_live", default=True, help="`live` beside it, or not. [--live]"
)
def up(*, port: int, demo: bool, bi: int | None, is_live: bool) -> int:
    """Dagster's UI and daemon: schedules, runs, backfills, and `live`.

    What `dagster dev` does, in less memory, with the project's own PostgreSQL where
    CW_WAREHOUSE_DSN is not set.
    With --demo it goes on where `demo` left off. Runs until Ctrl-C.

    Lists that Dagster has loaded are then kept up to date by `live`, within minutes, or, with
    CW_CALLBACK_URL and a proxy before it, within seconds.

    With --bi, BI tools reach the project's own PostgreSQL, as a user who reads the reports alone.
    The password is a new one each time, and shown once; sql/bi/README.md has a page for each tool.
    """
    from cw_pipeline.dev import services  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.settings import Settings  # noqa: PLC0415

    if supervise.listens(port):
        raise click.UsageError(f"port {port} of 127.0.0.1 is taken. --port takes another")
    with ExitStack() as stack:
        if demo:
            stack.enter_context(demo_settings())
            click.echo("MADE-UP DATA: what is configured is left alone.", err=True)
        settings = Settings.read() if demo else read_settings().require_tenant()
        filled = stack.enter_context(services.dev_services(settings))
        stack.enter_context(services.export_services(settings, filled))
        if bi is not None:
            from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415

            Pipeline(filled).publish()  # there may be no reporting schema yet
            password = stack.enter_context(services.bi_port(settings, filled.schema_, bi))
            click.echo(_addresses(bi, services.BI_ROLE, password))
        if is_live:
            stack.enter_context(_live_beside())
        click.echo("Dagster starts: its UI comes in about 20 seconds.")
        give_memory_back()  # from here on this process only waits
        command = dagster_processes.command(port, filled.code_location)
        return run_child(command, dagster_processes.environment())


def _addresses(port: int, user: str, password: str) -> str:
    """Where tools find the warehouse, in their own words."""
    place = f"127.0.0.1:{port}/cw_warehouse"
    return (
        f"BI tools: server 127.0.0.1, port {port}, database cw_warehouse, schema reporting,"
        f" user {user}, password {password}\n"
        "  The password is not shown again. No encryption: nothing leaves this machine.\n"
        f"  psql, Python          postgresql://{user}:{password}@{place}\n"
        f"  Superset              postgresql+psycopg2://{user}:{password}@{place}\n"
        f"  Metabase, DBeaver     jdbc:postgresql://{place}\n"
        f"  Power BI              Server 127.0.0.1:{port}, Database cw_warehouse\n"
        f"  Excel, ODBC           Driver={{PostgreSQL Unicode}};Server=127.0.0.1;Port={port};"
        f"Database=cw_warehouse;Uid={user};Pwd={password}"
    )


@click.command()
@click.option("--delete", is_flag=True, help="Delete their data too, and Dagster's runs.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
def down(*, delete: bool, yes: bool) -> int:
    """Stop the embedded parts that were left running.

    A code location that Dagster loads by itself starts them and leaves them: the next run needs
    them again. No data is lost.

    With --delete, what they hold and what Dagster has recorded on this machine goes: the embedded
    PostgreSQL with its warehouse, the made-up tenant, runs, schedules' states, pages. The database
    of CW_WAREHOUSE_DSN is never touched; sql/README.md has the SQL for it. Stop Dagster first.
    """
    from cw_pipeline.dev import services  # noqa: PLC0415
    from cw_pipeline.settings import Settings  # noqa: PLC0415

    settings = Settings.read_unchecked()
    if yes and not delete:
        raise click.UsageError("--yes answers the question of --delete")
    if delete and not yes and not _is_confirmed([str(p) for p in services.local_data(settings)]):
        click.echo("Nothing was stopped or deleted.")
        return 1
    stopped = services.stop_dev_services(settings)
    click.echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")
    if delete:
        deleted = services.delete_local_data(settings)
        for path in deleted:
            click.echo(f"Deleted {path}")
        if not deleted:
            click.echo("There was nothing to delete.")
    return 0


def _is_confirmed(paths: list[str]) -> bool:
    """Whether the user says at the terminal that this may go. Raises UsageError without one."""
    if not paths:
        return True
    click.echo("This deletes, for good:\n  " + "\n  ".join(paths))
    if not sys.stdin.isatty():
        raise click.UsageError(
            "there is no terminal to ask on: use --delete --yes, which deletes without asking"
        )
    return click.confirm("Go on?")


@click.command()
@click.option("--tickets", default=20_000, show_default=True, help="How large a tenant to make.")
@click.option("--seed", default=7, show_default=True, help="The same seed makes the same tenant.")
@click.option("--port", type=_PORT, default=8080, show_default=True, help="On 127.0.0.1.")
@click.option(
    "--on-premise", is_flag=True, help="Answer as an older server that is not the vendor's."
)
def simulate(*, tickets: int, seed: int, port: int, on_premise: bool) -> None:
    """A made-up ConnectWise tenant alone, on a port.

    It answers as the vendor's developer guide says, so other programs can be tried on it too. It
    forgets every change when it ends.
    """
    from cw_pipeline.simulator import CLIENT_ID, seed_tenant, serve  # noqa: PLC0415

    click.echo(f"Making a tenant of {count(tickets, 'ticket')} …", err=True)
    tenant = seed_tenant(tickets=tickets, seed=seed)
    click.echo(
        f"CW_SITE=http://127.0.0.1:{port}\nCW_COMPANY=demo\nCW_PUBLIC_KEY=public\n"
        f"CW_PRIVATE_KEY=private\nCW_CLIENT_ID={CLIENT_ID}"
    )
    click.echo("Serving until Ctrl-C.", err=True)
    try:
        serve(tenant, port=port, on_premise=on_premise)
    except OSError as error:
        raise click.UsageError(f"port {port}: {error.strerror}. --port takes another") from error


def run_child(command: list[str], environment: dict[str, str] | None = None) -> int:
    """Runs a program to its end and hands it the signals we get. Returns its exit code.

    On Linux it also ends when we are killed, which nobody can hand on.
    """
    ends_with_us = dagster_processes.ends_with_parent()

    def prepare() -> None:
        # Started in the background, we inherit an ignored SIGINT, and Dagster would then ignore
        # every way of stopping it but the hard one, which leaves its own children behind.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        ends_with_us(signal.SIGINT)

    child = subprocess.Popen(
        command,
        preexec_fn=prepare,  # noqa: PLW1509
        start_new_session=True,  # or Ctrl-C would reach it twice
        env=environment,
    )
    with end_soon.left_to_child(), _pass_signals_on(child):
        code = child.wait()
    return 0 if code in (0, -signal.SIGINT, 130) else 1


@contextmanager
def _live_beside() -> Iterator[None]:
    """Inside the block `live` runs beside us. First loads are Dagster's, which shows them."""
    child = subprocess.Popen(
        [sys.executable, "-m", "cw_pipeline", "live", "--leave-first-load", "--with-parent"],
        stdin=subprocess.PIPE,  # which ends with us, also when we are killed
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - see run_child
        start_new_session=True,
    )
    ending = Event()

    def watch() -> None:
        code = child.wait()
        if not ending.is_set():
            click.echo(f"live has ended with {code}: schedules go on without it", err=True)

    watching = Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        ending.set()
        child.send_signal(signal.SIGINT)
        watching.join()  # it ends within seconds of a signal, whatever it waits for
        assert child.stdin is not None
        child.stdin.close()


@contextmanager
def _pass_signals_on(child: subprocess.Popen[bytes]) -> Iterator[None]:
    def pass_on(*_: object) -> None:
        child.send_signal(signal.SIGINT)

    # What is ignored stays so, or `nohup` would be of no use.
    heeded = [each for each in end_soon.ENDING if signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, pass_on) for each in heeded}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
