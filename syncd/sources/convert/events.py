"""The two logs, read: of the account, of its projects, of its experiences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from syncd.errors import BadRun
from syncd.sources.convert import logs
from syncd.sources.convert.answers import Json
from syncd.sources.convert.ground import Asked, Ground
from syncd.sources.convert.listing import Experience
from syncd.sources.convert.lists import nothing
from syncd.sources.convert.paths import A, E, P
from syncd.sources.convert.reading import Progress, Step


class Events:
    """How each log is read."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def _places(self, experiences: Iterable[Experience]) -> Iterator[tuple[str, str, dict[str, int]]]:
        """(level, path, ids) of everything that has a log."""
        yield "account", A, {}
        for project in self._ground.listing.project_ids():
            yield "project", P, {"project": project}
        for each in experiences:
            yield "experience", E, {"project": each.project, "experience": each.id}

    def history(self, asked: Asked, progress: Progress) -> Iterator[Step]:
        """The change history since the last reading."""
        missed, heard = self._ground.remembered.missed, self._ground.remembered.heard
        last = int(asked.before.timestamp()) - logs.OVERLAP_S if asked.before else 0

        def refused(place: str, error: BadRun) -> bytes:
            begun = last if place in heard else 0  # refused since we began: nobody knows since when, so all is read
            missed[place] = missed.get(place, (begun, ""))[0], ""
            return b""

        def read(level: str, path: str, ids: Mapping[str, int]) -> list[Json]:
            since, _ = missed.get(place(ids), (last, ""))
            body = {"sort_by": "timestamp", "sort_direction": "desc", "results_per_page": logs.PAGE} | self._only(level)
            seen = set(progress.seen)
            with self._ground.api.going_on(f"{asked.run} {place(ids)}") as ask:

                def page(number: int) -> object:
                    return ask(f"{path}/change-history", {**body, "page": number}, **self._ground.at(ids))

                records = filter(self._is_ours, logs.history(page, since, seen))
                found = [{**record, **self._place(level, ids, record)} for record in records]
            progress.seen |= seen
            heard.add(place(ids))
            if place(ids) in missed:
                missed[place(ids)] = since, asked.run
            return found

        for level, path, ids in self._places(self._ground.listing.chosen(asked.before, asked.at)):
            yield Step(place(ids), partial(read, level, path, ids), in_its_place=partial(refused, place(ids)))

    def live(self, asked: Asked) -> Iterator[Step]:
        """The last events, as far as they were not seen."""
        polled_before = int(asked.before.timestamp()) if asked.before else 0

        def read(level: str, path: str, ids: Mapping[str, int]) -> list[Json]:
            window = self._ground.remembered.windows.setdefault(place(ids), logs.Window())
            answer = self._ground.api.post(f"{path}/livedata", self._only(level), **self._ground.at(ids))
            found = filter(self._is_ours, logs.live(answer, window, asked.run, polled_before))
            return [{**event, **self._place(level, ids), "place": place(ids)} for event in found]

        experiences = self._ground.listing.experiences(asked.at)
        busy = (each for each in experiences if each.has_report and each.is_busy(asked.at))
        for level, path, ids in self._places(busy):
            yield Step(place(ids), partial(read, level, path, ids), in_its_place=nothing)

    def _only(self, level: str) -> Json:
        """What keeps an account's log to the projects that were configured."""
        wanted = self._ground.listing.wanted if level == "account" else None
        return {} if wanted is None else {"projects": sorted(wanted)}

    def _is_ours(self, record: Json) -> bool:
        wanted, project = self._ground.listing.wanted, record.get("project")
        return wanted is None or project is None or project in wanted

    def _place(self, level: str, ids: Mapping[str, int], record: Json | None = None) -> Json:
        project = ids.get("project", (record or {}).get("project"))
        of = {"account_id": self._ground.account, "project_id": project, "experience_id": ids.get("experience")}
        return {"level": level, **of}


def place(ids: Mapping[str, int]) -> str:
    """A window's or a log's name: the ids of its level."""
    return "/".join(map(str, ids.values())) or "account"
