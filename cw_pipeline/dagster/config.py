"""What a run may be asked to do, and what that means for the sync."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import dagster as dg
from pydantic import Field

from cw_pipeline.errors import ConfigError
from cw_pipeline.model import Window
from cw_pipeline.sync.entity_sync import SyncRequest

Mode = Literal["auto", "incremental", "window", "full"]


class SyncConfig(dg.Config):
    """How to read. Everything has a default: nothing need be filled in."""

    mode: Mode = Field(
        "auto",
        description=(
            "auto: the months that were selected are read again; without any, what changed since"
            " the watermark. incremental: what changed since the watermark. window: the months, or"
            " `since` and `until`. full: everything, once more, of the lists that are selected; of"
            " all lists: materialize `full_sync`."
        ),
    )
    since: str | None = Field(
        None, description="Start of a window that is finer than months, such as 2025-06-10T08:00Z."
    )
    until: str | None = Field(None, description="Its end, exclusive. Without: up to now.")


def request_from_config(config: SyncConfig, selected: Window | None, now: datetime) -> SyncRequest:
    """What the sync is asked to do; `selected` spans the months that the run was launched for.

    Raises ConfigError for what makes no sense together.
    """
    mode = config.mode
    if mode == "auto":
        asked = selected is not None or config.since is not None or config.until is not None
        mode = "window" if asked else "incremental"
    if mode == "full":
        return SyncRequest(full=True)
    if mode == "incremental":
        return SyncRequest()
    return _window(config, selected, now)


def _window(config: SyncConfig, selected: Window | None, now: datetime) -> SyncRequest:
    since = _instant("since", config.since) or (selected.since if selected else None)
    if since is None:
        raise ConfigError("mode window: select months, or give `since`")
    until = _instant("until", config.until) or (selected.until if selected else None)
    if since >= (until or now):
        raise ConfigError(f"an empty window: since {since} is not before until {until or now}")
    closed = until is not None and until <= now
    return SyncRequest(window=Window(since, until if closed and until else now), closed=closed)


def _instant(name: str, text: str | None) -> datetime | None:
    """The moment a text means; UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {text!r} is no time. Write 2025-06-10T08:00:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def config_from_request(plan: SyncRequest) -> dict[str, str]:
    """The config that asks for a plan."""
    if plan.window is None:
        return {"mode": "full" if plan.full else "incremental"}
    window = plan.window
    config = {"mode": "window"}
    if window.since is not None:
        config["since"] = window.since.isoformat()
    if plan.closed:
        config["until"] = window.until.isoformat()
    return config
