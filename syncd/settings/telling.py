"""The sections `[tell]`, whom to tell what, and `[otel]`, where traces and metrics go."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from syncd.settings.fields import Interval, Section, safe_url


def words(value: object) -> object:
    """A command as its words; text is split as a shell would."""
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def safe_secret_url(value: SecretStr) -> SecretStr:
    """A URL that is as good as a password."""
    safe_url(value.get_secret_value())
    return value


SecretUrl = Annotated[SecretStr, AfterValidator(safe_secret_url)]


class TellSettings(Section):
    """Whom to tell what; each of it is off until it is set."""

    loaded_url: SecretUrl | None = None
    loaded_authorization: SecretStr | None = Field(default=None, min_length=1)
    loaded_command: Annotated[tuple[str, ...], BeforeValidator(words)] = ()
    loaded_command_timeout: Interval = timedelta(hours=1)
    trouble_url: SecretUrl | None = None
    expiring_within: Interval = timedelta(hours=24)
    heartbeat_url: SecretUrl | None = None


class OtelSettings(Section):
    """Where traces and metrics go as OTLP over HTTP; off until `endpoint` is set."""

    endpoint: Annotated[str, AfterValidator(safe_url)] | None = None
    authorization: SecretStr | None = Field(default=None, min_length=1)
    metrics_every: Interval = timedelta(minutes=1)
