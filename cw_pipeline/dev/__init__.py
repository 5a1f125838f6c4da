"""A PostgreSQL server of the project's own, for when no warehouse is configured.

One server for all processes that name the same folder: the first one starts it, the last one out
stops it. It listens on a Unix socket only, asks for a password, and needs no root and no port.
"""

from __future__ import annotations

from cw_pipeline.dev.postgres import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
