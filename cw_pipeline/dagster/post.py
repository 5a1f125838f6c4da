"""Sending a message to people: Slack, Teams, e-mail or whatever CW_ALERT_URLS names."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cw_pipeline.errors import ConfigError, PipelineError

if TYPE_CHECKING:
    from apprise import NotifyBase
    from pydantic import SecretStr

_UNKNOWN = (
    "CW_ALERT_URLS: address {} is not a notification URL that this program knows. Write it for"
    " example as slack://TOKEN_A/TOKEN_B/TOKEN_C/#channel, workflows://host/workflow/signature or"
    " mailtos://user:password@host?to=someone@example.com, and separate several with commas"
)


class NotificationFailed(PipelineError):
    """No address of CW_ALERT_URLS took the message."""


def addresses(urls: SecretStr) -> list[NotifyBase]:
    """Where messages go. Raises ConfigError, which does not tell the address: it is a secret."""
    # Imported here: it takes half a second, and most who load the code location send nothing.
    from apprise import Apprise  # noqa: PLC0415
    from apprise.utils import parse  # noqa: PLC0415

    logging.getLogger("apprise").disabled = True  # it would log the whole address
    found = []
    text = urls.get_secret_value()
    for number, url in enumerate(parse.parse_urls(text), 1):  # type: ignore[no-untyped-call]
        made = Apprise.instantiate(url)
        if not made:
            raise ConfigError(_UNKNOWN.format(number))
        found.append(made)
    if not found:
        raise ConfigError(_UNKNOWN.format(1))
    return found


def send_notification(urls: SecretStr, title: str, text: str, *, bad: bool) -> list[str]:
    """Sends a message to every address, and names the services that did not take it.

    Raises NotificationFailed if none did: it must be sent again. What one has is
    not sent twice for another.
    """
    from apprise import NotifyFormat, NotifyType  # noqa: PLC0415

    kind = NotifyType.FAILURE if bad else NotifyType.SUCCESS
    places = addresses(urls)
    refused = [
        f"{number} ({place.service_name})"
        for number, place in enumerate(places, 1)
        if not place.notify(body=text, title=title, notify_type=kind, body_format=NotifyFormat.TEXT)
    ]
    if len(refused) == len(places):
        raise NotificationFailed(f"CW_ALERT_URLS: no address took the alert: {', '.join(refused)}")
    return refused
