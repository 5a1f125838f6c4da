"""The image, made without Docker: the Dockerfile's lines in order in a root of Debian's own.

`test tests/deploy/test_image.py --image` makes that root (as root, with debootstrap, in minutes).
Without it, what can be seen of the lines without running them is looked at.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import string
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from cw_pipeline.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = ROOT / "dagster_home" / "deploy"
TENANT = {
    "CW_SITE": "psa.example.com",
    "CW_COMPANY": "acme",
    "CW_PUBLIC_KEY": "public",
    "CW_PRIVATE_KEY": "private",
    "CW_CLIENT_ID": "00000000-0000-4000-8000-000000000000",
    "CW_WAREHOUSE_DSN": "postgresql://dw@postgres.example.com/warehouse",
}


@dataclass(frozen=True)
class Line:
    """One instruction of a Dockerfile."""

    name: str
    rest: str

    def words(self) -> list[str]:
        """The words of its JSON form."""
        return [str(word) for word in yaml.safe_load(self.rest)]


def dockerfile() -> list[Line]:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    text = re.sub(r"(?m)^#.*\n", "", text).replace("\\\n", " ")
    found = [line.strip().partition(" ") for line in text.splitlines() if line.strip()]
    return [Line(name, rest.strip()) for name, _, rest in found]


def last(name: str) -> Line:
    return [line for line in dockerfile() if line.name == name][-1]


def sent() -> list[Path]:
    """The files that a build gets to see, after .dockerignore."""
    rules = [
        (line.startswith("!"), line.lstrip("!").removeprefix("**/"))
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]
    files = subprocess.check_output(command, cwd=ROOT, text=True).splitlines()
    chosen = []
    for name in files:
        above = [name, *(str(parent) for parent in Path(name).parents)]
        kept = True
        for back, pattern in rules:
            if any(fnmatch.fnmatch(path, pattern) for path in above):
                kept = back
        if kept and (ROOT / name).is_file():
            chosen.append(Path(name))
    return chosen


def entrypoint(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("CW_")}
    return subprocess.run(
        [sys.executable, str(DEPLOY / "entrypoint.py"), *command],
        env=outside | {"DAGSTER_HOME": tempfile.gettempdir() + "/cw-image"} | settings,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_run_line_is_valid_shell() -> None:
    for line in dockerfile():
        if line.name == "RUN":
            subprocess.run(["/bin/sh", "-nc", line.rest], check=True)


def test_what_is_copied_is_sent_and_settings_and_data_are_not() -> None:
    files = sent()
    for line in dockerfile():
        if line.name == "COPY":
            for source in line.rest.split()[:-1]:
                assert any(path.is_relative_to(source) for path in files), source
    assert not [path for path in files if path.name.startswith(".env")]
    assert not [path for path in files if path.parts[0] == "tests"]
    assert {path.parent for path in files if path.parts[0] == ".ci"} == {Path(".ci/locks")}


def test_the_image_runs_as_a_plain_account_is_looked_after_and_starts_by_the_entry_point() -> None:
    names = [line.name for line in dockerfile()]
    assert last("USER").rest.isdigit()
    assert int(last("USER").rest) > 0
    assert "RUN" not in names[names.index("USER") :]
    assert "grpc-health-check" in last("HEALTHCHECK").rest
    assert last("ENTRYPOINT").words()[-1].endswith("dagster_home/deploy/entrypoint.py")


def test_nothing_starts_in_a_container_without_the_settings_of_a_tenant() -> None:
    for settings in ({}, TENANT | {"CW_WAREHOUSE_DSN": ""}, TENANT | {"CW_SITE": ""}):
        refused = entrypoint("echo", "started", **settings)
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert re.match(r"cw-pipeline: .*(CW_SITE|DSN).* not( set)?\b", refused.stderr), refused
        assert "Traceback" not in refused.stderr
    assert entrypoint("echo", "started", **TENANT).stdout == "started\n"


def test_webserver_and_daemon_need_no_tenant_but_a_storage_that_they_share() -> None:
    assert "CW_DAGSTER_PG_URL" in entrypoint("dagster-daemon", "--version").stderr
    storage = {"CW_DAGSTER_PG_URL": "postgresql://postgres.example.com/dagster"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    assert "1." in entrypoint("dagster-daemon", "--version", PATH=path, **storage).stdout


def test_compose_starts_the_same_parts_from_files_that_are_there() -> None:
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text("utf-8"))
    services = compose["services"]
    build = services["acme"]["build"]
    assert (DEPLOY / "compose" / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    (location,) = yaml.safe_load((DEPLOY / "compose" / "workspace.yaml").read_text())["load_from"]
    host = location["grpc_server"]["host"]
    assert services[host]["environment"]["CW_CODE_LOCATION"] == host
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (DEPLOY / "compose" / source).is_file(), volume


class Root:
    """A Debian of its own in a folder, which a Dockerfile's lines are run in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root"}
        self.working = "/"
        self.user = "0"

    def command(self, *words: str) -> list[str]:
        """A command to run inside, with the environment and the account that the lines made."""
        inside = f"cd {shlex.quote(self.working)} && exec {shlex.join(words)}"
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        account = f"--userspec={self.user}:{self.user}"
        chroot = ["chroot", account, str(self.folder)]
        return ["env", "-i", *settings, *chroot, "/bin/sh", "-c", inside]

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        command = self.command("env", *(f"{n}={v}" for n, v in settings.items()), *words)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def obey(self, line: Line, arguments: dict[str, str]) -> None:
        """Does what one instruction says. Raises AssertionError with what a RUN printed."""
        match line.name:
            case "ENV":
                self._set(line.rest)
            case "ARG":
                name, _, value = line.rest.partition("=")
                self.environment[name] = arguments.get(name, value.strip('"'))
            case "WORKDIR":
                self.working = line.rest
                (self.folder / line.rest[1:]).mkdir(parents=True, exist_ok=True)
            case "USER":
                self.user = line.rest
            case "COPY":
                *sources, target = line.rest.split()
                for source in sources:
                    self._copy(source, target)
            case "RUN":
                done = self.run("sh", "-c", line.rest)
                assert done.returncode == 0, f"{line.rest}\n{done.stdout}{done.stderr}"

    def _set(self, pairs: str) -> None:
        for word in shlex.split(pairs):
            name, _, value = word.partition("=")
            self.environment[name] = string.Template(value).substitute(self.environment)

    def _copy(self, source: str, target: str) -> None:
        base = self.folder / self.working[1:] / target
        for path in sent():
            if path.is_relative_to(source):
                inside = path.relative_to(source)
                to = base / path.name if target.endswith("/") else base / inside
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, to)


