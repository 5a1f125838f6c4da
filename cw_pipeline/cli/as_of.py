"""`as-of`: the reports as they were at a moment."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import click

from cw_pipeline.cli.configuration import read_settings
from cw_pipeline.wording import count

_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@click.command("as-of")
@click.argument("moment")
def as_of(moment: str) -> None:
    """Fill the schema reporting_asof with the reports as they were at MOMENT.

    MOMENT is a day, which means its end in the time zone of the reports, or a time such as
    2026-10-31T18:00 (in that zone too, unless it says another). All views and tables of the
    reporting schema are there, as tables; `select * from reporting_asof.as_of` says which moment
    they show. In SQL, `select reporting.as_of('2026-10-31 18:00')` does the same.

    What it shows is what was known of records that have versions: edits, deletes and late records
    that came after MOMENT are not in it.
    """
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.dev import services  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.reporting import as_of_schema, fill_as_of  # noqa: PLC0415

    with services.dev_warehouse(read_settings()) as settings:
        at = instant(moment, settings.time_zone)
        Pipeline(settings).publish()
        made = fill_as_of(composition.dsn(settings), settings.schema_, at)
        schema = as_of_schema(settings.schema_)
    click.echo(f"Schema {schema} shows {at.isoformat()}: {count(made, 'table')}.")


def instant(text: str, time_zone: str) -> datetime:
    """The moment that somebody typed. Raises click.BadParameter."""
    zone = ZoneInfo(time_zone)
    try:
        if _DAY.fullmatch(text):
            following = datetime.fromisoformat(text).date() + timedelta(days=1)
            return datetime.combine(following, time(), zone) - timedelta(microseconds=1)
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is neither a day, such as 2026-10-31, nor a time, such as 2026-10-31T18:00",
            param_hint="MOMENT",
        ) from error
    return at.replace(tzinfo=zone) if at.tzinfo is None else at
