"""An address is read as psql reads it, or refused with the fix; no part of a password is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.psycopg2 import dialect

from cw_pipeline.address import describe_address, parse_address
from cw_pipeline.dev.dagster_yaml import with_driver
from cw_pipeline.errors import ConfigError

PARTS = {"user": "etl", "password": "s3cret", "host": "db", "port": "5433", "dbname": "wh"}


@pytest.mark.parametrize(
    "address",
    [
        "postgres://etl:s3cret@db:5433/wh",
        "postgresql://etl:s3cret@db:5433/wh",
        "POSTGRESQL://etl:s3cret@db:5433/wh",
        "postgresql+psycopg://etl:s3cret@db:5433/wh",
        "postgresql+psycopg2://etl:s3cret@db:5433/wh",
        "  postgresql://etl:s3cret@db:5433/wh\n",
        "postgresql://etl@db:5433/wh?password=s3cret",
        "host=db port=5433 user=etl password=s3cret dbname=wh",
        "host = db port='5433' user=etl password='s3cret' dbname=wh",
    ],
)
def test_an_address_is_read_in_all_its_forms(address: str) -> None:
    assert parse_address(address) == PARTS


@pytest.mark.parametrize(
    ("address", "part", "value"),
    [
        ("service=wh", "service", "wh"),
        ("postgresql:///?service=wh", "service", "wh"),
        ("postgresql:///wh?host=/run/postgresql", "host", "/run/postgresql"),
        ("postgresql://%2Frun%2Fpostgresql/wh", "host", "/run/postgresql"),
        ("postgresql://[::1]:5432/wh", "host", "::1"),
        ("postgresql://a:1,b:2/wh?target_session_attrs=primary", "host", "a,b"),
        ("postgresql://u%40corp:x@db/wh", "user", "u@corp"),
        ("postgresql://u:p%40ss%3Aw%2Frd%231%25@db/wh", "password", "p@ss:w/rd#1%"),
        ("postgresql://u:p:x@db/wh", "password", "p:x"),
        ("postgresql://u:p#x@db/wh", "password", "p#x"),
        ("postgresql://u:p?x@db/wh", "password", "p?x"),
        ("host=db password='two words'", "password", "two words"),
    ],
)
def test_what_psql_takes_is_taken(address: str, part: str, value: str) -> None:
    assert parse_address(address)[part] == value


def test_an_address_may_leave_everything_to_the_environment() -> None:
    assert parse_address("postgresql://") == {}


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("", "empty"),
        ("hunter2", "neither a URL"),
        ("'postgresql://u:hunter2@h/d'", "quotes"),
        ('"postgresql://u:hunter2@h/d"', "quotes"),
        ("mysql://u:hunter2@h/d", "postgresql://"),
        ("jdbc:postgresql://u:hunter2@h/d", "postgresql://"),
        ("postgresql://u:hunter2%sure@h/d", "percent-encode"),
        ("postgresql://u:100%sure@h/d", "percent-encode"),
        ("postgresql://u:hunter2%zz@h/d", "percent-encode"),
        ("postgresql://u:hunter2%00@h/d", "percent-encode"),
        ("postgresql://u:hunter2%@h/d", "percent-encode"),
        ("postgresql://u:hunter 2@h/d", "percent-encode"),
        ("postgresql://u:hunter@2:w/rd#1@h/d", "percent-encode"),
        ("postgresql://u:hunter/2@h/d", "percent-encode"),
        ("postgresql://u:@hunter2@h/d", "percent-encode"),
        ("postgresql://u:hunter@2?x@h/d", "percent-encode"),
        ("postgresql://u:x@h:hunter2/d", "port"),
        ("host=h port=hunter2", "port"),
        ("postgresql://u:x@h/d?hunter2=1", "parameter"),
        ("postgresql://u:x@h/d?ssl_mode=hunter2", "did you mean sslmode"),
        ("host=h password=x hunter2", "blanks"),
        ("host=h password=x hunter2=1", "blanks"),
        ("host=h password='hunter2", "blanks"),
        ("host=h;user=u;password=hunter2", "; between its parts"),
        ("postgresql://u:hunter2@h/d;sslmode=require", "; between its parts"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_fix_and_not_shown(address: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=r"^CW_WAREHOUSE_DSN is no address") as refused:
        parse_address(address)
    assert fix in str(refused.value)
    assert "hunter" not in str(refused.value)
    assert "sure" not in str(refused.value)
    assert refused.value.__context__ is None, "a traceback would print it"


MARKED = st.text(st.sampled_from("@:/#?%[] '\"\\=&é+x"), max_size=6).map(lambda t: f"Zq7{t}Zq7")


@given(MARKED, st.sampled_from(["postgresql://me:{}@h/d", "host=h password={}", "{}", "x://{}"]))
def test_no_refusal_shows_any_part_of_an_address(password: str, form: str) -> None:
    refusal: ConfigError | None = None
    try:
        parse_address(form.format(password))
    except ConfigError as error:
        refusal = error
    assert "Zq7" not in str(refusal)
    assert refusal is None or refusal.__context__ is None


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_password_that_is_percent_encoded_is_taken_whatever_it_is(password: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in password.encode())
    assert parse_address(f"postgresql://me:{encoded}@h/d")["password"] == password


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://etl:s3cret@db:5433/wh", "etl@db:5433/wh"),
        ("host=/run/pg dbname=wh password=s3cret", "/run/pg/wh"),
        ("service=warehouse password=s3cret", "service warehouse"),
    ],
)
def test_an_address_is_described_without_its_password(address: str, told: str) -> None:
    assert describe_address(address) == told


@pytest.mark.parametrize(
    "address",
    [
        "postgres://me:p%40ss%25@/dagster?host=/run/pg",
        "postgresql+psycopg://me:p%40ss%25@/dagster?host=/run/pg",
        "host=/run/pg user=me dbname=dagster password=p@ss%",
    ],
)
def test_dagster_gets_the_same_address_for_its_driver(address: str) -> None:
    url = make_url(with_driver(address))
    assert url.drivername == "postgresql+psycopg2"
    _, connected = dialect().create_connect_args(url)
    assert connected == {"user": "me", "password": "p@ss%", "host": "/run/pg", "dbname": "dagster"}


def test_dagsters_address_is_refused_by_its_own_name() -> None:
    with pytest.raises(ConfigError, match=r"^CW_DAGSTER_PG_URL") as refused:
        with_driver("mysql://me:topsecret@host/dagster")
    assert "topsecret" not in str(refused.value)
