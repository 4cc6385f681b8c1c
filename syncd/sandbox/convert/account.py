"""What the account holds, made from the seed: projects, their lists, and secrets that no mirror may keep. No HTTP."""

from __future__ import annotations

from random import Random
from typing import Any

from syncd.sandbox.convert.trouble import Offer, Trouble

Json = dict[str, Any]
ACCOUNT, WEB, FULLSTACK = 1001, 2001, 2002
MONDAY = 1_767_571_200  # 2026-01-05T00:00:00Z
DAY = 86_400
STATUSES = ("active", "completed", "draft", "paused", "archived", "scheduled", "deleted")
TYPES = ("a/b", "mvt", "a/a", "split_url", "multipage", "deploy", "a/b_fullstack", "feature_rollout")
LISTS = (
    *("experiences", "goals", "audiences", "locations", "domains", "hypotheses", "knowledge-bases", "observations"),
    *("tags", "features", "images"),
)


class Account:
    """Lists by project; `planted` has every text that must not get out."""

    def __init__(self, offer: Offer, trouble: Trouble) -> None:
        self.offer, self.trouble = offer, trouble
        self._random = Random(f"convert {offer.seed}")  # noqa: S311  # not for secrets
        self.planted: list[str] = []
        self.projects = [self._project(WEB, "web"), self._project(FULLSTACK, "fullstack")]
        self.lists: dict[tuple[int, str], list[Json]] = {}
        for project in (WEB, FULLSTACK):
            for kind in LISTS:
                self.lists[project, kind] = self._list(project, kind)
        self.history = {project: self._history(project) for project in (WEB, FULLSTACK)}

    def plant(self, what: str) -> str:
        """A secret of that kind, remembered."""
        secret = f"planted-{what}-{self._random.getrandbits(48):012x}"
        if what == "mail":
            secret = f"{secret}@example.com"
        self.planted.append(secret)
        return secret

    def experience(self, project: int, number: int) -> Json | None:
        return next((row for row in self.lists[project, "experiences"] if row["id"] == number), None)

    def visible(self, kind: str, project: int, body: Json) -> list[Json]:
        """The entries that a request with this body gets, in no order; filters as documented, defaults too."""
        if kind == "projects":
            types = body.get("project_type") or ["web"]
            found = [row for row in self.projects if row["project_type"] in types]
            return [row for row in found if not (self.trouble.hide_project and row["id"] == self.trouble.no_project)]
        found = self.lists[project, kind]
        if kind == "hypotheses":
            least, most = body.get("scoreMin", 0), body.get("scoreMax", 5)
            found = [row for row in found if least <= float(row["prioritization_score"]) <= most]
        if kind == "experiences" and "status" not in body:
            found = [row for row in found if row["status"] != "deleted"]
        elif isinstance(body.get("status"), list):
            found = [row for row in found if row.get("status") in body["status"]]
        return found

    def add(self, kind: str, project: int) -> Json:
        """One entry more, as somebody makes it in the vendor's app."""
        self.lists[project, kind].append(self._entry(project, kind, len(self.lists[project, kind]) + 1))
        return self.lists[project, kind][-1]

    def details(self) -> Json:
        return {
            "id": ACCOUNT, "accountType": "main", "name": "Sandbox Ltd", "accessRole": "browse",
            "settings": {"tracking": {"enabled": True}, "debug_token": self.planted[0]},
            "billing": {"plan": "pro", "email": self.planted[1], "user": {"name": self.planted[1]}},
            "limitsAndCapabilities": {"tested_users": 1_000_000},
        }  # fmt: skip

    def _project(self, number: int, kind: str) -> Json:
        return {
            "id": number, "account_id": ACCOUNT, "name": f"Shop {kind}", "project_type": kind, "accessRole": "browse",
            "status": "suspended" if self.trouble.odd and kind == "fullstack" else "active", "type": "own",
            "settings": {
                "debug_token": self.plant("debug-token"), "version": f"2026-01-05T00:00:00Z-{number}",
                "blocked_ips": [self.plant("ip")], "auto_link": True,
            },
            "owner_email": self.plant("mail"), "created_at": MONDAY - 900 * DAY, "modified_at": MONDAY,
            "reporting_settings": {"stats_engine": "frequentist"},
            "integrations_settings": {
                "crazyegg": {"api_key": self.plant("api-key"), "api_secret": self.plant("api-secret"), "enabled": True},
                "heap": {"appKey": self.plant("app-key"), "id": 7},
                "google_analytics": {"enabled": True, "type": "ga4"},
            },
            "custom_domain": None, "environments": {"production": {"label": "Production", "sdkKey": self.plant("sdk")}},
            "sdk_key": self.plant("sdk-key") if kind == "fullstack" else None,
            "sdk_secret": self.plant("sdk-secret") if kind == "fullstack" else None,
            "tracking_snippet": f"<script src='{self.plant('snippet')}'></script>",
            "global_javascript": "console.log('Ünïcode / slash')", "domains": [{"id": 1, "url": "https://shop.test"}],
            "default_goals": [number * 100 + 1], "default_audiences": [], "default_locations": [],
        }  # fmt: skip

    def _list(self, project: int, kind: str) -> list[Json]:
        count = {"experiences": self.offer.experiences, "goals": self.offer.goals}.get(kind, self.offer.entries)
        return (
            []
            if kind == "features" and project == WEB
            else [self._entry(project, kind, number) for number in range(1, count + 1)]
        )

    def _entry(self, project: int, kind: str, number: int) -> Json:
        key = project * 100 + number
        if kind == "images":
            return {"key": f"image-{project}-{number:04}.png", "cdn_url": f"https://cdn.test/{key}.png"}
        row = {"id": key, "name": f"{kind} № {number}", **getattr(self, f"_{kind.replace('-', '_')}")(project, number)}
        if kind == "domains":
            del row["name"]
        if self.trouble.odd:
            row |= {"new_field": {"depth": number}, "brand_new": number / 2}
            if number == 1 and "status" in row:
                row["status"] = "hibernating"
        return row

    def _experiences(self, project: int, number: int) -> Json:
        status = STATUSES[(number - 1) % len(STATUSES)]
        begun = MONDAY + number * 3600 if status not in ("draft", "scheduled") else 0
        ended = begun + 10 * DAY if status in ("completed", "archived", "deleted") else 0
        first = (project * 100 + number) * 10
        return {
            "project": project, "key": f"exp-{number}", "status": status, "type": TYPES[(number - 1) % len(TYPES)],
            "description": f"asked by {self.plant('mail')} in a hurry" if number == 1 else "", "objective": None,
            "version": number + 0.5 if self.trouble.odd else number, "start_time": begun, "end_time": ended,
            "traffic_distribution": 99.95 if number % 2 else 100, "primary_goal": project * 100 + 1,
            "url": "https://shop.test/", "global_js": "", "global_css": "", "site_area": None,
            "settings": {"matching_options": {}}, "environment": "production", "environments": ["production"],
            "integrations": [{"provider": "heap", "key": self.plant("integration")}] if number == 1 else [],
            "tags": [project * 100 + 1], "goals": [goal["id"] for goal in self._ids(project, "goals")],
            "audiences": [project * 100 + 1], "locations": [project * 100 + 1],
            "variations": [self._variation(first + nth, nth) for nth in range(2)],
        }  # fmt: skip

    def _ids(self, project: int, kind: str) -> list[Json]:
        count = self.offer.goals if kind == "goals" else self.offer.entries
        return [{"id": project * 100 + number} for number in range(1, count + 1)]

    def _variation(self, number: int, nth: int) -> Json:
        return {
            "id": number, "name": ("Original", "Variation 1")[nth], "description": None, "is_baseline": nth == 0,
            "traffic_distribution": 50, "key": f"var-{number}", "status": "running", "changes": [number * 10],
        }  # fmt: skip

    def _goals(self, project: int, number: int) -> Json:
        return {
            "key": f"goal-{number}", "description": "", "is_system": False, "selected_default": number == 1,
            "status": "archived" if number == 3 else "active", "type": "revenue" if number == 1 else "visits_page",
            "settings": {}, "triggering_rule": {"OR": [{"AND": []}]}, "stats": {"times_used": number},
        }  # fmt: skip

    def _audiences(self, project: int, number: int) -> Json:
        shared = {key: value for key, value in self._locations(project, number).items() if key != "trigger"}
        return shared | {"type": "permanent"}

    def _locations(self, project: int, number: int) -> Json:
        return {
            "description": "", "status": "active", "key": f"place-{number}", "preset": False, "selected_default": False,
            "rules": None if number == 2 else {"OR": []}, "trigger": {"type": "upon_run"},
        }  # fmt: skip

    def _domains(self, project: int, number: int) -> Json:
        return {"url": f"https://shop{number}.test", "code_installed": number == 1}

    def _hypotheses(self, project: int, number: int) -> Json:
        return {
            "project": project, "url": None, "objective": "more", "summary": "because", "status": "draft",
            "start_date": "2026-01-05", "end_date": None, "created_at": MONDAY, "created_by": self.plant("mail"),
            "prioritization_score": f"{number % 5}.50", "prioritization_score_type": "PIE",
            "prioritization_score_attributes": {"potential": 5}, "experiences": [project * 100 + 1], "tags": [],
        }  # fmt: skip

    def _knowledge_bases(self, project: int, number: int) -> Json:
        return {
            "project": project, "summary": "learned", "status": "active", "created_by": self.plant("name"),
            "updated_at": MONDAY, "tags": [project * 100 + 1],
        }  # fmt: skip

    def _observations(self, project: int, number: int) -> Json:
        return {
            "project": project, "description": "seen", "url": "https://shop.test", "status": "active",
            "created_by": None, "created_at": MONDAY, "images": None, "tags": [],
        }  # fmt: skip

    def _tags(self, project: int, number: int) -> Json:
        return {"description": ""}

    def _features(self, project: int, number: int) -> Json:
        return {
            "key": f"f{number}",
            "description": "",
            "status": "active",
            "variables": [{"key": "on", "type": "boolean"}],
        }

    def _history(self, project: int) -> list[Json]:
        return [self.record(project, number) for number in range(self.offer.history)]

    def record(self, project: int, number: int) -> Json:
        """A line of the change history, the later the higher its number."""
        request = None if self.trouble.null_requests else f"request-{number // 3}"
        return {
            "event": "update", "method": "app" if number % 2 else "api", "object": "experience",
            "object_id": str(project * 100 + 1 + number % max(1, self.offer.experiences)), "parent_object_id": None,
            "user": self.planted[number % len(self.planted)], "timestamp": MONDAY + number * 600, "request_id": request,
            "changes": {"old": {"name": f"name {number}", "sdk_secret": self.planted[0]}, "new": {"name": "another"}},
            "project": project,
        }  # fmt: skip
