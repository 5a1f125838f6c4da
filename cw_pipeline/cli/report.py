"""`report`: the KPIs as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from cw_pipeline.cli.configuration import read_settings


@click.command()
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="Where to write the page.",
)
def report(output: Path) -> None:
    """Write the KPIs as one HTML page, to be opened in a browser or sent by mail.

    It needs no network and no BI tool. The figures are brought up to date first, from what was
    synced; it asks ConnectWise nothing.
    """
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.dev import services  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.reporting import refresh  # noqa: PLC0415
    from cw_pipeline.reporting.page import render_kpi_page  # noqa: PLC0415

    with services.dev_warehouse(read_settings()) as settings:
        pipeline = Pipeline(settings)
        pipeline.migrate()
        pipeline.publish()
        dsn, tenant = composition.dsn(settings), settings.schema_
        tables = [table for table in refresh(dsn, tenant) if table.rows or table.whole]
        text = render_kpi_page(dsn, tenant)
        try:
            output.write_text(text, "utf-8")
        except OSError as error:
            raise click.ClickException(f"cannot write {output}: {error.strerror}") from error
        click.echo(f"Wrote {output} ({len(text) / 1e6:.1f} MB): open it in a browser.")
        if tables:
            from cw_pipeline.dagster.in_process import record_reports  # noqa: PLC0415 - seconds

            record_reports(settings, tables, [])
