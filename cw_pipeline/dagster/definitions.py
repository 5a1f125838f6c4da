"""The code location that Dagster's UI and daemon load. Reads settings, connects to nothing."""

from __future__ import annotations

from cw_pipeline import pipeline
from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.settings import Settings

_settings = Settings.read()
defs = definitions(_settings, pipeline.entities(_settings))
