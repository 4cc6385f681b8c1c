"""What the operator can set: one TOML file, the environment, secret files; read once, in `assemble`.

All problems are told together, each with its key and its fix. Secrets are SecretStr and are never shown.
The strongest wins: command line, environment (`SYNCD_` and `__`), secret files, the TOML file.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from syncd.errors import ConfigError
from syncd.settings.fields import Duration, Section, Size, is_loopback, safe_url
from syncd.settings.publishing import PublishSettings, unlike
from syncd.settings.telling import OtelSettings, TellSettings
from syncd.settings.vendors import KINDS, SourceSettings

DEFAULT_PATHS = (Path("syncd.toml"), Path("/etc/syncd/syncd.toml"))
SECRET = re.compile("secret|token|password|key")  # in a key's name: what was written is not shown
# DuckDB's own schemas and catalogues, and ours: a source of that name could not be queried
RESERVED = {"main", "temp", "system", "memory", "information_schema", "pg_catalog", "warehouse", "_syncd"}


def source_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        raise ValueError("a source's name is a small letter, then small letters, digits and _")
    if value in RESERVED:
        raise ValueError("DuckDB or syncd has a schema of this name: choose another")
    return value


def listen_address(value: str) -> str:
    found = re.fullmatch(r"(?:\[[0-9a-fA-F:]+\]|[^:\[\]/\s]+):(\d{1,5})", value)
    if not found or int(found[1]) > 65535:
        raise ValueError('write host and port: "127.0.0.1:8600"')
    return value


def host_of(listen: str) -> str:
    """The host of a listen address, without brackets."""
    return listen.rpartition(":")[0].strip("[]")


class ParseSettings(Section):
    max_rejected: float = Field(default=0.001, ge=0, le=1)
    schema_: Literal["evolve", "freeze"] = Field(default="evolve", alias="schema")


class LandingSettings(Section):
    keep: Duration = timedelta(days=30)
    cap: Size | None = None  # bytes of kept originals, of all sources together


class LakeSettings(Section):
    keep_superseded: Duration = timedelta(days=7)
    longest_reader: Duration = timedelta(hours=24)


class HttpSettings(Section):
    token: SecretStr | None = Field(default=None, min_length=1)
    open: bool = False
    url: Annotated[str, AfterValidator(safe_url)] = ""  # how others reach it; "": as they ask for it
    listen: Annotated[str, AfterValidator(listen_address)] = "127.0.0.1:8600"  # last: it looks at the two above

    @field_validator("listen")
    @classmethod
    def _guarded(cls, value: str, others: ValidationInfo) -> str:
        if not is_loopback(host_of(value)) and not others.data.get("token") and not others.data.get("open"):
            raise ValueError("others can reach this address: set http.token, or state http.open = true")
        return value


class Settings(BaseSettings):
    """Everything, checked. Build it with `read`."""

    model_config = SettingsConfigDict(env_prefix="SYNCD_", env_nested_delimiter="__", extra="forbid", frozen=True)

    data_dir: Path = Path("/var/lib/syncd")
    state_dir: Path | None = None  # for state.sqlite, which may be lost; default: data_dir
    workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1)
    retry_for: Duration = timedelta(minutes=2)
    secrets_dir: Path | None = None
    sources: dict[Annotated[str, AfterValidator(source_name)], SourceSettings] = {}
    parse: ParseSettings = Field(default_factory=ParseSettings)
    landing: LandingSettings = Field(default_factory=LandingSettings)
    lake: LakeSettings = Field(default_factory=LakeSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    tell: TellSettings = Field(default_factory=TellSettings)
    otel: OtelSettings = Field(default_factory=OtelSettings)
    publish: Annotated[list[PublishSettings], AfterValidator(unlike)] = []

    @property
    def state_path(self) -> Path:
        """Where the state lies."""
        return (self.state_dir or self.data_dir) / "state.sqlite"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # `read` has put the rest together: one order, one place


def read(
    config: Path | None = None, *, data_dir: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings from all their places. ConfigError lists every problem with its fix."""
    path = config or next((path for path in DEFAULT_PATHS if path.is_file()), None)
    found = _toml(path) if path else {}
    problems: list[str] = []
    given = _from_environment(environ, problems)
    folders = [given.get("secrets_dir") or found.get("secrets_dir"), environ.get("CREDENTIALS_DIRECTORY")]
    for folder in filter(None, folders):
        _merge(found, _from_files(Path(str(folder)), problems))
    _merge(found, given)
    if data_dir:
        found["data_dir"] = data_dir
    try:
        settings = Settings(**found)
    except ValidationError as error:
        problems += [_told(detail) for detail in error.errors(include_url=False)]
    if problems:
        where = str(path) if path else "no configuration file was found, the environment alone"
        raise ConfigError(
            f"{where}: {len(problems)} problem{'s' if len(problems) > 1 else ''}\n"
            + "\n".join(f"  {line}" for line in problems),
            hint="every key is shown in config/syncd.example.toml; then: syncd check",
        )
    return settings


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not TOML: {error}", hint="mend that line; config/syncd.example.toml shows the form"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read: {error.strerror}", hint="give another file: syncd --config PATH"
        ) from error


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """`SYNCD_LANDING__KEEP=10d` as {"landing": {"keep": "10d"}}; a name that leads nowhere is a problem."""
    named = {name: value for name, value in environ.items() if name.upper().startswith("SYNCD_")}
    return _nested({name[len("SYNCD_") :]: value for name, value in named.items()}, "environment: SYNCD_", problems)


