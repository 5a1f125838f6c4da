"""Alerts: a message when something goes wrong, and one when it is resolved.

Not Dagster's own sensors for Slack, Teams and e-mail: each knows its one service and failed runs
alone, and would write for every refresh of a night, four times an hour. This one remembers what it
has told (in the sensor's cursor) and tells it once.

Without postponed annotations: Dagster reads a sensor's as objects.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import dagster as dg
from pydantic import SecretStr

from cw_pipeline.dagster.incidents import Incident, IncidentsByKey, find_incidents
from cw_pipeline.dagster.post import send_notification
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.errors import PipelineError
from cw_pipeline.settings import Settings
from cw_pipeline.wording import count, moment

SENSOR = "alerts"
_EVERY = 30  # seconds
_FORGOTTEN = timedelta(days=30)  # what nobody has heard of for so long is no trouble any more
_NAMED = 5  # of those that suffer from the same, so many by name
_SHOWN = 2000  # characters of a reason
_SHORTEST_SECRET = 6  # shorter ones are words of the text

ReportedSince = dict[str, float]
"""What a notification said is wrong, and since when it is."""


def alert_sensor(tenant: TenantSetup, checks: Collection[dg.AssetCheckKey]) -> dg.SensorDefinition:
    """The sensor that looks for what is wrong. On from the start if CW_ALERT_URLS is set."""
    settings, urls = tenant.settings, tenant.settings.alert_urls
    on = (
        dg.DefaultSensorStatus.RUNNING
        if urls and tenant.running
        else dg.DefaultSensorStatus.STOPPED
    )

    @dg.sensor(
        name=tenant.name(SENSOR),
        description=(
            "Tells the addresses of CW_ALERT_URLS, once each, when a run or an entity fails, a"
            " check is an error or data is older than promised, and when it is resolved."
        ),
        minimum_interval_seconds=_EVERY,
        default_status=on,
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if urls is None:
            return dg.SensorResult(skip_reason="CW_ALERT_URLS is not set: nobody to tell")
        reported: ReportedSince = json.loads(context.cursor or "{}")
        found = find_incidents(context.instance, tenant, checks)
        new = {name: it for name, it in found.items() if it is not None and name not in reported}
        resolved = {
            name: since for name, since in reported.items() if name in found and not found[name]
        }
        if new or resolved:
            text = without_secrets(
                "\n\n".join(_words(new, resolved, settings)), _with_secrets(tenant)
            )
            title = _title(new, resolved, tenant.identity)
            for place in send_notification(urls, title, text, bad=bool(new)):
                context.log.warning("CW_ALERT_URLS: address %s did not take the alert", place)
        return dg.SensorResult(
            cursor=json.dumps(incidents_to_keep(reported, found)),
            skip_reason=_summary(new, resolved, len(reported) - len(resolved)),
        )

    return alerts


def _with_secrets(tenant: TenantSetup) -> Settings:
    """The settings that a run goes by; when they cannot be had, those that Dagster loaded."""
    try:
        return tenant.connect()
    except PipelineError:
        return tenant.settings


def incidents_to_keep(reported: ReportedSince, found: IncidentsByKey) -> ReportedSince:
    """What is wrong now, and since when. What nobody can say now is as it was."""
    oldest = (datetime.now(UTC) - _FORGOTTEN).timestamp()
    kept = {n: since for n, since in reported.items() if n not in found and since > oldest}
    wrong = {n: reported.get(n, it.since.timestamp()) for n, it in found.items() if it is not None}
    return {**kept, **wrong}


def without_secrets(text: str, settings: Settings) -> str:
    """The text, sure to hold no setting that is a secret, whoever wrote it."""
    for secret in _secrets(settings):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text


def _secrets(settings: Settings) -> Iterator[str]:
    for _, value in settings:
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
            with suppress(ValueError):  # it is no URL
                yield urlsplit(value.get_secret_value()).password or ""


def _title(new: Mapping[str, Incident], resolved: Mapping[str, float], tenant: str) -> str:
    return f"cw_pipeline {tenant}: {_summary(new, resolved)}"


def _summary(new: Mapping[str, Incident], resolved: Mapping[str, float], known: int = 0) -> str:
    parts = [count(len(new), "new incident")] if new else []
    parts += [f"{len(resolved)} resolved"] if resolved else []
    parts += [f"{known} still open"] if known else []
    return ", ".join(parts) or "nothing new"


def _words(
    new: Mapping[str, Incident], resolved: Mapping[str, float], settings: Settings
) -> Iterator[str]:
    """A paragraph for each incident. Those with the same reason share one."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, it in new.items():
        alike.setdefault((it.why, it.remedy), []).append(name)
    for (why, remedy), names in alike.items():
        first = min((new[name] for name in names), key=lambda it: it.since)
        lines = [f"WRONG: {_list(names)}, since {moment(first.since)}", why[:_SHOWN]]
        lines += [f"To do: {remedy}"] if remedy else []
        if settings.dagster_url and first.run_id:
            lines.append(f"{settings.dagster_url.rstrip('/')}/runs/{first.run_id}")
        yield "\n".join(lines)
    if resolved:
        since = moment(datetime.fromtimestamp(min(resolved.values()), UTC))
        yield f"RESOLVED: {_list(list(resolved))}, was wrong since {since}"


def _list(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return "; ".join(names[:_NAMED]) + (f"; and {rest} more" if rest > 0 else "")
