"""`[sources.NAME]` of kind cordial: everything can be set, everything wrong is told at once, no secret is shown."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from syncd.errors import ConfigError
from syncd.settings import read
from syncd.settings.cordial import ZONE_KEYS, CordialDeliver, CordialExport, CordialSettings
from syncd.sources.cordial.parameters import ENDPOINTS, TAKEN_BY
from syncd.sources.cordial.zone import Zone
from tests.home import toml

EXAMPLE = Path(__file__).parent.parent / "config/syncd.example.toml"
SFTP = {"zone": "sftp://exports@sftp.example.com/in", "zone_password": "hush-zone"}


def section(export: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The least that works, and what is given."""
    exports = {"activities": {"start": "2026-01-01"} if export is None else export}
    return {"kind": "cordial", "api_key": "hush-key", "exports": exports} | (more if "zone" in more else SFTP | more)


def made(tmp_path: Path, section: dict[str, Any]) -> CordialSettings:
    path = tmp_path / "syncd.toml"
    path.write_text("\n".join(toml({"sources.mail": section})))
    settings = read(path, environ={}).sources["mail"]
    assert isinstance(settings, CordialSettings)
    return settings


def problems(tmp_path: Path, section: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as told:
        made(tmp_path, section)
    assert "hush" not in str(told.value)
    return [line.strip().removeprefix("sources.mail.") for line in str(told.value).splitlines()[1:]]


def destination(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return made(tmp_path, section(**more)).landing_zone().destination("job-1")


def test_the_example_names_every_key_and_loads_uncommented() -> None:
    text = EXAMPLE.read_text()
    block = text[text.index("# [sources.mail]") : text.index("[parse]")]
    plain = re.sub(r"^# ", "", block, flags=re.M)
    given = tomllib.loads(plain)["sources"]["mail"]
    deliver, export = given.pop("deliver"), given.pop("exports")["activities"]
    assert given.keys() | {"deliver", "exports"} == CordialSettings.model_fields.keys()
    assert deliver.keys() == CordialDeliver.model_fields.keys()
    assert export.keys() == {info.alias or name for name, info in CordialExport.model_fields.items()}
    least = CordialSettings(**section(export=export_defaults(export)))  # type: ignore[arg-type]  # read from a file
    for key in ("base_url", "poll_interval", "job_poll", "in_flight", "clear_zone", "zone_known_hosts"):
        assert str(getattr(CordialSettings(**section() | {key: given[key]}), key)) == str(getattr(least, key)), key  # type: ignore[arg-type]


def export_defaults(export: dict[str, Any]) -> dict[str, Any]:
    return {key: export[key] for key in ("endpoint", "start", "window", "delay", "overlap", "format", "compress")}


def test_every_parameter_has_a_key_and_every_key_a_place() -> None:
    keys = {info.alias or name for name, info in CordialExport.model_fields.items()}
    assert keys - TAKEN_BY.keys() == {"endpoint", "name", "start", "window", "delay", "overlap"}
    assert TAKEN_BY.keys() <= keys
    assert {endpoint for taken in TAKEN_BY.values() for endpoint in taken} == set(ENDPOINTS)
    assert {name for name in CordialSettings.model_fields if name.startswith("zone_")} == ZONE_KEYS.keys()


@pytest.mark.parametrize(
    ("export", "key"),
    [
        ({"action": "open", "actions": ["click"]}, "action: action and actions exclude each other"),
        ({"contact": "a", "audience": "b"}, "contact: contact and audience exclude each other"),
        ({"message_id": "45:1"}, "message_id: message_id acts only together with message_type"),
        ({"show_all_properties": True, "actions": ["open"]}, "show_all_properties: show_all_properties acts only"),
        ({"send_type": "sms"}, "send_type: send_type acts only together with channel"),
        ({"delimiter": ";"}, 'delimiter: acts only with format = "txt"'),
        ({"format": "csv", "additional_fields": ["sp"]}, 'additional_fields: acts only with format = "json"'),
        ({"show_header": True}, "show_header: JSON has no header"),
        ({"format": "csv", "show_header": False}, "show_header: without a header nobody knows the columns"),
        ({"columns": ["email"]}, "overlap: without the column _id"),
        ({"columns": ["_id", {"name": "cID", "label": "_id"}]}, "columns: two columns would go by the name '_id'"),
        ({"lists": ["a"]}, "lists: contactactivityexport takes no such parameter"),
        ({"start": None}, "start: write the first day"),
        ({"endpoint": "contactexports"}, "start: contactexports has no past"),
        ({"endpoint": "contactexports", "start": None}, "fields: contactexports needs it"),
        ({"endpoint": "messageanalyticsexport", "overlap": "1h"}, "overlap: rows of messageanalyticsexport have no id"),
        ({"endpoint": "messageanalyticsexport", "type": "batch", "orchestration_id": "x"}, "orchestration_id: not"),
        ({"endpoint": "messageanalyticsexport", "format": "txt"}, "format: messageanalyticsexport exports only"),
        ({"endpoint": "audiencetrendsexport", "format": "json"}, "format: audiencetrendsexport exports only csv"),
        ({"endpoint": "accountmonitorexport", "format": "txt"}, "format: accountmonitorexport exports only csv, json"),
        ({"window": "0s"}, "window"),
        ({"name": "under_score"}, "name = 'under_score'"),
        ({"actions": "[broken"}, "actions = '[broken': is no JSON"),
    ],
)
def test_what_excludes_what_is_told(tmp_path: Path, export: dict[str, Any], key: str) -> None:
    export = {name: value for name, value in ({"start": "2026-01-01"} | export).items() if value is not None}
    told = problems(tmp_path, section(export))
    assert any(line.startswith(f"exports.activities.{key}") for line in told), told


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"zone": "gopher://x"}, "zone: write a URL that begins with sftp://"),
        ({"zone": "sftp://exports:hush@h/in", "zone_password": "p"}, "zone: keep the password out"),
        ({"zone": "sftp://h/in", "zone_password": "p"}, "zone: write user and server"),
        ({"zone": "sftp://exports@h/in"}, "zone_password: write it, or zone_key_file"),
        ({"zone": "sftp://exports@h/in", "zone_key_file": "k"}, "deliver: Cordial needs a password or the name"),
        ({"zone": "ftp://exports@h/in"}, "zone_password: write it"),
        ({"zone": "s3://b/in"}, "zone_region: write it"),
        (
            {"zone": "s3://b/in", "zone_region": "r", "zone_access_key_id": "hush"},
            "zone_access_key_id: zone_access_key_id and",
        ),
        ({"zone": "az://c/in"}, "zone_account: write the name"),
        ({"zone": "gs://b/in", "zone_region": "r"}, "zone_region: a zone of kind gs takes no such key"),
        ({"zone": "file:///mnt/in"}, "deliver: syncd reads a folder here"),
        ({"zone": "file:///mnt/in", "deliver": {"type": "s3"}}, "deliver: a destination of type s3 needs bucket"),
        ({"zone": "aws", "deliver": {"path": "x"}}, "deliver: Cordial keeps these files itself"),
        ({"deliver": {"bucket": "b"}}, "deliver: a destination of type sftp takes no bucket"),
        ({"deliver": {"saved_key": "k", "password": "hush"}}, "deliver: password and saved_key exclude"),
        (
            {"zone": "s3://b", "zone_region": "r", "deliver": {"iam_role": True, "access_key_id": "hush"}},
            "deliver: iam_role and",
        ),
        ({"base_url": "http://api.cordial.io/v2"}, "base_url = 'http://api.cordial.io/v2': plain http"),
        ({"api_key": 1234}, "api_key: Input should be a valid string"),
        ({"exports": {}}, "exports"),
        (
            {"exports": {one: {"start": "2026-01-01", "name": "x"} for one in "ab"}},
            "exports: two exports have one name",
        ),
        ({"jobpoll": "1s"}, "jobpoll: unknown key; did you mean job_poll?"),
    ],
)
def test_what_is_wrong_with_the_zone_is_told(tmp_path: Path, more: dict[str, Any], key: str) -> None:
    told = problems(tmp_path, section(**more))
    assert any(line.startswith(key) for line in told), told


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    export = {"action": "a", "actions": ["b"], "contact": "c", "audience": "d", "overlap": "24x", "wndow": "1d"}
    told = problems(tmp_path, section(export, zone="sftp://exports@h/in", zone_region="r", api_key=""))
    of_export = (f"exports.activities.{key}" for key in ("start", "action", "contact", "overlap", "wndow"))
    for key in ("api_key", "zone_region", "zone_password", "deliver", *of_export):
        assert any(line.startswith(key) for line in told), (key, told)
    assert len(told) == 9


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            SFTP,
            {
                "type": "sftp",
                "server": "sftp.example.com",
                "port": 22,
                "username": "exports",
                "password": "hush-zone",
                "path": "/in/job-1",
            },
        ),
        (
            SFTP | {"deliver": {"server": "203.0.113.7", "port": 2222, "path": "/chroot", "saved_key": "k"}},
            {
                "type": "sftp",
                "server": "203.0.113.7",
                "port": 2222,
                "username": "exports",
                "savedKey": "k",
                "path": "/chroot/job-1",
            },
        ),
        (
            {"zone": "ftps://u%40x@h:2121", "zone_password": "p"},
            {"type": "ftp", "server": "h", "port": 2121, "username": "u@x", "password": "p", "path": "/job-1"},
        ),
        (
            {"zone": "ftp://u@h/in", "zone_password": "p", "deliver": {"path": "./"}},
            {"type": "ftp", "server": "h", "port": 21, "username": "u", "password": "p", "path": "./job-1"},
        ),
        (
            {"zone": "s3://b/in/", "zone_region": "r", "zone_access_key_id": "i", "zone_secret_access_key": "s"},
            {
                "type": "s3",
                "aws_bucket": "b",
                "aws_region": "r",
                "aws_access_key_id": "i",
                "aws_secret_access_key": "s",
                "path": "in/job-1",
            },
        ),
        (
            {
                "zone": "s3://b",
                "zone_region": "r",
                "zone_access_key_id": "i",
                "zone_secret_access_key": "s",
                "deliver": {"iam_role": True},
            },
            {"type": "s3", "aws_bucket": "b", "aws_region": "r", "path": "job-1"},
        ),
        ({"zone": "gs://b/in"}, {"type": "gcs", "gcs_bucket": "b", "path": "in/job-1"}),
        (
            {"zone": "az://c/in", "zone_account": "a", "zone_account_key": "k"},
            {"type": "azureblob", "account": "a", "container": "c", "path": "in/job-1"},
        ),
        (
            {
                "zone": "file:///mnt/in",
                "deliver": {"type": "sftp", "server": "h", "username": "u", "password": "p", "path": "/in"},
            },
            {"type": "sftp", "server": "h", "username": "u", "password": "p", "path": "/in/job-1"},
        ),
        ({"zone": "aws"}, {"type": "aws"}),
    ],
)
def test_cordial_is_told_of_the_zone_in_its_own_words(
    tmp_path: Path, more: dict[str, Any], told: dict[str, Any]
) -> None:
    found = destination(tmp_path, **more)
    if "port" not in told:
        found.pop("port", None)
    assert found == told