@contextmanager
def debian(folder: Path) -> Iterator[Root]:
    """A Debian with Python, as the image's base has it; unmounted and deleted at the end."""
    mirror = os.environ.get("CW_TEST_DEBIAN", "http://deb.debian.org/debian")
    packages = "--include=python3,python3-venv,ca-certificates"
    command = ["debootstrap", "--variant=minbase", packages, "trixie", str(folder), mirror]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=quiet)
    for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(name).exists():
            shutil.copy(name, folder / name[1:])
    (folder / "proc").mkdir(exist_ok=True)
    mount = ["mount", "-t", "proc", "proc", str(folder / "proc")]
    unmount = ["umount", "--lazy", str(folder / "proc")]
    subprocess.run(mount, check=True)
    try:
        yield Root(folder)
    finally:
        subprocess.run(unmount, check=True)
        shutil.rmtree(folder)


@pytest.mark.timeout(1800)
def test_the_dockerfile_makes_an_image_that_works(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if not request.config.getoption("--image"):
        pytest.skip("takes minutes: --image asks for it")
    if os.geteuid() or not shutil.which("debootstrap"):
        pytest.skip("root and debootstrap are needed")
    with debian(tmp_path / "image") as root:
        for line in dockerfile():
            root.obey(line, {"EXTRA": "celery"})
        assert root.run("id", "-u").stdout == "10001\n"
        refused = root.run(*last("ENTRYPOINT").words(), *last("CMD").words())
        assert refused.returncode == 1
        assert "CW_SITE and CW_WAREHOUSE_DSN not set" in refused.stderr
        for command in (
            ["cw-pipeline", "--version"],
            ["python", "-c", "import dagster_celery"],
            [
                "python",
                "-c",
                "from cw_pipeline.transform import compiled; assert compiled.reader_library()",
            ],
            ["dagster", "definitions", "validate", "-m", "cw_pipeline.dagster.definitions"],
        ):
            done = root.run(*command, **TENANT)
            assert done.returncode == 0, done.stdout + done.stderr
        assert root.run("gcc", "--version").returncode != 0
        _serves_and_is_found_well(root)


def _serves_and_is_found_well(root: Root) -> None:
    """Starts the image's own command, and asks its own health check."""
    check = re.sub(r"^.*?CMD ", "", last("HEALTHCHECK").rest)
    words = [str(word) for word in yaml.safe_load(check)]
    assert root.run(*words).returncode != 0
    start = ["env", *(f"{n}={v}" for n, v in TENANT.items())]
    start += [*last("ENTRYPOINT").words(), *last("CMD").words()]
    server = subprocess.Popen(
        root.command(*start), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while root.run(*words).returncode:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(1)
    finally:
        server.terminate()
        server.wait(30)