def _from_files(folder: Path, problems: list[str]) -> dict[str, Any]:
    """Each file of a secrets folder is named like the variable, in any case, also with dots:
    `SYNCD_SOURCES__ACME__CLIENT_SECRET` or `sources.acme.client_secret`."""
    try:
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        texts = {path.name: path.read_text(encoding="utf-8").rstrip("\r\n") for path in files}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(
            f"secrets_dir = {str(folder)!r}: unreadable ({type(error).__name__}): mount it, or drop the key"
        )
        return {}
    named = {re.sub(r"(?i)^syncd_", "", name).replace(".", "__"): text for name, text in texts.items()}
    known = {name: text for name, text in named.items() if name.lower().split("__")[0] in Settings.model_fields}
    return _nested(known, f"{folder}: ", problems)  # other credentials of the unit are none of our business


def _nested(named: Mapping[str, str], where: str, problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in sorted(named.items()):
        *sections, key = name.lower().split("__")
        first = [*sections, key][0]
        inner: Any = found
        for section in sections:
            inner = inner.setdefault(section, {}) if isinstance(inner, dict) else None
        if first not in Settings.model_fields:
            problems.append(f"{where}{name}: unknown{_nearest(first, Settings.model_fields)}")
        elif isinstance(inner, dict):
            inner[key] = value
        else:
            problems.append(f"{where}{name}: {'__'.join(sections)} is already set to a plain value")
    return {key: value for key, value in found.items() if key in Settings.model_fields}


def _merge(weaker: dict[str, Any], stronger: Mapping[str, Any]) -> None:
    for key, value in stronger.items():
        if isinstance(value, dict) and isinstance(weaker.get(key), dict):
            _merge(weaker[key], value)
        else:
            weaker[key] = value


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _told(detail: ErrorDetails) -> str:
    """One problem in one line: the key, what was written (never of a secret), what to write."""
    keys = [str(key) for key in detail["loc"] if key != "[key]"]
    kind = keys.pop(2) if keys[0] == "sources" and len(keys) > 3 and keys[2] in KINDS else ""  # pydantic's, not ours
    key = ".".join(keys)
    match detail["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key{_nearest(keys[-1], _known(keys[:-1], kind))}"
        case "union_tag_not_found" | "union_tag_invalid":
            given = detail["input"].get("kind") if isinstance(detail["input"], dict) else None
            said = f"kind = {given!r} is none" if given else "kind: missing"
            return f"{key}.{said}: write one of {', '.join(KINDS)}{_nearest(str(given), KINDS)}"
        case "missing":
            return f"{key}: missing; write it, or set SYNCD_{'__'.join(keys).upper()}"
        case _:
            said = detail["msg"].removeprefix("Value error, ")
            hidden = SECRET.search(keys[-1]) or keys[0] == "tell" or keys == ["publish"] or "options" in keys
            secret = hidden or isinstance(detail["input"], dict | SecretStr)
            return f"{key}: {said}" if secret else f"{key} = {detail['input']!r}: {said}"


def _known(sections: list[str], kind: str) -> list[str]:
    """The keys that may stand in a section, at any depth: what lies between is a name that the operator chose."""
    model: object = Settings
    for section in sections:
        fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
        model = fields[section].annotation if section in fields else model
        model = KINDS[kind] if kind and section == "sources" else model
        model = next(
            (each for each in get_args(model) if isinstance(each, type) and issubclass(each, BaseModel)), model
        )
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [info.alias or name for name, info in model.model_fields.items()]
