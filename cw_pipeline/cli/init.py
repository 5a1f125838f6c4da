"""`init`: asks for what is needed, tries it, and writes the settings file."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from zoneinfo import available_timezones

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cw_pipeline.settings import Settings

INTERRUPTED = 130
OWN = "own"
"""The answer that means the project's own PostgreSQL."""

ASKED = (
    "CW_SITE",
    "CW_COMPANY",
    "CW_PUBLIC_KEY",
    "CW_PRIVATE_KEY",
    "CW_CLIENT_ID",
    "CW_WAREHOUSE_DSN",
    "CW_TIME_ZONE",
)
_UNKNOWN_YET = {"CW_PUBLIC_KEY": "-", "CW_PRIVATE_KEY": "-", "CW_CLIENT_ID": "-"}


@click.command()
@click.option(
    "--from-env",
    is_flag=True,
    help="Ask nothing: take what the environment has, of secrets also CW_..._FILE.",
)
@click.option("--overwrite", is_flag=True, help="Replace other values that the file has.")
def init(*, from_env: bool, overwrite: bool) -> int:
    """Ask for what is needed, try it, and write the settings file.

    Site, company, the API member's keys, the clientId, the warehouse and the time zone. Nothing is
    written before ConnectWise and the warehouse have accepted them. The file is the project's
    `.env` (or what CW_ENV_FILE names), for its owner alone; its other lines stay as they are.

    Exits 0 when it is written, 2 if something is missing or not accepted.
    """
    with _settings_file() as (file, before):
        try:
            values = _values_of_environment() if from_env else _ask_all(file, before)
        except (click.Abort, EOFError):
            if not sys.stdin.isatty():
                raise click.UsageError(
                    "there is no terminal to ask on: --from-env reads settings from the environment"
                ) from None
            click.echo("\nNothing was written.", err=True)
            return INTERRUPTED
    replaced = [name for name, new in values.items() if before.get(name) not in (None, "", new)]
    if replaced and not overwrite and not _may_replace(file, replaced, ask=not from_env):
        click.echo("Nothing was written.", err=True)
        return INTERRUPTED
    _write(file, values)
    if not from_env:
        _warn_of_environment(values)
    _print_next_steps()
    return 0


def machine_time_zone() -> str:
    """The time zone that this machine is set to, as an IANA name; UTC if that cannot be told."""
    zones = available_timezones()
    link = os.path.realpath("/etc/localtime").rpartition("/zoneinfo/")[2]
    file = Path("/etc/timezone")
    configured = file.read_text(errors="replace").strip() if file.is_file() else ""
    candidates = (os.environ.get("TZ", "").removeprefix(":"), link, configured)
    name = next((name for name in candidates if name in zones), "UTC")
    return "UTC" if name == "Etc/UTC" else name


def with_password(address: str, password: str) -> str:
    """A warehouse's address with a password put in, encoded as its form needs it."""
    if "://" not in address:
        escaped = password.replace("\\", "\\\\").replace("'", "\\'")
        return f"{address} password='{escaped}'"
    encoded = quote(password, safe="")
    if match := re.match(r"([^:/]+://[^@:/?]+)@", address):
        return f"{match[1]}:{encoded}{address[match.end() - 1 :]}"
    return f"{address}{'&' if '?' in address else '?'}password={encoded}"


@contextmanager
def _settings_file() -> Iterator[tuple[Path, dict[str, str]]]:
    """The file to write, and what is in it. The one that CW_ENV_FILE names need not be there."""
    from cw_pipeline.environment import NAMED_FILE, path_from, read_settings_file, settings_file  # noqa: PLC0415

    named = os.environ.get(NAMED_FILE, "").strip()
    path = path_from(Path.cwd(), named) if named else settings_file()
    if named and not path.exists():
        os.environ[NAMED_FILE] = os.devnull  # else every look at the settings is refused
    try:
        yield path, read_settings_file(path)
    finally:
        if named:
            os.environ[NAMED_FILE] = named


def _values_of_environment() -> dict[str, str]:
    """What the environment has, once it was tried. Raises ConfigError that says what lacks."""
    from cw_pipeline.errors import ConfigError  # noqa: PLC0415
    from cw_pipeline.settings import Settings, from_environment, missing_tenant_settings  # noqa: PLC0415

    if missing := missing_tenant_settings():
        raise ConfigError(
            f"not set in the environment: {', '.join(missing)}. Nothing was written. Secrets may be"
            " in files, as in CW_PRIVATE_KEY_FILE=/run/secrets/cw_private_key"
        )
    settings = Settings.read()
    if not (_try_network(settings) and _try_keys(settings) and _try_warehouse(settings)):
        raise ConfigError("not all of it was accepted, see above. Nothing was written")
    return {"CW_TIME_ZONE": machine_time_zone(), **from_environment()}


