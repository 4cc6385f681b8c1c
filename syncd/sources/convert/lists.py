"""The vendor's lists, read: each entry redacted and shaped, in an order of its own that is always the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import structlog

from syncd.errors import BadRun
from syncd.sources.convert.answers import Json, dumps, id_of, one, rows
from syncd.sources.convert.api import Missing, Refused
from syncd.sources.convert.dimensions import Dimension, shaped
from syncd.sources.convert.ground import Ground
from syncd.sources.convert.reading import Step

GONE = 404
NOTHING_THERE = (400, GONE, 405, 422)  # what a list may answer that a project lacks

log = structlog.get_logger()


class Lists:
    """How each list is read."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def steps(self, dimension: Dimension, part: str) -> Iterator[Step]:
        """The requests of one part: a project, or all there is."""
        listed = {
            "projects": self._ground.listing.projects,
            "experiences": lambda: self._ground.listing.rows(int(part)),
            "variations": lambda: variations(self._ground.listing.rows(int(part))),
        }
        if dimension.level == "experience":
            for each in self._ground.listing.experiences(self._ground.clock()):
                if str(each.project) == part and each.type == "mvt":
                    ids = {"project": each.project, "experience": each.id}
                    entries = partial(self._entries, dimension, ids, partial(self._list, dimension, ids))
                    yield Step(str(each.id), entries, in_its_place=nothing)
            return
        ids = {"project": int(part)} if dimension.level == "project" else {}
        read = listed.get(dimension.name, partial(self._list, dimension, ids))
        pages = self._ground.api.pages(dimension.template, self._ground.at(ids)) + (dimension.wider is not None)
        calls = 0 if dimension.name in listed else pages
        yield Step("list", partial(self._entries, dimension, ids, read), calls=calls, in_its_place=nothing)

    def _list(self, dimension: Dimension, ids: Mapping[str, int]) -> list[Json]:
        of = self._ground.at(ids) if dimension.level else {}
        try:
            if dimension.by_key:
                return self._ground.api.images(dimension.template, **of)
            if dimension.body is not None:
                return self._ground.api.listed(dimension.template, dimension.body, dimension.wider, **of)
            answer = self._ground.api.get(dimension.template, **of)
            return [one(answer)] if dimension.name == "account_details" else rows(answer)
        except Refused as error:
            if error.status == GONE or (dimension.may_lack and error.status in NOTHING_THERE):
                if not dimension.may_lack:
                    log.warning("list_missing", scope=dimension.name, error=str(error))
                raise Missing(str(error), error.status) from error
            raise

    def _entries(
        self, dimension: Dimension, ids: Mapping[str, int], read: Callable[[], Iterable[Json]]
    ) -> Iterator[Json]:
        at = {f"{name}_id": value for name, value in self._ground.at(ids).items()} if dimension.level else {}
        yield from sorted(
            (shaped(row, **at) for row in read()), key=lambda row: (str(row.get("id")).zfill(20), dumps(row))
        )


def nothing(error: BadRun) -> bytes:
    """What is landed of a list that is refused; its whole part then says nothing."""
    return b""


def variations(experiences: Iterable[Json]) -> Iterator[Json]:
    """The variations of these experiences, each an entry of its own."""
    for row in experiences:
        for variation in shaped(row).get("variations") or []:
            yield {**variation, "experience_id": id_of(row)}
