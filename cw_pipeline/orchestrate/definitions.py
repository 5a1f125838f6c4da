"""The old name of the code location: workspaces and code servers that users set up name it."""

import warnings

from cw_pipeline.dagster.definitions import defs  # noqa: F401 - what Dagster looks for here

_WHAT_TO_DO = "cw_pipeline.orchestrate.definitions: write cw_pipeline.dagster.definitions instead"
warnings.warn(_WHAT_TO_DO, DeprecationWarning, stacklevel=2)