def _ask_all(file: Path, before: Mapping[str, str]) -> dict[str, str]:
    """The answers to all questions, accepted. Raises click.Abort when the user gives up."""
    click.echo(f"The answers go into {file}. Ctrl-C ends this, and nothing is written.\n")
    questions = _Questions({**before, **os.environ})
    questions.ask_until(questions.ask_place, _try_company, _UNKNOWN_YET)
    questions.ask_until(questions.ask_keys, _try_keys)
    questions.ask_until(questions.ask_warehouse, _try_warehouse)
    questions.ask_until(questions.ask_time_zone, _try_time_zone)
    click.echo()
    return questions.answers()


class _Questions:
    """What there is, offered as answers; secrets without being shown."""

    def __init__(self, there: Mapping[str, str]) -> None:
        self._values = {name: there[name].strip() for name in ASKED if there.get(name)}
        self._in_files = {name for name in ASKED if there.get(f"{name}_FILE")}

    def answers(self) -> dict[str, str]:
        """The settings to write: an answer goes before the file that held it until now."""
        emptied = {f"{name}_FILE": "" for name in self._in_files & self._values.keys()}
        return {name: self._values[name] for name in ASKED if name in self._values} | emptied

    def ask_until(
        self,
        ask: Callable[[], None],
        accepted: Callable[[Settings], bool],
        unknown_yet: Mapping[str, str] | None = None,
    ) -> None:
        """Asks until the answers are accepted."""
        from cw_pipeline.errors import ConfigError  # noqa: PLC0415
        from cw_pipeline.settings import Settings  # noqa: PLC0415

        while True:
            before = dict(self._values)
            try:
                ask()
                if accepted(Settings.of({**self._values, **(unknown_yet or {})})):
                    return
            except ConfigError as error:
                click.echo(f"✗ {error}")
                self._values = before  # or Enter would keep what makes no sense

    def ask_place(self) -> None:
        """The site before the company: who has mistyped the one need not type the other."""
        self.ask_until(self._ask_site, _try_site, {**_UNKNOWN_YET, "CW_COMPANY": "-"})
        self._ask("CW_COMPANY", "Company id, as on the login page")

    def _ask_site(self) -> None:
        self._ask("CW_SITE", "ConnectWise site, such as na.myconnectwise.net or psa.example.com")

    def ask_keys(self) -> None:
        click.echo("\nThe keys of an API member (System > Members > API Members > API Keys):")
        self._ask("CW_PUBLIC_KEY", "Public key", hidden=True)
        self._ask("CW_PRIVATE_KEY", "Private key", hidden=True)
        self._ask("CW_CLIENT_ID", "clientId of your integration, a GUID")

    def ask_warehouse(self) -> None:
        from cw_pipeline.address import describe_address, parse_address  # noqa: PLC0415

        click.echo(
            "\nThe warehouse, as postgresql://user@host:5432/database; the password is asked for"
            f" next.\n`{OWN}` takes a PostgreSQL of the project's own, started when it is needed."
        )
        before = self._values.get("CW_WAREHOUSE_DSN")
        self._ask("CW_WAREHOUSE_DSN", "Warehouse")
        address = self._values.get("CW_WAREHOUSE_DSN", "")
        if address == OWN:
            del self._values["CW_WAREHOUSE_DSN"]
        elif address != before:
            parameters = parse_address(address)
            if "user" in parameters and "password" not in parameters:
                text = f"Password for {describe_address(address)} (hidden, Enter for none)"
                password = click.prompt(text, hide_input=True, default="", show_default=False)
                if password:
                    self._values["CW_WAREHOUSE_DSN"] = with_password(address, password)

    def ask_time_zone(self) -> None:
        """Offers the tenant's own, else this machine's."""
        click.echo()
        if "CW_TIME_ZONE" not in self._values:
            self._values["CW_TIME_ZONE"] = _tenant_time_zone(self._values) or machine_time_zone()
        self._ask("CW_TIME_ZONE", "Time zone of the reports")

    def _ask(self, name: str, text: str, *, hidden: bool = False) -> None:
        is_known = name in self._values or name in self._in_files
        is_secret = hidden or name in ("CW_CLIENT_ID", "CW_WAREHOUSE_DSN")
        hints = [
            *(["hidden"] if hidden else []),
            *(["Enter keeps it"] if is_secret and is_known else []),
        ]
        answer = click.prompt(
            f"{text} ({', '.join(hints)})" if hints else text,
            hide_input=hidden,
            default=("" if is_known else None) if is_secret else self._values.get(name),
            show_default=not is_secret,
        )
        if answer.strip():
            self._values[name] = answer.strip()


