"""What each scope is made of: its parts, and for each part the requests and the rows that they bring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import structlog

from syncd.sources.convert import exports, logs, raw, reports
from syncd.sources.convert.answers import Json, dumps, id_of, one, rows
from syncd.sources.convert.api import Api, Refused
from syncd.sources.convert.dimensions import DIMENSIONS, Dimension, shaped
from syncd.sources.convert.listing import Experience, Listing, project_id
from syncd.sources.convert.paths import A, E, P
from syncd.sources.convert.reading import Progress, Step
from syncd.sources.convert.redaction import redacted

log = structlog.get_logger()

BUCKETED = frozenset({"aggregated_report", "daily_report", "report_settings", "report_export"})
OTHERS = {**dict.fromkeys(sorted(BUCKETED), True), "project_export": True, "change_history": True, "live_data": True}
SCOPES = {
    **{name: one.on for name, one in DIMENSIONS.items()},
    **OTHERS,
    raw.SCOPE: False,
}  # and which are on by default
INSTANT = "%Y%m%dT%H%M%SZ"
SHARES, FEW = 8, 25  # experiences are read in so many parts, when they are more than a few
GONE = 404
NOTHING_THERE = (400, GONE, 405, 422)  # what a list may answer that a project lacks


@dataclass(frozen=True)
class Asked:
    """What is to be read: a scope, for a run, at an instant, and when it was last read."""

    scope: str
    run: str
    at: datetime
    before: datetime | None


@dataclass
class Remembered:
    """What this process knows of earlier readings. Losing it costs a reading more, or a gap told that is none."""

    windows: dict[str, logs.Window] = field(default_factory=dict)
    exported: dict[int, bytes] = field(default_factory=dict)  # the version of each project that was exported


class Steps:
    """How every scope of one account is read."""

    def __init__(
        self, api: Api, account: int, listing: Listing, remembered: Remembered, clock: Callable[[], datetime]
    ) -> None:
        self._api, self._account, self._listing, self._remembered = api, account, listing, remembered
        self._clock = clock

    def is_wanted(self, asked: Asked) -> bool:
        """Whether there is anything to read."""
        if asked.scope == "project_export":
            return any(self._has_changed(project) for project in self._listing.open_projects())
        return bool(self.parts(asked))

    def parts(self, asked: Asked) -> list[str]:
        """Names of the parts: the same whenever they are listed, as long as the account has the same."""
        dimension = DIMENSIONS.get(asked.scope)
        if asked.scope in BUCKETED:
            chosen = self._chosen(asked)
            return sorted({self._share(each) for each in chosen}) if len(chosen) > FEW else ["all"][: len(chosen)]
        if asked.scope == "project_export" or (dimension and dimension.level in ("project", "experience")):
            kind = dimension.only_type if dimension else ""
            projects = self._listing.open_projects()
            return [str(project_id(row)) for row in projects if not kind or row.get("project_type", kind) == kind]
        return ["all"]

    def calls(self, asked: Asked) -> int:
        """Requests that it takes, at least."""
        return sum(step.calls for part in self.parts(asked) for step in self.of(asked, part, Progress()))

    def of(self, asked: Asked, part: str, progress: Progress) -> list[Step]:
        """The requests of one part, in order."""
        if dimension := DIMENSIONS.get(asked.scope):
            return list(self._dimension(dimension, part))
        if asked.scope == "project_export":
            return [Step("export", partial(self._project_export, int(part)))]
        if asked.scope in BUCKETED:
            chosen = [each for each in self._chosen(asked) if part in ("all", self._share(each))]
            return [step for each in chosen for step in self._of_experience(asked.scope, each)]
        if asked.scope == "change_history":
            return list(self._history(asked, progress))
        return list(self._live(asked))

    def _chosen(self, asked: Asked) -> list[Experience]:
        return [each for each in self._listing.chosen(asked.before, asked.at) if each.has_report]

    @staticmethod
    def _share(each: Experience) -> str:
        return f"share-{each.id % SHARES + 1}"

    # ---- lists

    def _dimension(self, dimension: Dimension, part: str) -> Iterator[Step]:
        listed = {
            "projects": self._listing.projects,
            "experiences": lambda: self._listing.rows(int(part)),
            "variations": lambda: variations(self._listing.rows(int(part))),
        }
        if dimension.level == "experience":
            for each in self._listing.experiences(self._clock()):
                if str(each.project) == part and each.type == "mvt":
                    ids = {"project": each.project, "experience": each.id}
                    yield Step(
                        str(each.id), partial(self._entries, dimension, ids, partial(self._list, dimension, ids))
                    )
            return
        ids = {"project": int(part)} if dimension.level == "project" else {}
        read = listed.get(dimension.name, partial(self._list, dimension, ids))
        pages = self._api.pages(dimension.template, self._at(ids)) + (dimension.wider is not None)
        calls = 0 if dimension.name in listed else pages
        yield Step("list", partial(self._entries, dimension, ids, read), calls=calls)

    def _list(self, dimension: Dimension, ids: Mapping[str, int]) -> list[Json]:
        of = self._at(ids) if dimension.level else {}
        try:
            if dimension.by_key:
                return self._api.images(dimension.template, **of)
            if dimension.body is not None:
                return self._api.listed(dimension.template, dimension.body, dimension.wider, **of)
            answer = self._api.get(dimension.template, **of)
            return [one(answer)] if dimension.name == "account_details" else rows(answer)
        except Refused as error:
            if dimension.may_lack and error.status in NOTHING_THERE:
                return []
            if error.status != GONE:
                raise
            log.warning("list_missing", scope=dimension.name, error=str(error))  # a project that has just gone, say
            return []

    def _entries(
        self, dimension: Dimension, ids: Mapping[str, int], read: Callable[[], Iterable[Json]]
    ) -> Iterator[Json]:
        at = {f"{name}_id": value for name, value in self._at(ids).items()} if dimension.level else {}
        yield from sorted(
            (shaped(row, **at) for row in read()), key=lambda row: (str(row.get("id")).zfill(20), dumps(row))
        )

    # ---- reports

    def _of_experience(self, scope: str, each: Experience) -> Iterator[Step]:
        of = self._at({"project": each.project, "experience": each.id})
        step = partial(Step, may_be_refused=True)
        if scope == "aggregated_report":
            yield step(f"{each.id}", lambda: self._aggregated(of))
        elif scope == "report_settings":
            yield step(f"{each.id}", lambda: self._report_settings(of))
        elif scope == "daily_report":
            for goal in each.goals:
                for kind in reports.KINDS:
                    for metric in reports.METRICS:
                        yield step(f"{each.id}/{goal}/{kind}/{metric}", partial(self._daily, of, goal, metric, kind))
        else:
            for form, kind in exports.FORMS:
                for number, goals in enumerate(exports.chunks(each.goals, form)):
                    name = f"{each.id}/{form}/{kind}/{number}"
                    yield step(name, partial(self._export, of, form, kind, number, goals), calls=2)

    def _aggregated(self, of: Mapping[str, int]) -> Iterator[Json]:
        answer = self._api.post(f"{E}/aggregated_report", {"utc_offset": reports.UTC_OFFSET}, **of)
        return map(redacted, reports.aggregated(answer, self._row(of)))

    def _daily(self, of: Mapping[str, int], goal: int, metric: str, kind: str) -> Iterator[Json]:
        body = {"goal": goal, "report_type": kind, "metric": metric, "utc_offset": reports.UTC_OFFSET}
        answer = self._api.post(f"{E}/daily_report", body, **of)
        return map(redacted, reports.daily(answer, self._row(of), goal, metric, kind))

    def _report_settings(self, of: Mapping[str, int]) -> Iterator[Json]:
        return map(redacted, reports.settings(self._api.get(f"{E}/report_settings", **of), self._row(of)))

    def _export(self, of: Mapping[str, int], form: str, kind: str, number: int, goals: list[int]) -> Iterator[Json]:
        body = {"report_type": form, "data_type": kind, "utc_offset": reports.UTC_OFFSET}
        answer = self._api.post(f"{E}/export_report", body | ({"goals": goals} if goals else {}), **of)
        row = self._row(of) | {"report_type": form, "data_type": kind, "chunk": number, "goals": goals}
        return exports.report_rows(self._api, answer, row)

    # ---- the project as a file

    def _project_export(self, project: int) -> Iterator[Json]:
        listed = next((row for row in self._listing.projects() if project_id(row) == project), {})
        answer = self._api.post(f"{P}/export", {"includeProject": True}, **self._at({"project": project}))
        yield from exports.project_rows(answer, {"account_id": self._account, "project_id": project})
        self._remembered.exported[project] = version(listed)

    def _has_changed(self, listed: Json) -> bool:
        known = version(listed)
        return known == NO_VERSION or self._remembered.exported.get(project_id(listed)) != known

    # ---- logs

    def _places(self, experiences: Iterable[Experience]) -> Iterator[tuple[str, str, dict[str, int]]]:
        """(level, path, ids) of everything that has a log."""
        yield "account", A, {}
        for project in self._listing.project_ids():
            yield "project", P, {"project": project}
        for each in experiences:
            yield "experience", E, {"project": each.project, "experience": each.id}

    def _history(self, asked: Asked, progress: Progress) -> Iterator[Step]:
        since = int(asked.before.timestamp()) - logs.OVERLAP_S if asked.before else 0

        def read(level: str, path: str, ids: Mapping[str, int]) -> list[Json]:
            body = {"sort_by": "timestamp", "sort_direction": "desc", "results_per_page": logs.PAGE} | self._only(level)
            seen = set(progress.seen)
            with self._api.going_on(f"{asked.run} {place(ids)}") as ask:

                def page(number: int) -> object:
                    return ask(f"{path}/change-history", {**body, "page": number}, **self._at(ids))

                records = filter(self._is_ours, logs.history(page, since, seen))
                found = [{**record, **self._place(level, ids, record)} for record in records]
            progress.seen |= seen
            return found

        for level, path, ids in self._places(self._listing.chosen(asked.before, asked.at)):
            yield Step(place(ids), partial(read, level, path, ids), may_be_refused=True)

    def _live(self, asked: Asked) -> Iterator[Step]:
        polled_before = int(asked.before.timestamp()) if asked.before else 0

        def read(level: str, path: str, ids: Mapping[str, int]) -> list[Json]:
            window = self._remembered.windows.setdefault(place(ids), logs.Window())
            answer = self._api.post(f"{path}/livedata", self._only(level), **self._at(ids))
            found = filter(self._is_ours, logs.live(answer, window, asked.run, polled_before))
            return [{**event, **self._place(level, ids), "place": place(ids)} for event in found]

        busy = [each for each in self._listing.experiences(asked.at) if each.has_report and each.is_busy(asked.at)]
        for level, path, ids in self._places(busy):
            yield Step(place(ids), partial(read, level, path, ids), may_be_refused=True)

    def _only(self, level: str) -> Json:
        """What keeps an account's log to the projects that were configured."""
        wanted = self._listing.wanted if level == "account" else None
        return {} if wanted is None else {"projects": sorted(wanted)}

    def _is_ours(self, record: Json) -> bool:
        wanted, project = self._listing.wanted, record.get("project")
        return wanted is None or project is None or project in wanted

    # ---- where a row is from

    def _place(self, level: str, ids: Mapping[str, int], record: Json | None = None) -> Json:
        project = ids.get("project", (record or {}).get("project"))
        return {
            "level": level, "account_id": self._account, "project_id": project, "experience_id": ids.get("experience")
        }  # fmt: skip

    def _at(self, ids: Mapping[str, int]) -> dict[str, int]:
        return {"account": self._account, **ids}

    def _row(self, of: Mapping[str, int]) -> Json:
        return {**{f"{name}_id": value for name, value in of.items()}, "fetched_at": zulu(self._clock())}


def variations(experiences: Iterable[Json]) -> Iterator[Json]:
    """The variations of these experiences, each an entry of its own."""
    for row in experiences:
        for variation in shaped(row).get("variations") or []:
            yield {**variation, "experience_id": id_of(row)}


def place(ids: Mapping[str, int]) -> str:
    """A window's or a log's name: the ids of its level."""
    return "/".join(map(str, ids.values())) or "account"


def version(listed: Json) -> bytes:
    """What a project says of its last change."""
    settings = listed.get("settings")
    told = settings.get("version") if isinstance(settings, Mapping) else None
    return dumps([listed.get("modified_at"), told])


NO_VERSION = version({})


def zulu(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def instant_of(text: str) -> datetime | None:
    """The instant that a run's name ends in; None when it is none."""
    try:
        return datetime.strptime(text, INSTANT).replace(tzinfo=UTC)
    except ValueError:
        return None
