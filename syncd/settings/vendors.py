"""The sections `[sources.NAME]`, one model a kind of source."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from syncd.settings.convert import ConvertSettings
from syncd.settings.cordial import CordialSettings
from syncd.settings.fields import Interval, Section, job_ids, safe_url


class ContentsquareSettings(Section):
    """One project of a Contentsquare account."""

    kind: Literal["contentsquare"]
    client_id: str = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=1)
    project_id: int | None = None
    jobs: Annotated[frozenset[str] | None, BeforeValidator(job_ids)] = None
    since: date | None = None
    token_url: Annotated[str, AfterValidator(safe_url)] = "https://api.contentsquare.com/v1/oauth/token"  # noqa: S105  # an address
    poll_interval: Interval = timedelta(minutes=15)
    max_concurrent_requests: int = Field(default=3, ge=1, le=10)
    stalled_after: Interval = timedelta(minutes=1)

    @property
    def pass_interval(self) -> timedelta:
        """How often a pass is due."""
        return self.poll_interval


SourceSettings = Annotated[ContentsquareSettings | ConvertSettings | CordialSettings, Field(discriminator="kind")]
KINDS: dict[str, type[Section]] = {
    "contentsquare": ContentsquareSettings,
    "convert": ConvertSettings,
    "cordial": CordialSettings,
}