def _tenant_time_zone(values: Mapping[str, str]) -> str | None:
    """Says what the tenant calls its time zone: the IANA name, if it is known."""
    from cw_pipeline import composition  # noqa: PLC0415
    from cw_pipeline.connectwise import INTERACTIVE  # noqa: PLC0415
    from cw_pipeline.connectwise.time_zone import tenant_time_zone  # noqa: PLC0415
    from cw_pipeline.settings import Settings  # noqa: PLC0415

    with composition.source(Settings.of(values), policy=INTERACTIVE) as source:
        zone = tenant_time_zone(source)
    if zone is not None:
        click.echo(f"The tenant's time zone is {zone.label} ({zone.reason}).")
    return zone.zone if zone else None


def _try_network(settings: Settings) -> bool:
    from cw_pipeline.cli.check import Steps, network  # noqa: PLC0415

    return Steps(silent=False).take("network", lambda: network(settings.site or ""))


def _try_site(settings: Settings) -> bool:
    """Whether a ConnectWise answers there, whatever it says of a company."""
    from cw_pipeline import composition  # noqa: PLC0415
    from cw_pipeline.cli.check import Steps  # noqa: PLC0415
    from cw_pipeline.connectwise import INTERACTIVE  # noqa: PLC0415

    def ask_for_answer() -> str:
        source.company_info()
        return "ConnectWise answers"

    if not _try_network(settings):
        return False
    with composition.source(settings, policy=INTERACTIVE) as source:
        return Steps(silent=False).take("site", ask_for_answer)


def _try_company(settings: Settings) -> bool:
    from cw_pipeline import composition  # noqa: PLC0415
    from cw_pipeline.cli.check import Steps  # noqa: PLC0415
    from cw_pipeline.connectwise import INTERACTIVE  # noqa: PLC0415

    steps = Steps(silent=False)
    with composition.source(settings, policy=INTERACTIVE) as source:
        return steps.take(
            "company", lambda: str(source.find_codebase().get("CompanyName") or "known")
        )


def _try_keys(settings: Settings) -> bool:
    from cw_pipeline import composition  # noqa: PLC0415
    from cw_pipeline.cli.check import Steps, TenantCheck  # noqa: PLC0415
    from cw_pipeline.connectwise import INTERACTIVE  # noqa: PLC0415

    with composition.source(settings, policy=INTERACTIVE) as source:
        return TenantCheck(source, settings).check(Steps(silent=False))


def _try_warehouse(settings: Settings) -> bool:
    from cw_pipeline.cli.check import Steps, server  # noqa: PLC0415
    from cw_pipeline.dev import services  # noqa: PLC0415

    steps = Steps(silent=False)
    if settings.warehouse_dsn is None:
        place = services.postgres(settings).home
        steps.warn(
            "warehouse",
            f"CW_WAREHOUSE_DSN is not set, so it is a PostgreSQL of the project's own in {place},"
            " started when it is needed",
        )
        return True
    return steps.take("warehouse", lambda: server(settings))


def _try_time_zone(settings: Settings) -> bool:
    return bool(settings.time_zone)


def _may_replace(file: Path, names: list[str], *, ask: bool) -> bool:
    """Whether other values may go. Raises ConfigError where nobody can be asked."""
    from cw_pipeline.errors import ConfigError  # noqa: PLC0415

    others = f"{file} has other values for {', '.join(names)}"
    if not ask:
        raise ConfigError(f"{others}: --overwrite replaces them. Nothing was written")
    return click.confirm(f"{others}. Replace them?")


def _write(file: Path, values: Mapping[str, str]) -> None:
    from cw_pipeline.environment import write_settings_file  # noqa: PLC0415

    write_settings_file(file, values)
    click.echo(f"✓ {file} is written, for its owner alone to read.")


def _warn_of_environment(values: Mapping[str, str]) -> None:
    """Names what the environment has, too: it would go before what was just answered."""
    for name, value in values.items():
        if os.environ.get(name, value).strip() not in ("", value):
            click.echo(f"! {name} of the environment is another one, and goes before the file")


def _print_next_steps() -> None:
    from cw_pipeline.paths import cli_command  # noqa: PLC0415

    click.echo(
        f"\nNext:\n  {cli_command('check')}    what the API member may read"
        f"\n  {cli_command('sync')}    the first load"
        f"\n  {cli_command('up')}    Dagster's UI, schedules and backfills"
    )
