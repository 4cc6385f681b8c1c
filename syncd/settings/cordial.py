"""`[sources.NAME]` with kind = "cordial": the account, the zone, and the exports to ask for.

What the vendor would refuse is told here, all at once, before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from syncd.settings.fields import Duration, Interval, Section, safe_url
from syncd.sources.cordial.exports import Export
from syncd.sources.cordial.parameters import ACTIVITIES, FORMATS, UNTOLD, problems, wanted
from syncd.sources.cordial.zone import BY_HAND, DELIVER, KINDS, SERVERS, TAKEN_BY, Zone, destination_type


def listed(value: object) -> object:
    """A list, also from the environment: `a, b` or JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith(("[", "{")):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"is no JSON: {error}") from error
    return [word.strip() for word in value.split(",") if word.strip()]


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], BeforeValidator(listed)]
Problem = tuple[str, str]  # a key, and what to do about it
# the zone's own keys, and the kinds of zone that take them
ZONE_KEYS = {
    "zone_password": ("sftp", "ftp", "ftps"),
    "zone_key_file": ("sftp",),
    "zone_known_hosts": ("sftp",),
    "zone_ca_file": ("ftps",),
    "zone_access_key_id": ("s3",),
    "zone_secret_access_key": ("s3",),
    "zone_region": ("s3",),
    "zone_endpoint_url": ("s3", "gs", "az"),
    "zone_service_account_file": ("gs",),
    "zone_account": ("az",),
    "zone_account_key": ("az",),
}


STAND_INS = {"api_key": "-", "zone": "-", "exports": {"any": {"start": datetime(2026, 1, 1, tzinfo=UTC)}}}


def midnight(value: object) -> object:
    """A day as the instant that it begins, UTC."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        value = date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def labelled(value: object) -> object:
    """Columns as `"name"` or `{name, label}`: a column without a label keeps its name."""
    value = listed(value)
    if not isinstance(value, list):
        return value
    rows = [{"name": one} if isinstance(one, str) else one for one in value]
    return [{"label": row.get("name"), **row} if isinstance(row, dict) else row for row in rows]


def collected(problems: list[Problem]) -> list[InitErrorDetails]:
    """Problems as pydantic has them; without what was written, which may be a secret."""
    return [
        InitErrorDetails(type=PydanticCustomError("refused", "{said}", {"said": said}), loc=(key,), input={})
        for key, said in problems
    ]


def again(error: ErrorDetails) -> InitErrorDetails:
    """An error to be raised once more, with others."""
    said = error["msg"].removeprefix("Value error, ")
    known = error["type"] in ("missing", "extra_forbidden")
    kind = error["type"] if known else PydanticCustomError("refused", "{said}", {"said": said})
    return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"])


def checked(name: str, value: Any, handler: Any, find: Any, stand_ins: dict[str, Any]) -> Any:
    """`value` as a model, and all its problems together: those of single keys and those that `find` sees between.

    `stand_ins` take the place of keys that must be there and can't be read, so that the others are looked at.
    """
    try:
        made = handler(value)
    except ValidationError as error:
        bad = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
        found: list[Problem] = []
        with suppress(ValidationError):
            rest = {key: given for key, given in value.items() if key not in bad} if isinstance(value, dict) else {}
            made = handler({key: stand_ins[key] for key in bad & stand_ins.keys()} | rest)
            found = [one for one in find(made.model_dump(by_alias=True)) if one[0] not in bad]
        raise ValidationError.from_exception_data(name, [*map(again, error.errors()), *collected(found)]) from None
    if problems := collected(list(find(made.model_dump(by_alias=True)))):
        raise ValidationError.from_exception_data(name, problems)
    return made


class Column(Section):
    name: Text
    label: Text


class CordialExport(Section):
    """One export: its windows, and every parameter of its endpoint."""

    endpoint: Literal[
        "contactactivityexport",
        "contactexports",
        "messageanalyticsexport",
        "audiencetrendsexport",
        "accountmonitorexport",
    ] = "contactactivityexport"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$", max_length=60)] | None = None
    start: Annotated[datetime, BeforeValidator(midnight), AfterValidator(in_utc)] | None = None
    window: Annotated[Interval, Field(ge=timedelta(minutes=1))] = timedelta(days=1)
    delay: Duration = timedelta(hours=1)
    overlap: Duration | None = None
    format: Literal["json", "csv", "txt"] | None = None
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    compress: bool | None = None
    records_per_file: int | None = Field(default=None, ge=1)
    show_header: bool | None = None
    confirm_email: Text | None = None
    columns: Annotated[list[Column], BeforeValidator(labelled)] | None = None
    channel: Text | None = None

    action: Text | None = None
    actions: Texts | None = None
    message_type: Literal["batch", "automation"] | None = None
    message_id: Text | None = None
    contact: Text | None = None
    audience: Text | None = None
    send_type: Literal["sms", "mms"] | None = None
    show_all_properties: bool | None = None
    additional_fields: Texts | None = None
    contact_fields: Texts | None = None

    fields_: Texts | None = Field(default=None, alias="fields")
    account_id: int | None = None
    lists: Annotated[list[Text | int], BeforeValidator(listed)] | None = None
    audience_key: Text | None = None

    type: Literal["all", "both", "batch", "automation", "orchestration"] | None = None
    view_mode: Literal["by_message", "by_message_type", "as_total"] | None = None
    message_name: Text | None = None
    message_tags: Texts | None = None
    message_tags_operator: Literal["any", "all"] | None = None
    orchestration_name: Text | None = None
    orchestration_id: Text | None = None
    audience_names: Texts | None = None
    audience_ids: Texts | None = None
    rollup_automations: bool | None = None
    totals_row: bool | None = None
    audiences: Texts | None = None
    category: Text | None = None
    level: Literal["Debug", "Info", "Warning", "Error"] | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _possible(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made: Self = checked(cls.__name__, value, handler, refusals, {})
        return made

    def export(self, source: str, name: str) -> Export:
        """The same as the source takes it."""
        chosen = filled(self.model_dump(by_alias=True))
        return Export(
            name=name,
            endpoint=self.endpoint,
            start=self.start,
            window=self.window,
            delay=self.delay,
            overlap=chosen["overlap"],
            format=chosen["format"] or "",
            prefix=self.name or f"syncd-{source}-{name}".replace("_", "--"),
            wanted=wanted(self.endpoint, chosen),
        )


def filled(chosen: dict[str, Any]) -> dict[str, Any]:
    """With the defaults that depend on the endpoint."""
    endpoint = chosen["endpoint"]
    defaults = {
        "overlap": timedelta(hours=24 if endpoint == ACTIVITIES else 0),
        "format": None if endpoint in UNTOLD else FORMATS[endpoint][0],
        "compress": True if endpoint != "audiencetrendsexport" else None,
    }
    return chosen | {key: default for key, default in defaults.items() if chosen.get(key) is None}


def refusals(chosen: dict[str, Any]) -> Iterator[Problem]:
    return problems(chosen["endpoint"], filled(chosen))


class CordialDeliver(Section):
    """What Cordial is told of the zone, where that is not what the zone's own keys say."""

    type: Literal["sftp", "ftp", "s3", "gcs", "azureblob"] | None = None
    server: Text | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    username: Text | None = None
    password: SecretStr | None = Field(default=None, min_length=1)
    saved_key: Text | None = None
    path: str | None = None
    bucket: Text | None = None
    region: Text | None = None
    access_key_id: SecretStr | None = Field(default=None, min_length=1)
    secret_access_key: SecretStr | None = Field(default=None, min_length=1)
    iam_role: bool | None = None
    account: Text | None = None
    container: Text | None = None


