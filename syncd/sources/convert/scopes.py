"""What each scope is made of: its parts, and for each part the requests that bring it."""

from __future__ import annotations

from functools import partial

from syncd.sources.convert import raw
from syncd.sources.convert.answers import Json
from syncd.sources.convert.api import Refused
from syncd.sources.convert.dimensions import DIMENSIONS
from syncd.sources.convert.events import Events
from syncd.sources.convert.figures import Figures
from syncd.sources.convert.ground import Asked, Ground
from syncd.sources.convert.listing import Experience, project_id
from syncd.sources.convert.lists import Lists, nothing
from syncd.sources.convert.reading import Progress, Step

BUCKETED = frozenset({"aggregated_report", "daily_report", "report_settings", "report_export"})
OTHERS = {**dict.fromkeys(sorted(BUCKETED), True), "project_export": True, "change_history": True, "live_data": True}
SCOPES = {
    **{name: one.on for name, one in DIMENSIONS.items()},
    **OTHERS,
    raw.SCOPE: False,
}  # and which are on by default
SHARES, FEW = 8, 25  # experiences are read in so many parts, when they are more than a few


class Steps:
    """How every scope of one account is read."""

    def __init__(self, ground: Ground) -> None:
        self._listing = ground.listing
        self._lists, self._figures, self._events = Lists(ground), Figures(ground), Events(ground)

    def mark(self, scope: str) -> str:
        """What names the state of what is to be read, where the vendor tells it: the same mark, the same rows."""
        return self._figures.versions() if scope == "project_export" else ""

    def parts(self, asked: Asked) -> list[str]:
        """Names of the parts: the same whenever they are listed, as long as the account has the same."""
        dimension = DIMENSIONS.get(asked.scope)
        if asked.scope in BUCKETED:
            chosen = self._chosen(asked)
            return sorted({self._share(each) for each in chosen}) if len(chosen) > FEW else ["all"][: len(chosen)]
        if asked.scope == "project_export" or (dimension and dimension.level in ("project", "experience")):
            kind = dimension.only_type if dimension else ""
            projects = self._listing.projects()  # those that may not be read say nothing, they are not gone
            return [str(project_id(row)) for row in projects if not kind or row.get("project_type", kind) == kind]
        return ["all"]

    def calls(self, asked: Asked) -> int:
        """Requests that it takes, at least."""
        return sum(step.calls for part in self.parts(asked) for step in self.of(asked, part, Progress()))

    def of(self, asked: Asked, part: str, progress: Progress) -> list[Step]:
        """The requests of one part, in order."""
        dimension = DIMENSIONS.get(asked.scope)
        of_project = asked.scope == "project_export" or (dimension and dimension.level in ("project", "experience"))
        if of_project and (refusal := self._listing.refusal(int(part))):
            return [Step("list", partial(refused, refusal), calls=0, in_its_place=nothing)]
        if dimension:
            return list(self._lists.steps(dimension, part))
        if asked.scope == "project_export":
            return [Step("export", partial(self._figures.project, int(part)), in_its_place=nothing, is_large=True)]
        if asked.scope in BUCKETED:
            chosen = [each for each in self._chosen(asked) if part in ("all", self._share(each))]
            return [step for each in chosen for step in self._figures.steps(asked.scope, each)]
        if asked.scope == "change_history":
            return list(self._events.history(asked, progress))
        return list(self._events.live(asked))

    def _chosen(self, asked: Asked) -> list[Experience]:
        return [each for each in self._listing.chosen(asked.before, asked.at) if each.has_report]

    @staticmethod
    def _share(each: Experience) -> str:
        return f"share-{each.id % SHARES + 1}"


def refused(error: Refused) -> list[Json]:
    """In the place of a read that is known to be refused."""
    raise error
