"""The section of a Convert account."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, create_model, model_validator

from syncd.settings.fields import Interval, Section, duration, safe_url

SCOPES = (  # what can be mirrored, as the source names it
    *("accounts", "account_details", "access_roles", "projects", "experiences", "variations", "goals"),
    *("audiences", "locations", "domains", "hypotheses", "knowledge_bases", "observations", "tags"),
    *("features", "locations_presets", "audiences_presets", "images", "sections", "billing_plans", "users_accesses"),
    *("aggregated_report", "daily_report", "report_settings", "report_export", "project_export"),
    *("change_history", "live_data", "raw_data"),
)
LANDING = 4  # parts on their way: one request is in flight whatever this says, but who waits holds up no other


def every(value: object) -> object:
    """An interval, or "off"."""
    if value in (None, "off"):
        return value
    found = duration(value)
    if found <= timedelta(0):
        raise ValueError('must be longer than nothing; or write "off"')
    return found


def project_ids(value: object) -> object:
    """`"all"`, a list of ids, or (from the environment) ids with commas between."""
    if value == "all":
        return None
    if isinstance(value, str):
        value = value.strip("[] ").split(",")
    if not isinstance(value, list | tuple | set | frozenset) or not value:
        raise ValueError('write "all", or the ids of projects: [2001, 2002]')
    try:
        return frozenset(int(str(one)) for one in value)
    except ValueError:
        raise ValueError('write "all", or the ids of projects: [2001, 2002]') from None


Every = Annotated[timedelta | Literal["off"] | None, BeforeValidator(every)]
Scopes: Any = create_model("Scopes", __base__=Section, **dict.fromkeys(SCOPES, (Every, None)))  # type: ignore[call-overload]  # made of the names above


class ConvertSettings(Section):
    """One Convert account."""

    kind: Literal["convert"]
    auth: Literal["signing", "bearer"] = "signing"
    application_id: str = ""
    secret: SecretStr = SecretStr("")
    key_id: str = ""
    key_secret: SecretStr = SecretStr("")
    account_id: int = Field(ge=1)
    projects: Annotated[frozenset[int] | None, BeforeValidator(project_ids)] = None
    base_url: Annotated[str, AfterValidator(safe_url)] = "https://api.convert.com/api/v2"
    poll_interval: Interval = timedelta(hours=6)
    spacing: Annotated[timedelta, BeforeValidator(duration)] = timedelta(seconds=1)
    scopes: Scopes = Field(default_factory=Scopes)

    @model_validator(mode="after")
    def _has_a_key(self) -> ConvertSettings:
        id, secret = ("key_id", "key_secret") if self.auth == "bearer" else ("application_id", "secret")
        missing = [name for name in (id, secret) if not self._plain(name)]
        if missing:
            raise ValueError(f'{" and ".join(missing)} missing, which auth = "{self.auth}" needs')
        return self

    def _plain(self, name: str) -> str:
        value = getattr(self, name)
        return value.get_secret_value() if isinstance(value, SecretStr) else value

    @property
    def key(self) -> tuple[str, SecretStr]:
        """Its id and its secret, of whichever kind."""
        return (self.key_id, self.key_secret) if self.auth == "bearer" else (self.application_id, self.secret)

    @property
    def intervals(self) -> dict[str, timedelta | None]:
        """Of the scopes that were named; None for those that are off."""
        named = {name: getattr(self.scopes, name) for name in SCOPES}
        return {name: None if value == "off" else value for name, value in named.items() if value is not None}

    @property
    def pass_interval(self) -> timedelta:
        """How often a pass is due: as often as its most frequent scope."""
        return min([self.poll_interval, *filter(None, self.intervals.values())])

    @property
    def max_concurrent_requests(self) -> int:
        return LANDING

    @property
    def stalled_after(self) -> timedelta:
        """Never: its reports are made of calls, each with a patience of its own."""
        return timedelta.max
