"""The group of all commands. What each does is in the module that its line names."""

from __future__ import annotations

from importlib import import_module

import click
from typing_extensions import override

from cw_pipeline.cli.output import Group

COMMANDS = {
    "demo": ("demo", "See it work: a warehouse and a made-up tenant, in under a minute"),
    "sync": ("sync", "Bring the warehouse up to date"),
    "init": ("init", "Set it up: answer questions, try the answers, keep them"),
    "status": ("status", "How complete each table is, and what went wrong"),
    "check": ("check", "Find out what keeps it from working, and how to mend it"),
    "reconcile": ("reconcile", "Prove that warehouse and tenant hold the same, and mend it"),
    "backfill": ("sync", "Read a span of time again"),
    "dead-letters": ("dead_letters", "Records that could not be loaded: look, retry, discard"),
    "columns": ("columns", "Fields that ConnectWise has added, and how they become columns"),
    "up": ("services", "Dagster's UI and daemon: schedules, runs, backfills"),
    "live": ("live", "Stay, and keep the warehouse in step within seconds"),
    "callbacks": ("callbacks", "What ConnectWise tells us of by itself: plan, apply, list, remove"),
    "down": ("services", "Stop the embedded parts that were left running"),
    "simulate": ("services", "A made-up ConnectWise tenant alone, on a port"),
    "report": ("report", "The KPIs as one HTML page"),
    "as-of": ("as_of", "The reports as they were at a moment, as tables"),
    "migrate": ("project", "Create and upgrade the schemas"),
    "catalog": ("catalog", "What can be synced, and where those facts come from"),
    "setup": ("project", "Install or renew .venv, and nothing else"),
    "bench": ("bench", "How fast it is on this machine, beside what is promised"),
    "test": ("project", "Run the tests"),
}
"""Module and one line for each command, so that `--help` need not import them."""


class Commands(Group):
    """Imports a command's module when that command is called."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"cw_pipeline.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:  # noqa: FBT001
    """Prints the version: the installed package's, or that of the checkout it runs from."""
    if not asked:
        return
    import tomllib  # noqa: PLC0415 - rarely asked for
    from importlib.metadata import version  # noqa: PLC0415

    from cw_pipeline.paths import IS_CHECKOUT, ROOT  # noqa: PLC0415

    if IS_CHECKOUT:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        click.echo(project["version"])
    else:
        click.echo(version("cw-pipeline"))
    ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show the log on stderr.")
def cli(*, verbose: bool) -> None:
    """Keep a Postgres warehouse in step with a ConnectWise PSA tenant.

    Settings come from the environment and from .env (see .env.example); `init` asks for them. See
    it work on made-up data with `demo`. Without CW_WAREHOUSE_DSN the warehouse is a PostgreSQL of
    the project's own.
    """
    if verbose:
        import logging  # noqa: PLC0415 - rarely asked for

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
