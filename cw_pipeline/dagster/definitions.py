"""The code location that Dagster's UI and daemon load. Reads settings, connects to nothing."""

from __future__ import annotations

import logging

from cw_pipeline import composition
from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.process import tune_process
from cw_pipeline.settings import Settings

tune_process()
# Checks tell what fails; Python's last resort would print it into the terminal of `up` as well.
logging.getLogger("cw_pipeline.sync").addHandler(logging.NullHandler())
_settings = Settings.read()
defs = definitions(_settings, composition.entities(_settings))
