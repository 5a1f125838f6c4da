"""The command line: `cw-pipeline …`, or `python3 -m cw_pipeline …`.

Each command imports what it needs when it runs: `--help` must not wait for Dagster and pandas.
"""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from typing import TYPE_CHECKING, NoReturn

import click
from typing_extensions import override

from cw_pipeline.cli import end_soon, output
from cw_pipeline.cli.app import cli
from cw_pipeline.errors import ConfigError, PipelineError, SourceDenied, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all went well; something failed; usage or settings; stopped by the user."""


def run_process() -> int:
    """Runs the command that this process was started for, which ends soon after a signal."""
    end_soon.watch()
    # httpx imports its own command with all of rich and pygments, 4 MB, where it can.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Returns its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)  # a terminal was closed; `nohup` ignores it
    _show_warnings()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # they speak to developers, and would break into the bars
    try:
        code = cli.main(arguments, prog_name="cw-pipeline", standalone_mode=False)
    except click.ClickException as error:
        output.usage_error(error)
        return UNUSABLE
    except (click.Abort, KeyboardInterrupt):
        return _fail(
            "interrupted: what was read until now is kept. The same command goes on from there",
            INTERRUPTED,
        )
    except (ConfigError, WarehouseError, SourceDenied) as error:
        return _fail(str(error), UNUSABLE)
    except PipelineError as error:
        return _fail(str(error), FAILED)
    except BrokenPipeError:
        return FAILED  # whoever read our output went away, as `| head` does
    return code if isinstance(code, int) else DONE


class _Stderr(logging.Handler):
    @override
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"cw-pipeline: {record.getMessage()}", err=True)


_STDERR = _Stderr(logging.WARNING)


def _show_warnings() -> None:
    """Those about the user's warehouse, while the command goes on."""
    # Errors are told by the commands; without this, Python's last resort says them again.
    for name in ("cw_pipeline", "psycopg.pool"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    about_locks = ("warehouse.ddl", "warehouse.lock_waits", "warehouse.private_columns")
    for name in (
        *about_locks,
        "connectwise.retry",
        "connectwise.response",
        "reporting",
        "pipeline",
    ):
        logging.getLogger(f"cw_pipeline.{name}").addHandler(_STDERR)


def _fail(message: str, code: int) -> int:
    click.echo(f"cw-pipeline: {message}", err=True)
    return code


def _interrupt(*_: object) -> NoReturn:
    """A plain kill leaves as Ctrl-C does: embedded parts are stopped, what was read is kept."""
    raise KeyboardInterrupt
