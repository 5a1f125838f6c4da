"""How things are shown: tables and lines for people, JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import override

from cw_pipeline.suggest import closest, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

WIDE = 200
"""Columns where there is no terminal: a log line is better long than broken in two."""

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON, for programs.")


class Group(click.Group):
    """A group of commands that says which one a misspelled one was probably meant to be."""

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word, known = args[0], self.list_commands(ctx)
        if word not in known and not word.startswith("-"):
            hint = did_you_mean(closest(word, known)) or f"it is one of {', '.join(known)}"
            ctx.fail(f"There is no command {word!r}; {hint}")
        return super().resolve_command(ctx, args)


def usage_error(error: click.ClickException) -> None:
    """Says on stderr what is wrong with a command line, and what was probably meant."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        names = [name for each in error.ctx.command.params for name in each.opts]
        known = [name for name in names if name.startswith("--")]
        hint = did_you_mean(closest(error.option_name, known)) or "`--help` lists them"
        error = click.UsageError(f"There is no option {error.option_name}; {hint}", error.ctx)
    error.show()


def stdout() -> Console:
    """Where results go."""
    return _console(stderr=False)


def stderr() -> Console:
    """Where progress goes."""
    return _console(stderr=True)


def lively() -> bool:
    """Whether somebody watches: a terminal, and neither CI nor NO_COLOR says otherwise."""
    return sys.stderr.isatty() and not os.environ.get("CI") and "NO_COLOR" not in os.environ


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows in columns. A head that ends in a space stands over text, others over figures.

    Columns without a value are left out. In a narrow terminal the last columns of text are folded,
    so that the first, which says what a row is about, stays whole.
    """
    from rich.table import Table  # noqa: PLC0415 - takes a tenth of a second

    rows = list(rows)
    filled = [at for at, _ in enumerate(heads) if not rows or any(row[at] for row in rows)]
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for at in filled:
        is_text = heads[at].endswith(" ")
        shown.add_column(
            heads[at].strip(),
            justify="left" if is_text else "right",
            no_wrap=at == 0 or not is_text,
        )
    for row in rows:
        shown.add_row(*[row[at] for at in filled])
    stdout().print(shown)


def print_json(value: object) -> None:
    """Prints a value as JSON: dataclasses as objects, times as ISO text, spans in seconds."""
    click.echo(json.dumps(value, default=_plain, indent=2))


def _console(*, stderr: bool) -> Console:
    from rich.console import Console  # noqa: PLC0415 - takes a tenth of a second

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDE
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=not stream.isatty())


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever json could not encode
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.value if isinstance(value, Enum) else str(value)
