"""A tenant, or several, in a Dagster project of somebody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml
from dagster_shared.libraries import DagsterLibraryRegistry
from pydantic import SecretStr
from typing_extensions import override

import cw_pipeline.dagster
from cw_pipeline.dagster import (
    ConnectWiseComponent,
    ConnectWiseTableProps,
    ConnectWiseTenant,
    ConnectWiseTranslator,
    build_connectwise_definitions,
)
from cw_pipeline.dagster.incidents import find_incidents
from cw_pipeline.dagster.run_coordinator import TenantQueue
from cw_pipeline.dagster.schedules import own_minute
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.errors import ConfigError
from cw_pipeline.settings import Settings
from tests.host import definitions as host

if TYPE_CHECKING:
    from collections.abc import Iterable

HOST = Path(__file__).resolve().parents[1] / "host"
SECRETS = ("public_key", "private_key", "client_id", "warehouse_dsn")


def tenant(schema: str, **values: Any) -> ConnectWiseTenant:
    usual = {"site": "na.myconnectwise.net", "company": schema, "entities": "service/tickets"}
    secrets = {name: dg.EnvVar(f"OURS_{name.upper()}") for name in SECRETS}
    return ConnectWiseTenant(schema_name=schema, **(usual | secrets | values))


def keys(defs: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}


class TestInAHostProject:
    def test_the_hosts_own_executor_and_job_stay_and_its_assets_follow_ours(self) -> None:
        dg.Definitions.validate_loadable(host.defs)
        # Dagster refuses a module that holds two.
        assert [each for each in vars(host).values() if isinstance(each, dg.Definitions)] == [
            host.defs
        ]
        repository = host.defs.get_repository_def()
        jobs = {job.name: job for job in repository.get_all_jobs()}
        assert {"refresh", "acme_refresh", "acme_reconcile", "acme_maintenance"} <= jobs.keys()
        assert {job.executor_def for job in jobs.values()} == {dg.multiprocess_executor}
        graph = host.defs.resolve_asset_graph()
        parents = graph.get(dg.AssetKey("tickets_by_day")).parent_keys
        assert {each.to_user_string() for each in parents} <= keys(host.defs)
        assert len(parents) == 2

    def test_no_secret_and_no_value_of_the_environment_is_needed_to_load_it(self) -> None:
        assert not [name for name in os.environ if name.startswith("HOST_")]
        assert "HOST_PRIVATE_KEY" not in str(
            host.defs.resolve_job_def("acme_refresh").get_job_snapshot()
        )

    def test_three_tenants_share_a_code_location(self) -> None:
        names = ("acme", "globex", "initech")
        defs = dg.Definitions.merge(*(build_connectwise_definitions(tenant(n)) for n in names))
        dg.Definitions.validate_loadable(defs)
        repository = defs.get_repository_def()
        found = [each.name for each in (*repository.schedule_defs, *repository.sensor_defs)]
        found += [job.name for job in repository.get_all_jobs() if job.name != "__ASSET_JOB"]
        found += [op.name for job in repository.get_all_jobs() for op in job.nodes]
        found += repository.get_top_level_resources().keys() - {"io_manager"}
        assert {name for name in found if not name.startswith(names)} == set()
        assert all(any(name.startswith(own) for name in found) for own in names)
        graph = defs.resolve_asset_graph()
        assert {node.key.path[0] for node in graph.asset_nodes} == {
            *names, *(f"{name}_reporting" for name in names)
        }  # fmt: skip
        assert {node.pools.pop() for node in graph.asset_nodes if node.pools} == {
            f"{name}_api" for name in names
        }

    def test_no_job_of_a_tenant_is_compared_with_the_assets_of_all_others(self) -> None:
        """Dagster does so with jobs that select nothing yet: minutes, with 50 tenants."""
        merged = dg.Definitions.merge(
            *(build_connectwise_definitions(tenant(name)) for name in ("acme", "globex"))
        )
        found = {job.name: job for job in merged.jobs or () if isinstance(job, dg.JobDefinition)}
        assert len(found) == len([*(merged.jobs or ())]) > 10
        assert all(merged.resolve_job_def(name) is job for name, job in found.items())
        selected = found["acme_refresh"].asset_layer.selected_asset_keys
        assert dg.AssetKey(["acme", "service_tickets"]) in selected
        assert {key.path[0] for key in selected} == {"acme", "acme_reporting"}

    def test_fifty_tenants_start_at_minutes_of_their_own_and_one_always_at_the_same(self) -> None:
        names = [f"tenant_{number}" for number in range(50)]
        often = [own_minute("H/15 * * * *", name) for name in names]
        assert often == [own_minute("H/15 * * * *", name) for name in names]
        assert set(often) <= {f"{minute}-59/15 * * * *" for minute in range(15)}
        assert max(Counter(often).values()) <= 10  # of 50; evenly it were 4
        assert len({own_minute("H 2 * * *", name) for name in names}) > 25
        assert own_minute("*/5 8-18 * * MON-FRI", "acme") == "*/5 8-18 * * MON-FRI"
        schedules = {
            each.name: str(each.cron_schedule)
            for name in ("acme", "globex")
            for each in build_connectwise_definitions(tenant(name))
            .get_repository_def()
            .schedule_defs
        }
        plain = {name.partition("_")[2] for name in schedules}
        assert len(plain) >= 7
        assert not [n for n in plain if schedules[f"acme_{n}"] == schedules[f"globex_{n}"]]

    def test_names_may_begin_otherwise_and_schedules_may_be_off(self) -> None:
        defs = build_connectwise_definitions(tenant("acme"), prefix="psa", running=False)
        repository = defs.get_repository_def()
        schedules = repository.schedule_defs
        assert {each.name.startswith("psa_") for each in schedules} == {True}
        steps = {op.name for job in repository.get_all_jobs() for op in job.nodes}
        assert {name for name in steps if not name.startswith("psa_")} == set()
        assert {each.default_status.value for each in schedules} == {"STOPPED"}


class Ours(ConnectWiseTranslator):
    @override
    def get_asset_spec(self, props: ConnectWiseTableProps) -> dg.AssetSpec:
        spec = super().get_asset_spec(props)
        kind = "list" if props.entity else "other"
        return spec.replace_attributes(
            key=spec.key.with_prefix("raw"),
            group_name="psa",
            owners=["team:data"],
            kinds={"snowflake"},
            tags={"kind": kind},
            automation_condition=dg.AutomationCondition.eager(),
        ).merge_attributes(metadata={"of": props.table})


class TestATranslator:
    def test_says_what_an_asset_is_and_dependencies_and_checks_follow_its_key(self) -> None:
        defs = build_connectwise_definitions(tenant("acme"), translator=Ours())
        dg.Definitions.validate_loadable(defs)
        graph = defs.resolve_asset_graph()
        assert {node.key.path[0] for node in graph.asset_nodes} == {"raw"}
        node = graph.get(dg.AssetKey(["raw", "acme", "service_tickets"]))
        assert (node.group_name, node.owners, node.kinds) == ("psa", ["team:data"], {"snowflake"})
        assert node.tags["kind"] == "list"
        assert node.automation_condition is not None
        assert node.metadata["of"] == "service_tickets"
        assert node.metadata["dagster/table_name"] == "acme.service_tickets"
        fact = graph.get(dg.AssetKey(["raw", "acme_reporting", "fct_ticket_all"]))
        assert node.key in fact.parent_keys
        assert {key.asset_key.path[0] for key in graph.asset_check_keys} == {"raw"}


@dg.asset(key=["acme", "forecast"])
def forecast() -> None: ...


@dg.asset(key=["reporting", "board_pack"])
def board_pack() -> None: ...


class TestRunsOfTheHost:
    """Of assets whose keys begin like ours, while a translator gives ours other ones."""

    def test_stay_when_old_runs_of_the_tenants_are_deleted(self) -> None:
        names = ("acme", "connectwise")  # whose reports are in the schema reporting
        defs = dg.Definitions.merge(
            dg.Definitions([forecast, board_pack]),
            *(build_connectwise_definitions(tenant(n), translator=Ours()) for n in names),
        )
        ours = [dg.AssetKey(["raw", name, "service_tickets"]) for name in names]
        picked: list[set[dg.AssetKey]] = [{forecast.key}, {board_pack.key}, *({k} for k in ours)]
        picked.append({forecast.key, *ours})
        with dg.DagsterInstance.ephemeral() as instance:
            for keys in picked:
                made = instance.create_run_for_job(
                    defs.resolve_implicit_global_asset_job_def(), asset_selection=keys
                )
                instance.report_run_failed(made)
            storage: Any = instance.run_storage
            with storage.connect() as connection:
                connection.exec_driver_sql(
                    "update runs set create_timestamp = datetime('now', '-100 days')"
                )
            for name in names:
                job = defs.resolve_job_def(f"{name}_maintenance")
                assert job.execute_in_process(instance=instance).success
            left = [run.asset_selection for run in instance.get_runs() if run.asset_selection]
        assert sorted(map(sorted, left)) == sorted(map(sorted, (*picked[:2], picked[-1])))

    def test_alert_nobody_about_the_tenant_and_the_tenants_own_do(self) -> None:
        defs = dg.Definitions.merge(
            dg.Definitions([forecast]),
            build_connectwise_definitions(tenant("acme"), translator=Ours()),
        )
        job = defs.resolve_implicit_global_asset_job_def()
        setup = TenantSetup(Settings.in_code({"schema": "acme"}), [], Settings, "acme", Ours())
        setup.spec("acme", "service_tickets", group="service")
        with dg.DagsterInstance.ephemeral() as instance:
            for key in (forecast.key, dg.AssetKey(["raw", "acme", "service_tickets"])):
                run = instance.create_run_for_job(job, asset_selection={key})
                instance.report_run_failed(run, f"about {key.path[-1]}")
            found = find_incidents(instance, setup, [])
        told = [each.why for name, each in found.items() if each and name.startswith("run ")]
        assert told == ["about service_tickets"]

    def test_wait_under_no_tenants_name_in_the_queue_that_marks_the_tenants_own(self) -> None:
        names = ("acme", "globex")
        defs = dg.Definitions.merge(
            dg.Definitions([forecast]),
            *(build_connectwise_definitions(tenant(n), translator=Ours()) for n in names),
        )
        acme, globex = (dg.AssetKey(["raw", name, "service_tickets"]) for name in names)
        picked = [({forecast.key}, None), ({acme}, "acme"), ({globex}, "globex")]
        picked += [({acme, globex}, None), ({acme, forecast.key}, "acme")]
        workspace: Any = SimpleNamespace(asset_graph=defs.resolve_asset_graph())
        with dg.DagsterInstance.ephemeral() as instance:
            queue = TenantQueue()
            queue.register_instance(instance)
            for keys, name in picked:
                made = instance.create_run_for_job(
                    defs.resolve_implicit_global_asset_job_def(),
                    asset_selection=keys,
                    status=dg.DagsterRunStatus.STARTED,  # else the queue wants to know its origin
                    tags={"dagster/backfill": "years"},
                )
                queued = queue.submit_run(dg.SubmitRunContext(made, workspace))
                marks = ("cw/tenant", "cw/backfill", "dagster-celery/queue")
                assert {queued.tags.get(mark) for mark in marks} == {name}


def test_two_tenants_of_the_same_schema_in_two_warehouses_are_kept_apart() -> None:
    class Second(ConnectWiseTranslator):
        @override
        def get_asset_spec(self, props: ConnectWiseTableProps) -> dg.AssetSpec:
            return props.spec.replace_attributes(key=props.spec.key.with_prefix("second"), tags={})

    defs = dg.Definitions.merge(
        build_connectwise_definitions(tenant("acme"), prefix="first"),
        build_connectwise_definitions(tenant("acme"), prefix="second", translator=Second()),
    )
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    for name, path in (("first", ["acme"]), ("second", ["second", "acme"])):
        node = graph.get(dg.AssetKey([*path, "service_tickets"]))
        assert node.pools == {f"{name}_api"}
        assert node.tags["cw/tenant"] == name
        assert defs.resolve_job_def(f"{name}_refresh").tags["cw/tenant"] == name
    crons = {each.name: each.cron_schedule for each in defs.get_repository_def().schedule_defs}
    assert crons["first_refresh"] != crons["second_refresh"]


class TestSettingsInCode:
    def test_are_those_that_were_given_and_the_environments_do_not_count(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CW_SCHEMA", "theirs")
        monkeypatch.setenv("CW_REFRESH_CRON", "1 1 1 1 1")
        monkeypatch.setenv("CW_AUTH", "nonsense")
        for name in SECRETS:
            monkeypatch.setenv(f"OURS_{name.upper()}", "postgresql://nobody@nowhere/none")
        found = tenant("acme", options={"keep_runs_days": 7}).settings()
        assert (found.schema_, found.refresh_cron, found.keep_runs_days) == (
            "acme", "H/15 * * * *", 7
        )  # fmt: skip
        assert found.auth == "keys"
        assert isinstance(found, Settings)

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ({"options": {"refresh_corn": "* * * * *"}}, "did you mean 'refresh_cron'"),
            ({"options": {"page_size": 5000}}, "CW_PAGE_SIZE: a whole number from 1 to 1000"),
            ({"options": {"site": "elsewhere"}}, "site: give it by its own name"),
            ({"entities": "service/tickkets"}, "tickkets"),
        ],
    )
    def test_that_make_no_sense_are_refused_when_the_code_is_loaded(
        self, values: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(ConfigError, match=says):
            build_connectwise_definitions(tenant("acme", **values))

    @pytest.mark.parametrize("value", [None, ""])
    def test_a_variable_that_is_not_set_is_named(
        self, value: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if value is not None:
            for name in SECRETS:
                monkeypatch.setenv(f"OURS_{name.upper()}", value)
        with pytest.raises(ConfigError, match=r"y: the environment variable OURS_P\w+ is not set"):
            tenant("acme").settings()

    def test_options_may_be_variables_also_whole_numbers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = {"keep_runs_days": dg.EnvVar.int("OURS_DAYS"), "refresh_cron": dg.EnvVar("CRON")}
        kept = tenant("acme", options=options)
        assert kept.load_settings().keep_runs_days == 30  # it may not be set where code is loaded
        monkeypatch.setenv("OURS_DAYS", "9")
        monkeypatch.setenv("CRON", "5 * * * *")
        found = kept.load_settings()
        assert (found.keep_runs_days, found.refresh_cron) == (9, "5 * * * *")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of components that has ours, as `dg init` lays one out."""
    shutil.copytree(HOST / "defs", tmp_path / "theirs" / "defs")
    (tmp_path / "theirs" / "__init__.py").touch()
    (tmp_path / "theirs" / "definitions.py").write_text(
        "import dagster as dg\nfrom pathlib import Path\n"
        "@dg.definitions\ndef defs():\n"
        "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "theirs"\nversion = "1"\n'
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "theirs"\n'
        'registry_modules = ["cw_pipeline.dagster"]\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in SECRETS:
        monkeypatch.setenv(f"HOST_{name.upper()}", "postgresql://me:topsecret@nowhere/none")
    return tmp_path


class TestAComponent:
    def test_is_a_tenant_in_yaml_with_secrets_of_the_environment(self, project: Path) -> None:
        defs = dg.load_from_defs_folder(path_within_project=project / "theirs" / "defs")
        dg.Definitions.validate_loadable(defs)
        repository = defs.get_repository_def()
        schedules = {each.name: each for each in repository.schedule_defs}
        assert schedules["globex_refresh"].cron_schedule == "*/5 * * * *"
        assert schedules["globex_refresh"].default_status is dg.DefaultScheduleStatus.STOPPED
        node = repository.asset_graph.get(dg.AssetKey(["globex", "service_tickets"]))
        assert (node.owners, node.group_name) == (["team:data"], "psa")
        shown = repr([job.get_job_snapshot() for job in repository.get_all_jobs()])
        assert "topsecret" not in shown  # the component itself is in there

    def test_needs_no_secret_to_be_loaded_and_names_the_variable_that_a_run_misses(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("HOST_PRIVATE_KEY")
        folder = project / "theirs" / "defs"
        dg.Definitions.validate_loadable(dg.load_from_defs_folder(path_within_project=folder))
        attributes = yaml.safe_load((folder / "connectwise" / "defs.yaml").read_text())[
            "attributes"
        ]
        made = ConnectWiseComponent.resolve_from_dict(attributes).tenant()
        with pytest.raises(ConfigError, match=r"private_key: .* HOST_PRIVATE_KEY is not set"):
            made.settings()
        monkeypatch.setenv("HOST_PRIVATE_KEY", "one-that-came-later")
        assert made.settings().private_key == SecretStr("one-that-came-later")

    def test_says_which_attribute_is_of_a_variable_that_is_not_set(self) -> None:
        secrets = {name: f"{{{{ env.OURS_{name.upper()} }}}}" for name in SECRETS}
        attributes = {"site": "na.myconnectwise.net", "company": "{{ env.OURS_COMPANY }}"}
        # Dagster's error, whose class has no public name, shows the line of the file, too.
        with pytest.raises(Exception, match=r"{{ env.OURS_COMPANY }} is empty: is the"):
            ConnectWiseComponent.resolve_from_dict(attributes | secrets)

    def test_its_docs_say_what_each_attribute_is(self) -> None:
        model = ConnectWiseComponent.model()
        fields = model.model_fields
        assert {name for name, field in fields.items() if not field.description} == {
            "translation"  # which Dagster describes itself
        }
        assert "star" in (ConnectWiseComponent.__doc__ or "")

    def test_dagster_finds_it_by_the_entry_point_of_the_package(self) -> None:
        import tomllib  # noqa: PLC0415

        table = tomllib.loads((HOST.parents[1] / "pyproject.toml").read_text())["project"]
        (module,) = table["entry-points"]["dagster_dg_cli.registry_modules"].values()
        assert module == cw_pipeline.dagster.__name__
        assert "ConnectWiseComponent" in dir(cw_pipeline.dagster)
        assert "cw-pipeline" in DagsterLibraryRegistry.get()

    @pytest.mark.skipif(shutil.which("dg") is None, reason="dagster-dg-cli is not installed")
    @pytest.mark.parametrize(
        "words",
        [
            ["scaffold", "defs", "cw_pipeline.dagster.ConnectWiseComponent", "another"],
            ["check", "defs"],
            ["list", "defs"],
        ],
        ids=" ".join,
    )
    def test_dgs_commands_know_it(self, words: Iterable[str], project: Path) -> None:
        paths = os.pathsep.join([str(project), str(HOST.parents[1])])
        done = subprocess.run(
            [str(shutil.which("dg")), *words],
            cwd=project,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_daemon_which_loads_our_queue_does_not_load_the_library() -> None:
    program = "import sys, cw_pipeline.dagster.run_coordinator; print('pandas' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
