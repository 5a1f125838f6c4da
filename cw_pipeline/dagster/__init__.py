"""Running it with Dagster: an asset for each entity, schedules, backfills, checks.

The only room that knows Dagster. `definitions` is the project's own code location, `library` and
`component` put a tenant into a Dagster project of yours, `in_process` lets the command line run a
sync that shows up like a scheduled one.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

from dagster_shared.libraries import DagsterLibraryRegistry

if TYPE_CHECKING:  # type checkers do not follow `__getattr__`
    from cw_pipeline.dagster.component import ConnectWiseComponent
    from cw_pipeline.dagster.library import ConnectWiseTenant, build_connectwise_definitions
    from cw_pipeline.dagster.tenant import ConnectWiseTableProps, ConnectWiseTranslator

try:
    _version = metadata.version("cw-pipeline")
except metadata.PackageNotFoundError:  # a checkout
    _version = "0+checkout"
DagsterLibraryRegistry.register("cw-pipeline", _version, is_dagster_package=False)

_HOME = {
    "ConnectWiseComponent": "component",
    "ConnectWiseTableProps": "tenant",
    "ConnectWiseTenant": "library",
    "ConnectWiseTranslator": "tenant",
    "build_connectwise_definitions": "library",
}
"""Loaded when they are asked for: Dagster's daemon loads this package for its queue alone."""

__all__ = [
    "ConnectWiseComponent",
    "ConnectWiseTableProps",
    "ConnectWiseTenant",
    "ConnectWiseTranslator",
    "build_connectwise_definitions",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
