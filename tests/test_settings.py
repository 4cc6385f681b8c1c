"""The settings: every key from every place, all problems at once, no secret shown."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from syncd.errors import ConfigError
from syncd.settings import Settings, read
from syncd.settings.fields import duration
from syncd.settings.vendors import ContentsquareSettings

EXAMPLE = Path(__file__).parent.parent / "config/syncd.example.toml"
SECRET = "s3cr3t-never-shown"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "syncd.toml"
    path.write_text(text)
    return path


def problems_of(path: Path, **environ: str) -> str:
    with pytest.raises(ConfigError) as told:
        read(path, environ=environ)
    return str(told.value)


def test_the_example_loads_and_names_every_key() -> None:
    settings = read(EXAMPLE, environ={})
    assert settings.sources["acme"].poll_interval == timedelta(minutes=15)
    written_keys = set(re.findall(r"^(?:# )?([a-z_]+) = ", EXAMPLE.read_text(), re.M))
    sections = set(re.findall(r"^(?:# \[)?\[([a-z]+)", EXAMPLE.read_text(), re.M))
    assert {*ContentsquareSettings.model_fields} <= written_keys
    assert {*Settings.model_fields} <= written_keys | sections


def test_what_the_example_shows_as_default_is_the_default(tmp_path: Path) -> None:
    shown = read(EXAMPLE, environ={})
    least = written(tmp_path, '[sources.acme]\nkind = "contentsquare"\nclient_id = "i"\nclient_secret = "s"\n')
    bare = read(least, environ={})
    for name in ("data_dir", "retry_for", "parse", "landing", "lake", "http"):
        assert getattr(shown, name) == getattr(bare, name)
    for name in ContentsquareSettings.model_fields.keys() - {"client_id", "client_secret"}:
        assert getattr(shown.sources["acme"], name) == getattr(bare.sources["acme"], name)


def test_the_environment_wins_over_secret_files_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[sources.acme]\nkind = "contentsquare"\nclient_id = "file"\nclient_secret = "file"\n')
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/sources.acme.client_secret").write_text("from a secret file\n")
    (tmp_path / "secrets/SYNCD_SOURCES__ACME__CLIENT_ID").write_text("from a secret file")
    environ = {"SYNCD_SECRETS_DIR": str(tmp_path / "secrets"), "SYNCD_SOURCES__ACME__CLIENT_ID": "from the environment"}
    acme = read(path, environ=environ).sources["acme"]
    assert acme.client_id == "from the environment"
    assert acme.client_secret.get_secret_value() == "from a secret file"


def test_systemd_credentials_are_read_and_foreign_ones_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sources.acme.client_secret").write_text(SECRET)
    (tmp_path / "another-units.key").write_text("x")
    path = written(tmp_path, '[sources.acme]\nkind = "contentsquare"\nclient_id = "i"\n')
    settings = read(path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.sources["acme"].client_secret.get_secret_value() == SECRET
    assert SECRET not in repr(settings)


def test_every_kind_of_value_comes_from_the_environment_alone(tmp_path: Path) -> None:
    environ = {
        "SYNCD_DATA_DIR": str(tmp_path),
        "SYNCD_WORKERS": "3",
        "SYNCD_PARSE__SCHEMA": "freeze",
        "SYNCD_PARSE__MAX_REJECTED": "0.5",
        "SYNCD_SOURCES__ACME__KIND": "contentsquare",
        "SYNCD_SOURCES__ACME__CLIENT_ID": "17",
        "SYNCD_SOURCES__ACME__CLIENT_SECRET": "s",
        "SYNCD_SOURCES__ACME__JOBS": "[1372, 1373]",
        "SYNCD_SOURCES__ACME__SINCE": "2026-01-01",
        "SYNCD_SOURCES__ACME__POLL_INTERVAL": "1h30m",
    }
    settings = read(written(tmp_path, ""), environ=environ)
    acme = settings.sources["acme"]
    assert (settings.workers, settings.parse.schema_, settings.parse.max_rejected) == (3, "freeze", 0.5)
    assert (acme.jobs, acme.since) == (frozenset({"1372", "1373"}), date(2026, 1, 1))
    assert acme.poll_interval == timedelta(minutes=90)


def test_all_problems_are_told_at_once_with_the_nearest_key(tmp_path: Path) -> None:
    told = problems_of(
        written(
            tmp_path,
            f"""
            data_dri = "/x"
            [sources.acme]
            kind = "contentsquare"
            client_id = ""
            client_secert = "{SECRET}"
            poll_interval = "15"
            token_url = "http://example.com/token"
            [sources.main]
            kind = "contentsquare"
            client_id = "i"
            client_secret = "s"
            [sources.Upper]
            kind = "cordail"
            [parse]
            max_rejected = 3
            """,
        ),
        SYNCD_WROKERS="3",
    )
    for expected in (
        "data_dri: unknown key; did you mean data_dir?",
        "sources.acme.client_secert: unknown key; did you mean client_secret?",
        "sources.acme.client_secret: missing",
        "sources.acme.poll_interval",
        "sources.acme.token_url",
        "sources.main",
        "sources.Upper",
        "parse.max_rejected = 3",
        "SYNCD_WROKERS: unknown; did you mean workers?",
    ):
        assert expected in told, told
    assert SECRET not in told


@pytest.mark.parametrize(
    "name", ["main", "temp", "system", "information_schema", "pg_catalog", "warehouse", "_syncd", "9x"]
)
def test_a_source_name_that_could_not_be_queried_is_refused(tmp_path: Path, name: str) -> None:
    text = f'[sources.{name}]\nkind = "contentsquare"\nclient_id = "i"\nclient_secret = "s"\n'
    assert f"sources.{name}" in problems_of(written(tmp_path, text))


def test_plain_http_goes_to_this_machine_only(tmp_path: Path) -> None:
    text = '[sources.a]\nkind = "contentsquare"\nclient_id = "i"\nclient_secret = "s"\ntoken_url = "{}"\n'
    for url in ("http://127.0.0.1:99/t", "http://localhost/t", "http://[::1]/t", "https://example.com/t"):
        assert read(written(tmp_path, text.format(url)), environ={}).sources["a"].token_url == url
    for url in ("http://10.0.0.1/t", "http://localhost.example.com/t", "ftp://example.com/t", "example.com"):
        assert "token_url" in problems_of(written(tmp_path, text.format(url)))


def test_a_file_that_begins_with_a_mark_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    path.write_text('retry_for = "3m"\n', encoding="utf-8-sig")
    assert read(path, environ={}).retry_for == timedelta(minutes=3)


def test_a_missing_or_broken_file_says_what_to_do(tmp_path: Path) -> None:
    assert "can't be read" in problems_of(tmp_path / "absent.toml")
    assert "is not TOML" in problems_of(written(tmp_path, "[sources"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("0d", 0), ("1.5h", 5400), ("2w", 1209600)]
)
def test_a_duration_carries_its_unit(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["15", "", "m", "-3m", "3 parsecs", "1m x", 15])
def test_a_duration_without_its_unit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="unit"):
        duration(text)


@pytest.mark.parametrize("text", ["36501d", "999999d", "9e9d", "9" * 400 + "d"])
def test_a_duration_that_no_instant_lies_before_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"36500d|unit"):
        duration(text)
    assert datetime.now(UTC) - duration("36500d") < datetime.now(UTC)


def test_toml_dates_are_taken_as_dates(tmp_path: Path) -> None:
    text = '[sources.a]\nkind = "contentsquare"\nclient_id = "i"\nclient_secret = "s"\nsince = 2026-01-01\n'
    text += 'jobs = [7, "8"]\n'
    assert tomllib.loads(text)["sources"]["a"]["since"] == date(2026, 1, 1)
    settings = read(written(tmp_path, text), environ={}).sources["a"]
    assert (settings.since, settings.jobs) == (date(2026, 1, 1), frozenset({"7", "8"}))
