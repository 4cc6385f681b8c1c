"""The vendor's lists: what to ask for, and which fields hold ids or instants. One table of ours each.

Fields that are counted anew each time (`stats`, running times, alerts) are not asked for: each reading would be another
version of everything. The reports have those figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from syncd.sources.convert.answers import Json, id_of, ids, instant
from syncd.sources.convert.paths import A, E, P
from syncd.sources.convert.redaction import redacted

STATUSES = ["draft", "active", "paused", "completed", "scheduled", "archived", "deleted"]
OUTCOMES = ["applied", "archived", "completed", "draft", "proven", "disproven"]
BY_ID = {"sort_by": "id", "sort_direction": "asc"}
BY_NAME = {"sort_by": "name", "sort_direction": "asc"}
ANY_SCORE = 1_000_000  # the vendor names 5 as the most; scores of other models are larger (inferred)
LIVING = {"status": ["active", "archived"]}


@dataclass(frozen=True)
class Dimension:
    """A list of the vendor."""

    name: str
    template: str
    body: Mapping[str, Any] | None = None  # None: a plain GET without pages
    by_key: bool = False  # pages by key, as images do
    may_lack: bool = False  # the path is by pattern only, or some projects have none: 404 means nothing there
    key: tuple[str, ...] = ("account_id", "project_id", "id")
    on: bool = True
    only_type: str = ""  # projects of this type only, where the type is known

    @property
    def level(self) -> str:
        """What it is a list of: of everybody's, an account, a project or an experience."""
        return next((name for name in ("experience", "project", "account") if f"{{{name}}}" in self.template), "")

    @property
    def wider(self) -> Mapping[str, Any] | None:
        """What to ask for to learn whether our filter hides anything; None: it filters nothing."""
        if self.body is None or "status" not in self.body:
            return None
        score = {"scoreMax": ANY_SCORE} if "scoreMax" in self.body else {}
        return {**{key: value for key, value in self.body.items() if key != "status"}, **score}


ACCOUNT, PROJECT, EXPERIENCE = (("account_id", "project_id", "experience_id")[:depth] for depth in (1, 2, 3))
_ALL = (
    Dimension("accounts", "/accounts", key=("id",)),
    Dimension("account_details", f"{A}/details", key=ACCOUNT),
    Dimension("access_roles", "/access-roles", key=("name",)),
    Dimension(
        "projects",
        f"{A}/projects",
        {
            "project_type": ["web", "fullstack"],
            **BY_ID,
            "include": ["domains", "default_goals", "default_audiences", "default_locations"],
        },
        key=(*ACCOUNT, "id"),
    ),
    Dimension(
        "experiences",
        f"{P}/experiences",
        {
            "status": STATUSES,
            **BY_ID,
            "include": ["goals", "variations", "audiences", "locations"],
            "expand": ["variations"],
        },
    ),
    Dimension("variations", f"{P}/experiences", key=(*EXPERIENCE, "id")),
    Dimension("goals", f"{P}/goals", {**LIVING, **BY_ID, "include": ["triggering_rule"]}),
    Dimension("audiences", f"{P}/audiences", {**LIVING, **BY_ID, "include": ["rules"]}),
    Dimension("locations", f"{P}/locations", {**LIVING, **BY_ID, "include": ["rules", "trigger"]}),
    Dimension("domains", f"{P}/domains", {}),
    Dimension("hypotheses", f"{P}/hypotheses", {"status": OUTCOMES, "scoreMin": 0, "scoreMax": 5, **BY_ID}),
    Dimension("knowledge_bases", f"{P}/knowledge-bases", {**LIVING, **BY_NAME}),
    Dimension("observations", f"{P}/observations", {**LIVING, **BY_NAME}),
    Dimension("tags", f"{P}/tags", {}),
    Dimension("features", f"{P}/features", BY_ID, only_type="fullstack", may_lack=True),
    Dimension("locations_presets", f"{P}/locations-presets", may_lack=True),
    Dimension("audiences_presets", f"{P}/audiences-presets", may_lack=True),
    Dimension("images", f"{P}/images", {}, by_key=True, may_lack=True, on=False, key=(*PROJECT, "key")),
    Dimension("sections", f"{E}/sections", may_lack=True, on=False, key=(*EXPERIENCE, "id")),
    Dimension("billing_plans", "/billing-plans", may_lack=True, on=False, key=("id",)),
    Dimension("users_accesses", f"{A}/users-accesses", may_lack=True, on=False, key=(*ACCOUNT, "email")),
)
DIMENSIONS = {one.name: one for one in _ALL}

IDS = frozenset(
    {"goals", "audiences", "locations", "tags", "experiences", "changes", "default_goals", "default_audiences"}
    | {"default_locations"}
)
ID = frozenset({"project", "primary_goal"})
INSTANTS = frozenset({"created_at", "modified_at", "updated_at", "start_time", "end_time"})


def shaped(row: Json, **at: int) -> Json:
    """An entry as it is landed: redacted, references as ids, instants as such, with the account and project it is of.

    The vendor sends a reference as an id or as the whole object (documented); the object is an entry of its own list.
    """
    return {**{key: _shaped(key, value) for key, value in redacted(row).items()}, **at}


def _shaped(key: str, value: Any) -> Any:
    if key in IDS and isinstance(value, list | Mapping):
        return ids(value)
    if key == "variations" and isinstance(value, list | Mapping):
        return _variations(value)
    if key in ID:
        return id_of(value) if isinstance(value, Mapping) else value
    return instant(value) if key in INSTANTS else value


def _variations(value: Any) -> list[Json]:
    members = list(value.values()) if isinstance(value, Mapping) else value
    found = [
        {key: _shaped(key, inner) for key, inner in one.items()} if isinstance(one, Mapping) else {"id": id_of(one)}
        for one in members
    ]
    return sorted(found, key=lambda one: str(one.get("id")).zfill(20))
