"""The sections `[[publish]]`: where readers elsewhere find the lake."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, model_validator

from syncd.settings.fields import Section, safe_url

SCHEMES = ("s3", "gs", "az", "https", "http")


def root(value: str) -> str:
    scheme, found, rest = value.partition("://")
    if not found:
        if not PurePosixPath(value).is_absolute():
            raise ValueError("write a whole path, or a URL: s3://bucket/folder")
    elif scheme not in SCHEMES or not rest.strip("/"):
        raise ValueError(f"write a path, or a URL of {', '.join(f'{each}://' for each in SCHEMES)}")
    elif scheme in ("http", "https"):
        safe_url(value)
    return value.rstrip("/")


class PublishSettings(Section):
    """One more catalogue of the same lake."""

    root: Annotated[str, AfterValidator(root)]  # what data_dir is called there: a URL, or the path of another mount
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_-]*$")  # published/<name>.duckdb; default: from the root
    options: dict[str, SecretStr] = Field(default_factory=dict)  # for the store: what its fsspec file system takes

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.get("name"):
            return given | {"name": re.sub(r"[^A-Za-z0-9]+", "-", str(given.get("root", ""))).strip("-") or "root"}
        return given

    @property
    def scheme(self) -> str:
        """ "" for a path."""
        return self.root.partition("://")[0] if "://" in self.root else ""


def unlike(sections: list[PublishSettings]) -> list[PublishSettings]:
    """Each its own root and its own file, else one would take the place of another."""
    for key in ("root", "name"):
        values = [getattr(each, key) for each in sections]
        if again := {value for value in values if values.count(value) > 1}:
            raise ValueError(f"two have the {key} {min(again)}: give each a {key} of its own")
    return sections
