"""`setup`, `migrate` and `test`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cw_pipeline.cli.configuration import read_settings
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from cw_pipeline.reporting import Sight

# By file: what the tests of a file stand on is made once. More than four would only wait.
_ON_ALL_CORES = (
    "--numprocesses=auto",
    "--maxprocesses=4",
    "--dist=loadfile",
    "--no-loadscope-reorder",  # the slow ones are first, and must not be last
)


@click.command()
@click.option("--reader", is_flag=True, help="Let the role reporting_reader read the reports.")
@click.option("--client-role", metavar="NAME", help="Let this role see a client's rows, see below.")
@click.option("--company", "companies", multiple=True, type=int, help="Id of a client it may see.")
@click.option("--location", "locations", multiple=True, type=int, help="... of our location.")
@click.option("--department", "departments", multiple=True, type=int, help="... of our department.")
@click.option("--by-setting", is_flag=True, help="It sees what cw.company and cw.location name.")
def migrate(
    *,
    reader: bool,
    client_role: str | None,
    companies: tuple[int, ...],
    locations: tuple[int, ...],
    departments: tuple[int, ...],
    by_setting: bool,
) -> None:
    """Create and upgrade the schemas: state, tables, and the reports' views.

    Every sync brings state and tables up to date too. Nothing that was synced is ever dropped; a
    view whose file in sql/reporting is gone is. --reader needs a role with CREATEROLE, or that an
    administrator has run `create role reporting_reader nologin`.

    --client-role NAME --company 42 makes the role, if need be, and lets it read client_reporting,
    where it sees rows of client 42 only; sql/bi/README.md says how BI tools use it. It needs
    CREATEROLE, or that an administrator has made the role.
    """
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.dev import services  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.reporting import (  # noqa: PLC0415
        Sight,
        grant_client,
        grant_reader,
        reporting_schema,
    )

    sight = Sight(companies, locations, departments, by_setting)
    _check_client(client_role, sight)
    with services.dev_warehouse(read_settings()) as settings:
        pipeline = Pipeline(settings)
        pipeline.migrate()
        views = pipeline.publish()
        dsn, tenant = composition.dsn(settings), settings.schema_
        role = grant_reader(dsn, tenant) if reader else None
        clients = grant_client(dsn, tenant, client_role, sight) if client_role else []
        tables = count(len(composition.entities(settings)), "entity", "entities")
    schema = reporting_schema(settings.schema_)
    click.echo(f"Schemas cw_sync and {settings.schema_} are up to date: tables of {tables}.")
    click.echo(f"Schema {schema} is up to date: {count(len(views), 'view')} created or replaced.")
    if role:
        click.echo(f"Role {role} may read {schema}: grant it to the users of your BI tools.")
    if client_role:
        client_schema = f"{schema.removesuffix('reporting')}client_reporting"
        click.echo(
            f"Role {client_role} may read {client_schema}, and sees there: {'; '.join(clients)}."
        )


def _check_client(role: str | None, sight: Sight) -> None:
    """Raises click.UsageError for options that say nothing together."""
    places = (*sight.companies, *sight.locations, *sight.departments)
    if role is None:
        if places or sight.by_setting:
            raise click.UsageError("--client-role NAME says which role may see that")
    elif not places and not sight.by_setting:
        raise click.UsageError("say what the role may see: --company ID, for example")
    elif places and sight.by_setting:
        raise click.UsageError("--by-setting: the session says which client, no other option does")


@click.command()
@click.option(
    "--extra",
    "extras",
    multiple=True,
    type=click.Choice(["dev", "ui", "celery", "k8s"]),
    help="Install what this extra needs, too; it stays installed.",
)
@click.option(
    "--install-packages",
    is_flag=True,
    help="As root, let apt-get install what Python needs to make .venv.",
)
def setup(*, extras: tuple[str, ...], install_packages: bool) -> None:  # noqa: ARG001 - see below
    """Install or renew .venv, compile what reads pages, write dagster.yaml.

    Every command does that by itself when it has to; this one is for servers and images. The
    packages are those of requirements.lock, each checked by its hash.
    """
    from cw_pipeline.dev.services import prepared_home  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.errors import ConfigError  # noqa: PLC0415
    from cw_pipeline.transform.compiled_build import main as build_reader  # noqa: PLC0415

    # `_bootstrap` has read the same options, and has done it by the time that click is here; but
    # where nothing was lacking, it has not looked for the compiled reader.
    build_reader()
    try:
        prepared_home()  # for programs of Dagster's that are started by themselves
    except ConfigError as error:
        click.echo(f"dagster.yaml is as it was: {error}", err=True)
    click.echo(f"Set up: {Path(sys.executable).parent / 'cw-pipeline'} is the command.")


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(arguments: tuple[str, ...]) -> int:
    """Run the tests; all of them on several cores. Arguments go to pytest."""
    from cw_pipeline.paths import IS_CHECKOUT, ROOT  # noqa: PLC0415

    if not IS_CHECKOUT:
        raise click.UsageError(
            "the tests are only in a checkout of the project, and this is an installed package"
        )
    quiet = "-v" if os.environ.get("CI") else "-q"
    command = [sys.executable, "-m", "pytest", quiet, *(arguments or _ON_ALL_CORES)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode
