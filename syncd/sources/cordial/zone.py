"""The landing zone: where Cordial delivers and we pick up, and what Cordial is told of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

BY_HAND = "aws"
STORES = {"s3": "s3", "gs": "gcs", "az": "azureblob"}  # buckets: they have no folders
SERVERS = {"sftp": "sftp", "ftp": "ftp", "ftps": "ftp"}
KINDS = (*SERVERS, *STORES, "file", BY_HAND)
PORTS = {"sftp": 22, "ftp": 21, "ftps": 21}
# what a destination may be told, in our words and in Cordial's
DELIVER = {
    "server": "server",
    "port": "port",
    "username": "username",
    "password": "password",
    "saved_key": "savedKey",
    "path": "path",
    "bucket": "aws_bucket",
    "region": "aws_region",
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "account": "account",
    "container": "container",
}
TAKEN_BY = {
    "sftp": {"server", "port", "username", "password", "saved_key", "path"},
    "ftp": {"server", "port", "username", "password", "path"},
    "s3": {"bucket", "region", "access_key_id", "secret_access_key", "path"},
    "gcs": {"bucket", "path"},
    "azureblob": {"account", "container", "path"},
    "aws": set[str](),
}


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A place, the means to enter it, and what Cordial is told of it. Pickles."""

    url: str
    password: SecretStr | None = None
    key_file: str = ""
    known_hosts: str = "~/.ssh/known_hosts"
    ca_file: str = ""
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    region: str = ""
    endpoint_url: str = ""
    service_account_file: str = ""
    account: str = ""
    account_key: SecretStr | None = None
    deliver: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> str:
        return self.url if self.url == BY_HAND else urlsplit(self.url).scheme

    @property
    def is_by_hand(self) -> bool:
        """The files are had in Cordial's UI only."""
        return self.kind == BY_HAND

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or PORTS.get(self.kind, 0)

    @property
    def user(self) -> str:
        return unquote(urlsplit(self.url).username or "")

    @property
    def bucket(self) -> str:
        return urlsplit(self.url).netloc if self.kind in STORES else ""

    @property
    def folder(self) -> str:
        """The folder under which the jobs' own are, as the place itself names it."""
        path = unquote(urlsplit(self.url).path).strip("/")
        return f"{self.bucket}/{path}".rstrip("/") if self.bucket else f"/{path}"

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """All that no message may show."""
        given = (self.password, self.access_key_id, self.secret_access_key, self.account_key)
        return tuple(
            one if isinstance(one, SecretStr) else SecretStr(str(one))
            for one in (*given, *(self.deliver.get(key) for key in ("password", "access_key_id", "secret_access_key")))
            if one
        )

    def destination(self, name: str, *, flat: bool = False, told: bool = True) -> dict[str, Any]:
        """The place as Cordial is told of it. `flat`: the files lie beside each other, told apart by their names;
        not `told`: without secrets."""
        type = destination_type(self)
        taken = TAKEN_BY[type]
        place: dict[str, Any] = {key: value for key, value in self._own().items() if key in taken}
        place |= {key: value for key, value in self.deliver.items() if key in taken}
        if self.deliver.get("saved_key"):
            place.pop("password", None)
        if self.deliver.get("iam_role"):
            place = {key: value for key, value in place.items() if "access_key" not in key}
        if "path" in taken:
            root = str(place["path"])
            place["path"] = root if flat else f"{root.rstrip('/')}/{name}" if root else name
        words = DELIVER | ({"bucket": "gcs_bucket"} if type == "gcs" else {})
        if not told:
            place = {key: value for key, value in place.items() if not isinstance(value, SecretStr)}
        plain = {words[key]: _plain(value) for key, value in place.items() if value not in (None, "")}
        return {"type": type, **plain}

    def _own(self) -> dict[str, Any]:
        """What the zone's own URL and keys say, in our words."""
        path = unquote(urlsplit(self.url).path)
        return {
            "server": self.host,
            "port": self.port,
            "username": self.user,
            "password": self.password,
            "path": path.strip("/") if self.kind in STORES else f"/{path.strip('/')}",
            "bucket": self.bucket,
            "container": self.bucket,
            "account": self.account,
            "region": self.region,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }

    def folder_of(self, name: str) -> str:
        """A job's own folder, as the place itself names it."""
        return f"{self.folder.rstrip('/')}/{name}"


def destination_type(zone: Zone) -> str:
    """The type of destination that Cordial is told; "" when the configuration doesn't say."""
    return str(zone.deliver.get("type") or (SERVERS | STORES | {BY_HAND: BY_HAND}).get(zone.kind, ""))


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
