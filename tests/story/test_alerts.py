"""Who is told when something goes wrong: the sensor over real runs, its messages really sent."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from pydantic import SecretStr
from typing_extensions import override

from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.dagster.notifications import SENSOR, without_secrets
from cw_pipeline.dagster.post import NotificationFailed
from cw_pipeline.errors import ConfigError
from cw_pipeline.simulator import Fault
from tests.story import test_dagster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.story.test_dagster import Stage

TICKETS, COMPANIES = test_dagster.TICKETS, test_dagster.COMPANIES
stage = test_dagster.stage


@dataclass
class Receiver:
    """A web server that takes messages, as a chat does."""

    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200

    @property
    def texts(self) -> list[str]:
        return [f"{each['title']}\n{each['message']}" for each in self.messages]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if receiver.status == 200:
                receiver.messages.append(json.loads(body))
            self.send_response(receiver.status)
            self.end_headers()

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    receiver.url = f"json://127.0.0.1:{server.server_port}/alerts"
    yield receiver
    server.shutdown()
    server.server_close()


@dataclass
class Watch:
    """The alerts over a stage; each `tick` goes on from what the last one remembered."""

    stage: Stage
    receiver: Receiver
    cursor: str | None = None

    def tick(self) -> list[str]:
        """What was written to people in this tick."""
        before = len(self.receiver.messages)
        settings = self.stage.story.settings(**self.stage.options)
        made = definitions(settings, self.stage.entities)
        context = dg.build_sensor_context(
            instance=self.stage.instance, cursor=self.cursor, definitions=made
        )
        sensor = made.resolve_sensor_def(SENSOR)
        self.cursor = sensor.evaluate_tick(context).cursor
        return self.receiver.texts[before:]


@pytest.fixture
def watch(stage: Stage) -> Iterator[Watch]:
    with receiving() as receiver:
        stage.options |= {"alert_urls": receiver.url, "dagster_url": "http://dagster.example:3000/"}
        yield Watch(stage, receiver)


def test_an_entity_that_fails_is_told_once_and_when_it_is_well_again(watch: Watch) -> None:
    stage = watch.stage
    stage.story.simulator.role.forbid("/service/tickets")
    failed = stage.run(mode="incremental")
    (text,) = watch.tick()
    assert "cw_pipeline connectwise: 1 new incident" in text  # not the run beside its one entity
    assert "check sync_ok of connectwise.service_tickets" in text
    assert "security role" in text
    assert f"http://dagster.example:3000/runs/{failed.run_id}" in text
    stage.run(mode="incremental")
    assert watch.tick() == []
    stage.story.simulator.role.allow("/service/tickets")
    stage.run(mode="incremental")
    (text,) = watch.tick()
    assert "1 resolved" in text
    assert "check sync_ok of connectwise.service_tickets, was wrong since" in text
    assert watch.tick() == []


def test_what_many_suffer_from_is_one_message(watch: Watch) -> None:
    keys = watch.stage.story.simulator.keys
    watch.stage.story.simulator.keys = keys.__class__("demo", "public", "other", "x")
    watch.stage.run(mode="incremental")
    (text,) = watch.tick()
    assert "4 new incidents" in text
    assert text.count("CW_PRIVATE_KEY") == 1


def test_a_run_that_died_is_told_and_so_is_the_next_that_succeeds(watch: Watch) -> None:
    instance = watch.stage.instance
    job = definitions(watch.stage.story.settings(), watch.stage.entities).resolve_job_def(
        "promises"
    )
    tags = {**job.run_tags, "cw/trigger": "promises"}
    died = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(died, "its process is gone")
    (text,) = watch.tick()
    assert "promises as a whole" in text
    assert "its process is gone" in text
    watch.stage.run("promises", tags={"cw/trigger": "promises"})
    (text,) = watch.tick()
    assert "RESOLVED: promises as a whole" in text


def test_a_run_that_dagster_tries_again_is_not_told_yet(watch: Watch) -> None:
    stage = watch.stage
    stage.story.simulator.faults.add(Fault("503", "/system/reports"))
    failed = stage.run("report_columns")
    assert not failed.success
    stage.instance.add_run_tags(failed.run_id, {"dagster/will_retry": "true"})
    assert not any("step" in text for text in watch.tick())


def test_data_that_is_older_than_promised_is_told_though_nothing_ran(watch: Watch) -> None:
    watch.stage.run(mode="incremental")
    assert watch.tick() == []
    watch.stage.story.rows(
        "update cw_sync.checkpoint set watermark = watermark - interval '1 day'"
        " where entity = %s returning entity",
        TICKETS,
    )
    (text,) = watch.tick()
    assert f"WRONG: freshness of {TICKETS}, since" in text
    assert "promised: 2 h" in text
    assert "cw-pipeline status" in text


def test_a_message_that_nobody_took_is_sent_again(watch: Watch) -> None:
    watch.stage.story.simulator.role.forbid("/company/companies")
    watch.stage.run(mode="incremental")
    watch.receiver.status = 500
    with pytest.raises(NotificationFailed, match=r"1 \(JSON\)"):
        watch.tick()
    watch.receiver.status = 200
    assert len(watch.tick()) == 1


def test_a_warehouse_that_is_away_is_told(watch: Watch) -> None:
    away = watch.stage.story.dsn.replace("/cw_test_", "/gone_", 1)
    watch.stage.options["warehouse_dsn"] = away
    (text,) = watch.tick()
    assert "the warehouse" in text
    assert "CW_WAREHOUSE_DSN" in text


def test_the_alerts_are_on_when_there_is_somebody_to_tell(stage: Stage) -> None:
    for urls, status in (("json://127.0.0.1/x", "RUNNING"), (None, "STOPPED")):
        made = definitions(stage.story.settings(alert_urls=urls), stage.entities)
        assert made.resolve_sensor_def(SENSOR).default_status.value == status


def test_an_address_that_is_none_is_named_by_its_place_alone(watch: Watch) -> None:
    watch.stage.options["alert_urls"] = f"{watch.receiver.url}, slack://topsecret"
    watch.stage.story.simulator.role.forbid("/company/companies")
    watch.stage.run(mode="incremental")
    with pytest.raises(ConfigError, match="address 2") as refused:
        watch.tick()
    assert "topsecret" not in str(refused.value)


def test_no_secret_goes_out(stage: Stage) -> None:
    dsn = SecretStr("postgresql://cw:topsecret@db/warehouse")
    settings = stage.story.settings(private_key="abcdefgh12345", warehouse_dsn=dsn)
    text = "no connection with topsecret to postgresql://cw:topsecret@db/warehouse, abcdefgh12345"
    told = without_secrets(text, settings)
    assert "topsecret" not in told
    assert "abcdefgh12345" not in told
