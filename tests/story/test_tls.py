"""An on-premise server whose certificate is of the company's own authority."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.cli import main
from cw_pipeline.connectwise import INTERACTIVE, ConnectWise, Credentials, Site
from cw_pipeline.errors import ConfigError, SourceDenied, SourceDown
from cw_pipeline.simulator import CLIENT_ID, Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cw_pipeline.simulator import Tenant

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the CA")


def openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl") or "openssl"
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, and with certificates for 127.0.0.1 and for another name."""
    folder = tmp_path_factory.mktemp("authority")
    made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(folder, "req", "-x509", *made, "-subj", "/CN=Our CA", "-keyout=ca.key", "-out=ca.pem")
    for name, names in (("here", "IP:127.0.0.1"), ("elsewhere", "DNS:psa.example.com")):
        openssl(folder, "req", *made, "-subj", f"/CN={name}", "-keyout=server.key", "-out=csr")
        (folder / "names").write_text(f"subjectAltName={names}")
        signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        openssl(folder, "x509", "-req", "-in=csr", *signed_by, "-extfile=names", "-out=server.pem")
        both = (folder / "server.key").read_text() + (folder / "server.pem").read_text()
        (folder / f"{name}.pem").write_text(both)
    openssl(folder, "x509", "-in=ca.pem", "-outform=der", "-out=ca.der")
    return folder


@pytest.fixture
def psa(authority: Path, tenant: Tenant) -> Iterator[Simulator]:
    """A ConnectWise that proves who it is by the authority's certificate for its address."""
    with Simulator(tenant, codebase="v4_6_release/", certificate=authority / "here.pem") as running:
        yield running


def company(simulator: Simulator, ca_file: Path | None) -> str:
    """What company info says, through a client that trusts what is in a file."""
    trusted = None if ca_file is None else str(ca_file)
    known = Credentials("demo", "public", "private", CLIENT_ID)
    site = Site.of(simulator.url)
    with ConnectWise(site, known, ca_file=trusted, policy=INTERACTIVE) as source:
        return str(source.find_codebase()["CompanyID"])


@pytest.mark.parametrize("file", ["ca.pem", "ca.der", "here.pem"])
def test_a_server_of_the_companys_own_authority_is_trusted_by_ca_file(
    psa: Simulator, authority: Path, file: str
) -> None:
    assert company(psa, authority / file) == "demo"


def test_without_it_the_server_is_refused_at_once_and_the_setting_named(psa: Simulator) -> None:
    with pytest.raises(SourceDenied, match=r"authority that is not trusted .* set CW_CA_FILE"):
        company(psa, None)
    assert psa.requests == []


def test_another_authority_does_not_help(psa: Simulator, authority: Path) -> None:
    with pytest.raises(SourceDenied, match="CW_CA_FILE"):
        company(psa, authority / "elsewhere.pem")


def test_a_certificate_for_another_name_is_refused_whatever_is_trusted(
    tenant: Tenant, authority: Path
) -> None:
    with (
        Simulator(tenant, certificate=authority / "elsewhere.pem") as other,
        pytest.raises(SourceDenied, match=r"for another name .* Set CW_SITE .*CW_CA_FILE"),
    ):
        company(other, authority / "ca.pem")


def test_a_port_that_speaks_no_tls_is_named(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "url", simulator.url.replace("http:", "https:"))
    with pytest.raises(SourceDown, match="does not speak TLS"):
        company(simulator, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n", "no certificate"),
        ("folder", "cannot be read: Is a directory"),
    ],
)
def test_a_file_without_a_certificate_is_one_sentence(
    psa: Simulator, tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "ca.pem"
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=f"CW_CA_FILE=.*{said}"):
        company(psa, file)


def test_commands_name_the_file_before_anything_is_read(
    psa: Simulator,
    authority: Path,
    dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = {"SITE": psa.url, "COMPANY": "demo", "PUBLIC_KEY": "public", "CLIENT_ID": CLIENT_ID}
    wanted = {"PRIVATE_KEY": "private", "WAREHOUSE_DSN": dsn, "ENTITIES": "service/boards"}
    for name, value in {**keys, **wanted, "CA_FILE": str(tmp_path / "none.pem")}.items():
        monkeypatch.setenv(f"CW_{name}", value)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert main(["sync"]) == 2
    assert "CW_CA_FILE" in capsys.readouterr().err
    assert main(["check"]) == 2
    assert "✗ settings: CW_CA_FILE" in capsys.readouterr().out
    assert psa.requests == []
    monkeypatch.setenv("CW_CA_FILE", "")
    assert main(["sync"]) == 2
    said = capsys.readouterr().err
    assert said.count("CW_CA_FILE") == 1
    assert main(["check"]) == 1
    assert f"✗ company: GET {psa.url}/login/companyinfo/demo: the server's certificate is of" in (
        capsys.readouterr().out
    )
    monkeypatch.setenv("CW_CA_FILE", str(authority / "ca.pem"))
    assert main(["sync"]) == 0
    assert main(["check"]) == 0


def test_no_setting_turns_verification_off(psa: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CW_VERIFY", "CW_INSECURE", "CW_SSL_VERIFY"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(SourceDenied):
        company(psa, None)
