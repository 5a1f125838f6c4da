"""What the image starts: the command it was given, once the settings of a tenant are there.

Outside a container, PostgreSQL and a made-up tenant stand in for what is not configured. Inside
one that would be data which nobody asked for, gone with the container: so nothing starts.
"""

from __future__ import annotations

import os
import sys

from cw_pipeline.dev.services import prepared_home
from cw_pipeline.errors import ConfigError
from cw_pipeline.settings import Settings

WITHOUT_TENANT = ("dagster-webserver", "dagster-daemon")
"""Programs that serve all tenants, each of which has a code server of its own."""


def refusal(command: list[str]) -> str | None:
    """Why this command must not start in a container, if it must not."""
    if not command:
        return "no command was given"
    if command[0] in WITHOUT_TENANT:
        if any(os.environ.get(f"CW_DAGSTER_PG_URL{end}") for end in ("", "_FILE")):
            return None
        return (
            "CW_DAGSTER_PG_URL not set. Webserver, daemon and code servers are containers of their"
            " own, which meet in Dagster's storage: name a Postgres database for it"
        )
    try:
        settings = Settings.read().require_tenant()
    except ConfigError as error:
        return str(error)
    needed = {"CW_SITE": settings.site, "CW_WAREHOUSE_DSN": settings.warehouse_dsn}
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        return (
            f"{' and '.join(missing)} not set. Give the container the settings of a tenant"
            " (.env.example has them all): docker run --env-file FILE, or a secret"
        )
    return None


if __name__ == "__main__":
    reason = refusal(sys.argv[1:])
    try:
        if reason is None:
            prepared_home()  # so that programs of Dagster's find its storage and its queue
    except ConfigError as error:
        reason = str(error)
    if reason is not None:
        sys.exit(f"cw-pipeline: {reason}")
    os.execvp(sys.argv[1], sys.argv[1:])