class CordialSettings(Section):
    """One Cordial account."""

    kind: Literal["cordial"]
    api_key: SecretStr = Field(min_length=1)
    base_url: Annotated[str, AfterValidator(safe_url)] = "https://api.cordial.io/v2"
    zone: str
    zone_password: SecretStr | None = Field(default=None, min_length=1)
    zone_key_file: Text | None = None
    zone_known_hosts: Text = "~/.ssh/known_hosts"
    zone_ca_file: Text | None = None
    zone_access_key_id: SecretStr | None = Field(default=None, min_length=1)
    zone_secret_access_key: SecretStr | None = Field(default=None, min_length=1)
    zone_region: Text | None = None
    zone_endpoint_url: Annotated[str, AfterValidator(safe_url)] | None = None
    zone_service_account_file: Text | None = None
    zone_account: Text | None = None
    zone_account_key: SecretStr | None = Field(default=None, min_length=1)
    clear_zone: bool = False
    deliver: CordialDeliver = Field(default_factory=CordialDeliver)
    job_poll: Interval = timedelta(seconds=15)
    in_flight: int = Field(default=1, ge=1)
    poll_interval: Interval = timedelta(minutes=15)
    max_concurrent_requests: int = Field(default=3, ge=1)
    stalled_after: Interval = timedelta(minutes=1)
    exports: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], CordialExport] = Field(min_length=1)

    @model_validator(mode="wrap")
    @classmethod
    def _possible(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made: Self = checked(cls.__name__, value, handler, zone_problems, STAND_INS)
        return made

    @property
    def pass_interval(self) -> timedelta:
        """How often a pass is due."""
        return self.poll_interval

    def landing_zone(self) -> Zone:
        """The zone as the source takes it."""
        keys = {key.removeprefix("zone_"): getattr(self, key) for key in ZONE_KEYS if getattr(self, key) is not None}
        told = self.deliver.model_dump(exclude_none=True)
        return Zone(url=self.zone.removesuffix("://"), **keys, deliver=told)


def zone_problems(chosen: dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with the place or with what Cordial would be told of it. Never shows the URL: it may hold a
    password."""
    url = chosen["zone"]
    kind = BY_HAND if url in (BY_HAND, f"{BY_HAND}://") else urlsplit(url).scheme
    deliver = {key: value for key, value in chosen["deliver"].items() if value is not None}
    if kind not in KINDS:
        yield "zone", f"write a URL that begins with {', '.join(f'{one}://' for one in KINDS[:-1])}, or {BY_HAND!r}"
        return
    yield from _about_url(kind, url)
    for key, kinds in ZONE_KEYS.items():
        is_default = key == "zone_known_hosts" and chosen.get(key) == "~/.ssh/known_hosts"
        if chosen.get(key) is not None and kind not in kinds and not is_default:
            yield key, f"a zone of kind {kind} takes no such key: drop it"
    names = [one["name"] for one in chosen["exports"].values() if one["name"]]
    if len(names) > len(set(names)):
        yield "exports", "two exports have one name, but their files lie under it: give one another"
    yield from _about_entry(kind, chosen, deliver)
    yield from _about_delivery(kind, url, deliver)


def _about_url(kind: str, url: str) -> Iterator[Problem]:
    parts = urlsplit(url)
    if kind == BY_HAND:
        return
    try:
        port = parts.port
    except ValueError:
        port = None
        yield "zone", "its port is no number"
    if parts.password:
        yield "zone", "keep the password out of the URL: put it into zone_password"
    if kind in SERVERS and (not parts.hostname or not parts.username):
        yield "zone", f"write user and server: {kind}://exports@sftp.example.com/in"
    if kind in ("s3", "gs", "az") and (not parts.netloc or port or parts.username):
        yield "zone", f"write {kind}://BUCKET/PATH"
    if kind == "file" and (parts.netloc or not parts.path):
        yield "zone", "write file:///PATH"
    if parts.query or parts.fragment:
        yield "zone", "nothing may stand behind the path (write ? as %3F, # as %23)"


def _about_entry(kind: str, chosen: dict[str, Any], deliver: dict[str, Any]) -> Iterator[Problem]:
    if kind == "sftp" and not chosen.get("zone_password") and not chosen.get("zone_key_file"):
        yield "zone_password", "write it, or zone_key_file: how syncd enters the zone"
    if kind == "sftp" and not chosen.get("zone_password") and not deliver.keys() & {"password", "saved_key"}:
        yield "deliver", "Cordial needs a password or the name of a saved_key to enter the zone"
    if kind in ("ftp", "ftps") and not chosen.get("zone_password"):
        yield "zone_password", "write it: how syncd and Cordial enter the zone"
    if bool(chosen.get("zone_access_key_id")) != bool(chosen.get("zone_secret_access_key")):
        yield "zone_access_key_id", "zone_access_key_id and zone_secret_access_key belong together"
    if kind == "s3" and not chosen.get("zone_region") and not deliver.get("region"):
        yield "zone_region", "write it: Cordial must be told the bucket's region"
    if kind == "az" and not chosen.get("zone_account"):
        yield "zone_account", "write the name of the storage account"


def _about_delivery(kind: str, url: str, deliver: dict[str, Any]) -> Iterator[Problem]:
    type = destination_type(Zone(url=url if kind != BY_HAND else BY_HAND, deliver=deliver))
    if not type:
        yield "deliver", 'syncd reads a folder here; write where Cordial delivers: type = "sftp", server, path …'
        return
    if kind == BY_HAND and deliver:
        yield "deliver", "Cordial keeps these files itself: drop it"
        return
    takes = TAKEN_BY.get(type, set())
    for key in deliver.keys() & DELIVER.keys() - takes:
        yield "deliver", f"a destination of type {type} takes no {key}: drop it"
    if deliver.get("iam_role") is not None and type != "s3":
        yield "deliver", "iam_role is for S3: drop it"
    if deliver.get("saved_key") and deliver.get("password"):
        yield "deliver", "password and saved_key exclude each other: keep one of them"
    if deliver.get("iam_role") and deliver.keys() & {"access_key_id", "secret_access_key"}:
        yield "deliver", "iam_role and access keys exclude each other: keep one of them"
    if kind == "file":
        needed: dict[str, tuple[str, ...]] = {
            "sftp": ("server", "username", "path"),
            "ftp": ("server", "username", "password", "path"),
        }
        needed |= {"s3": ("bucket", "region"), "gcs": ("bucket",), "azureblob": ("account", "container")}
        for key in needed.get(type, ()):
            if key not in deliver:
                yield "deliver", f"a destination of type {type} needs {key}"