def test_lists_and_columns_come_from_the_environment_too(tmp_path: Path) -> None:
    environ = {
        "SYNCD_SOURCES__MAIL__KIND": "cordial",
        "SYNCD_SOURCES__MAIL__API_KEY": "hush-key",
        "SYNCD_SOURCES__MAIL__ZONE": "aws",
        "SYNCD_SOURCES__MAIL__EXPORTS__ACTIVITIES__START": "2026-01-01T06:00:00+02:00",
        "SYNCD_SOURCES__MAIL__EXPORTS__ACTIVITIES__ACTIONS": "open, click",
        "SYNCD_SOURCES__MAIL__EXPORTS__ACTIVITIES__COLUMNS": '["_id", {"name": "cID", "label": "contact"}]',
        "SYNCD_SOURCES__MAIL__EXPORTS__ACTIVITIES__COMPRESS": "false",
    }
    settings = read(environ=environ).sources["mail"]
    assert isinstance(settings, CordialSettings)
    export = settings.exports["activities"].export("mail", "activities")
    assert export.wanted["selected_action_names"] == ["open", "click"]
    assert export.labels == ("_id", "contact")
    assert export.wanted["compress"] is False
    assert f"{export.start:%H}" == "04"


def test_no_secret_is_in_any_repr(tmp_path: Path) -> None:
    settings = made(tmp_path, section(deliver={"password": "hush-deliver"}))
    zone = settings.landing_zone()
    assert "hush" not in repr(settings) + repr(zone)
    assert {secret.get_secret_value() for secret in zone.secrets} == {"hush-zone", "hush-deliver"}
    assert isinstance(Zone(url="aws", password=SecretStr("x")).secrets[0], SecretStr)
