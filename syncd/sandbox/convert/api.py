"""The API's answers, in every form that the vendor leaves open."""

from __future__ import annotations

import re
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import orjson

from syncd.sandbox.contentsquare.traffic import Traffic
from syncd.sandbox.convert import reports
from syncd.sandbox.convert.account import ACCOUNT, FULLSTACK, MONDAY, WEB, Account, Json
from syncd.sandbox.convert.guard import APPLICATION, Guard
from syncd.sandbox.convert.trouble import Offer, Trouble
from syncd.sandbox.server import CUT, Answer, Call, Cut, Download, Fault

ROLES = [{"name": name, "permissions": {"read": True}} for name in ("owner", "browse")]
READS = re.compile(
    r"/access-roles|/accounts|/billing-plans|/accounts/1001/(?:details|users-accesses|change-history|livedata|projects)"
    r"|/accounts/1001/projects/\d+/(?:experiences|goals|hypotheses|knowledge-bases|observations|locations|audiences"
    r"|domains|images|tags|features|locations-presets|audiences-presets|export|change-history|livedata)"
    r"|/accounts/1001/projects/\d+/experiences/\d+/(?:sections|report_settings|aggregated_report|daily_report"
    r"|export_report|export_raw_data|change-history|livedata)"
)
BY_PATTERN = ("sections", "audiences-presets", "images")
PREFIX = "/api/v2"


class Api:
    """The vendor behind the server. Any thread; one call at a time is answered."""

    def __init__(self, offer: Offer, trouble: Trouble) -> None:
        self.url = ""  # known once it listens
        self.trouble, self.guard = trouble, Guard(offer)
        self.account = Account(offer, trouble)
        self.traffic = Traffic()
        self.writes: list[str] = []  # calls that no mirror may make
        self.asked: list[Json] = []  # every export_raw_data that was taken
        self.mails: list[Json] = []
        self._links: dict[str, tuple[float, Path]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="syncd-sandbox-")
        self._counts: Counter[str] = Counter()
        self._live: dict[str, int] = {}
        self._moved: set[str] = set()
        self._lock, self._counting = RLock(), Lock()
        self._now = self._most = 0  # calls in flight, API and files together

    # ---- the server's side

    def begin(self, call: Call) -> None:
        self.traffic.begin(_kind(call))
        if _kind(call) != "sandbox":
            with self._counting:
                self._now += 1
                self._most = max(self._most, self._now)

    def end(self, call: Call, status: int) -> None:
        self.traffic.end(_kind(call), call, status)
        if _kind(call) != "sandbox":
            with self._counting:
                self._now -= 1

    def answer(self, call: Call) -> Answer | Download | Cut:
        with self._lock:
            if _kind(call) == "file":
                return self._file(call)
            if _kind(call) == "sandbox":
                return self._lever(call)
            time.sleep(self.trouble.latency)
            answered = self._api(call)
        if isinstance(answered, Answer) and self.trouble.skew:
            return replace(
                answered, headers={**answered.headers, "Date": formatdate(self.guard.now(self.trouble), usegmt=True)}
            )
        return answered

    def _api(self, call: Call) -> Answer | Cut:
        if why := self.guard.complaint(call, f"{self.url}{call.path}", self.trouble):
            return self.error(401, f"Unauthorized: {why}")
        path = call.path.removeprefix(PREFIX)
        if not READS.fullmatch(path):
            self.writes.append(f"{call.method} {path}")
            return self.error(405, "this sandbox has no such read")
        self._counts["api"] += 1
        mood = self._mood(path)
        return mood if mood is not None else self._read(call, path)

    def _mood(self, path: str) -> Answer | Cut | None:
        trouble = self.trouble
        if not trouble.refuse_every or not path.endswith(trouble.refuse_path):
            return None
        self._counts["mood"] += 1
        if self._counts["mood"] % trouble.refuse_every or (
            trouble.refuse_times and self._counts["refused"] >= trouble.refuse_times
        ):
            return None
        self._counts["refused"] += 1
        match trouble.refuse_with:
            case "cut":
                return CUT
            case "page":
                return Answer(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"})
            case "late":
                time.sleep(3)
                return CUT
            case "422-list":
                return self.error(422, ["goal is wrong", "metric is wrong"])
            case "500-busy":
                return self.error(500, "Too many requests, slow down")
        after = {"Retry-After": f"{trouble.retry_after:.0f}"} if trouble.retry_after >= 0 else {}
        return self.error(int(trouble.refuse_with), "it is not to be", **after)

    def error(self, status: int, message: Any, **headers: str) -> Answer:
        """The vendor's error body, in one of its forms."""
        more: Json = {"isError": True} if self.trouble.errors == "isError" else {self.trouble.errors: "body"}
        return said(status, {"code": status, "message": message, **more}, **headers)

    # ---- reads

    def _read(self, call: Call, path: str) -> Answer:
        steps = path.strip("/").split("/")
        project = int(steps[3]) if len(steps) > 3 else 0
        if project and project not in (WEB, FULLSTACK):
            return self.error(404, "no such project")
        if project and project == self.trouble.no_project:
            return self.error(403, "this key has no right to the project")
        if self.trouble.lack and steps[-1] in BY_PATTERN:
            return self.error(404, "not found")
        body = orjson.loads(call.body) if call.body else {}
        match call.method, steps:
            case "GET", ["access-roles"]:
                return self.said({"data": ROLES})
            case "GET", ["accounts"]:
                return self.said({"data": [{"id": ACCOUNT, "accountType": "main", "name": "Sandbox Ltd"}]})
            case "GET", ["billing-plans"]:
                return self.said({"data": [{"id": 1, "name": "pro"}]})
            case "GET", ["accounts", _, "details"]:
                details = self.account.details()
                return self.said({"data": details} if self.trouble.single == "data" else details)
            case "GET", ["accounts", _, "users-accesses"]:
                person = {
                    "user_id": self.account.planted[1],
                    "email": self.account.planted[2],
                    "first_name": self.account.planted[3],
                }
                return self.said({"data": [{**person, "accesses": [{"role": "browse"}]}]})
            case "GET", [*_, "locations-presets" | "audiences-presets"]:
                return self.said({"data": [{"id": 1, "name": "All visitors", "rules": {"OR": []}}]})
            case "POST", [*_, "change-history"]:
                return self._history(project, int(steps[5]) if len(steps) > 5 else 0, body)
            case "POST", [*_, "livedata"]:
                return self._livedata(path, project, int(steps[5]) if len(steps) > 5 else 0)
            case "POST", [*_, "export"]:
                return self._export(project)
            case "POST", [*_, "images"]:
                return self._images(project, body)
            case "POST", ["accounts", _, "projects"]:
                return self._page(path, "projects", 0, body)
            case "POST", ["accounts", _, "projects", _, kind]:
                return self._page(path, kind, project, body)
            case method, ["accounts", _, "projects", _, "experiences", number, what]:
                experience = self.account.experience(project, int(number))
                if experience is None:
                    return self.error(404, "no such experience")
                return self._of_experience(method, experience, what, body)
        return self.error(405, "another method")

    def said(self, told: Any) -> Answer:
        """A success."""
        return said(self.trouble.ok, told)

    def _page(self, path: str, kind: str, project: int, body: Json) -> Answer:
        if self.trouble.scores == "refuses" and body.get("scoreMax", 0) > 5:
            return self.error(422, "scoreMax is at most 5")
        if path not in self._moved and self.trouble.shift and body.get("page", 1) > 1 and kind != "projects":
            self._moved.add(path)
            self._move(kind, project)
        found = self.account.visible(kind, project, body)
        by = "name" if body.get("sort_by") == "name" else "id"
        found = sorted(found, key=lambda row: row[by], reverse=body.get("sort_direction", "desc") == "desc")
        size = min(body.get("results_per_page") or 30, self.trouble.page_cap, 50)
        number = body.get("page", 1)
        page = [self._shown(kind, row, body) for row in found[(number - 1) * size : number * size]]
        page = [] if body.get("onlyCount") else page
        if self.trouble.no_extra:
            return self.said({"data": page})
        paging = {
            "current_page": number, "items_count": len(found), "items_per_page": size,
            "pages_count": -(-len(found) // size),
        }  # fmt: skip
        return self.said({"data": page, "extra": {"pagination": paging}})

    def _move(self, kind: str, project: int) -> None:
        entries = self.account.lists[project, kind]
        for _ in range(abs(self.trouble.shift)):
            if self.trouble.shift < 0:
                entries.pop(0)
            else:
                self.account.add(kind, project)
                entries[-1]["id"] -= 10_000  # before all others

    def _shown(self, kind: str, row: Json, body: Json) -> Json:
        """An entry with the optional fields that were asked for, its references as the knob says."""
        trouble, include = self.trouble, body.get("include") or []
        optional = {
            "experiences": ("goals", "variations", "audiences", "locations"), "goals": ("triggering_rule", "stats"),
            "locations": ("rules", "trigger"), "audiences": ("rules",), "projects": ("domains", "default_goals"),
        }.get(kind, ())  # fmt: skip
        shown = {key: value for key, value in row.items() if key not in optional or key in include}
        for key in ("goals", "audiences", "locations", "tags"):
            if trouble.references == "objects" and isinstance(shown.get(key), list):
                shown[key] = [{"id": one, "name": f"{key} {one}", "status": "active"} for one in shown[key]]
        if trouble.references == "objects" and "project" in shown:
            shown["project"] = {"id": shown["project"], "name": "Shop"}
        if "variations" in shown and "variations" not in (body.get("expand") or []):
            shown["variations"] = [one["id"] for one in shown["variations"]]
        if trouble.zero_times == "null":
            shown |= {key: shown[key] or None for key in ("start_time", "end_time") if key in shown}
        if trouble.numbers_as_text:
            shown |= {key: str(shown[key]) for key in ("id", "project", "start_time") if key in shown}
        self._counts["shown"] += 1
        if trouble.keys_reversed and self._counts["shown"] % 2:
            shown = dict(reversed(shown.items()))
        return shown

    def _images(self, project: int, body: Json) -> Answer:
        found = self.account.lists[project, "images"]
        keys = [row["key"] for row in found]
        at = keys.index(body["start_from"]) + (self.trouble.images == "exclusive") if body.get("start_from") else 0
        return self.said({"data": found[at : at + min(body.get("max_results", 50), self.trouble.page_cap)]})

    def _of_experience(self, method: str, experience: Json, what: str, body: Json) -> Answer:
        trouble = self.trouble
        self._counts[f"report {experience['id']} {what}"] += 1
        call = self._counts[f"report {experience['id']} {what}"]
        match method, what:
            case "GET", "report_settings":
                settings = {
                    "campaigns": [{"name": "(none)", "visitors_count": 7}],
                    "custom_segments": [{"id": "s1", "name": "Staff"}],
                }
                return self.said({"data": settings})
            case "GET", "sections":
                return self.said({"data": [{"id": "a", "name": "Section", "versions": ["1", "2"]}]})
            case "POST", "aggregated_report":
                goals = body.get("goals") or experience["goals"]
                return self.said({"data": reports.aggregated(trouble, experience, goals, call)})
            case "POST", "daily_report":
                if body.get("metric") not in reports.DAILY or body.get("goal") not in experience["goals"]:
                    return self.error(422, ["goal or metric is unknown"])
                return self.said({"data": reports.daily(trouble, experience, body, self.account.offer.days, call)})
            case "POST", "export_report":
                if len(body.get("goals") or []) > 10 and body["report_type"].startswith("csv_daily"):
                    return self.error(422, "at most 10 goals")
                return self._linked(trouble.link, reports.report_file(trouble, experience, body))
            case "POST", "export_raw_data":
                return self._raw(experience, body)
        return self.error(405, "another method")

    def _raw(self, experience: Json, body: Json) -> Answer:
        self.asked.append({"experience": experience["id"], **body})
        answer, file = self.trouble.raw, reports.raw_file(self.trouble, self.account, experience, body)
        if answer == "late":
            time.sleep(3)
        if answer in ("job", "late"):
            job = f"job-{len(self.asked)}"
            self.mails.append({"job": job, "experience": experience["id"], "url": self._link(file)})
            return self.said({"data": {"jobId": job}})
        return self.said({"data": {"state": "queued?"}}) if answer == "odd" else self._linked(answer, file)

    def _linked(self, form: str, file: bytes) -> Answer:
        match form:
            case "download_url":
                ends = int(time.time() + self.trouble.link_life)
                return self.said({"data": {"download_url": self._link(file), "expire_at": ends}})
            case "string":
                return self.said({"data": self._link(file)})
        return self.said({"data": {}})

    def _link(self, file: bytes) -> str:
        name = secrets.token_hex(8)
        path = Path(self._folder.name) / name
        self._counts["files"] += 1
        path.write_bytes(file[: len(file) // 2] if self._counts["files"] <= self.trouble.link_damaged else file)
        self._links[name] = time.monotonic() + self.trouble.link_life, path
        return f"{self.url}/files/{name}?signature={secrets.token_hex(8)}"

    def _file(self, call: Call) -> Answer | Download:
        if "authorization" in call.headers or "convert-application-id" in call.headers:
            return Answer(400, b"only one auth mechanism allowed")
        ends, path = self._links.get(call.path.rpartition("/")[2], (0.0, Path()))
        if time.monotonic() >= ends:
            return Answer(403, b"Request has expired")
        self._counts["downloads"] += 1
        fault = Fault(close_at=0.5) if self._counts["downloads"] <= self.trouble.link_cut else Fault()
        return Download(path, {"Content-Type": "text/csv"}, fault=fault)

    def _export(self, project: int) -> Answer:
        row = next(row for row in self.account.projects if row["id"] == project)
        lists = {kind: self.account.lists[project, kind] for kind in ("experiences", "audiences", "locations", "goals")}
        return replace(said(201, {"project": row, **lists}), headers={"Content-Type": "download/json"})

    # ---- logs

    def _history(self, project: int, experience: int, body: Json) -> Answer:
        records = [
            record for of in ([project] if project else [WEB, FULLSTACK]) for record in self.account.history[of]
            if not experience or record["object_id"] == str(experience)
        ]  # fmt: skip
        if self.trouble.history_shift and body.get("page", 1) > 1 and "history" not in self._moved:
            self._moved.add("history")
            for _ in range(self.trouble.history_shift):
                self.add_record(WEB)
        records.sort(key=lambda record: -record["timestamp"])
        number, size = body.get("page", 1), min(body.get("results_per_page") or 30, self.trouble.page_cap)
        page = records[(number - 1) * size : number * size]
        paging = {"current_page": number, "items_count": len(records), "pages_count": -(-len(records) // size)}
        return self.said({"data": page} if self.trouble.no_extra else {"data": page, "extra": {"pagination": paging}})

    def add_record(self, project: int) -> None:
        """One more line of the history."""
        self.account.history[project].append(self.account.record(project, len(self.account.history[project])))

    def _livedata(self, path: str, project: int, experience: int) -> Answer:
        end = self._live[path] = self._live.get(path, 100 - self.trouble.live_step) + self.trouble.live_step
        per_second = 3 if self.trouble.live_equal else 1
        events = [
            {
                "event_type": "view_experience", "timestamp": MONDAY + number // per_second, "browser": "chrome",
                "country": "DE", "visitor_type": "new", "devices": ["desktop"], "project": project or WEB,
                "experiences": [{"id": experience or 200101, "variation": 1}],
            }
            for number in range(end - 100, end)
        ]  # fmt: skip
        return self.said({"data": events[::-1]})

    # ---- levers

    def _lever(self, call: Call) -> Answer:
        match call.method, call.path.split("/")[2:]:
            case "GET", ["log"]:
                return said(200, self.told())
            case "GET", ["mails"]:
                return said(200, self.mails)
            case "GET", ["settings"]:
                return said(200, self.settings())
            case "POST", ["trouble"]:
                try:
                    self.set_trouble(orjson.loads(call.body))
                except (TypeError, ValueError) as error:
                    return said(400, {"message": str(error)})
                return said(200, vars(self.trouble))
            case "POST", ["expire"]:
                self.expire_links()
                return said(200, {})
        return said(404, {"message": "levers: GET log, mails, settings; POST trouble, expire"})

    def told(self) -> Json:
        """What was asked."""
        told = self.traffic.told()
        told["max_in_flight"]["any"] = self._most
        return told | {"writes": self.writes, "refused": self.guard.refused, "asked": self.asked}

    def settings(self) -> Json:
        """The configuration section that reads this vendor."""
        id, secret = ("key_id", "key_secret") if self.guard.kind == "bearer" else ("application_id", "secret")
        key = {"auth": "bearer"} if self.guard.kind == "bearer" else {}
        return {
            "kind": "convert", **key, id: APPLICATION, secret: self.guard.secret, "account_id": ACCOUNT,
            "base_url": f"{self.url}{PREFIX}", "spacing": "0s",
        }  # fmt: skip

    def set_trouble(self, changed: Mapping[str, Any]) -> None:
        """Turn some knobs; `{"reset": true}` first puts all back. TypeError, ValueError: no such knob or choice."""
        with self._lock:
            knobs = dict(changed)
            now = Trouble() if knobs.pop("reset", False) else self.trouble
            self.trouble = self.account.trouble = replace(now, **knobs)
            self._counts.clear()

    def expire_links(self) -> None:
        """No link given out so far works any more."""
        with self._lock:
            self._links.clear()

    def close(self) -> None:
        """Remove what was made."""
        self._folder.cleanup()


def said(status: int, told: Any, **headers: str) -> Answer:
    return Answer(status, orjson.dumps(told), {"Content-Type": "application/json; charset=utf-8"} | headers)


def _kind(call: Call) -> str:
    if call.path.startswith("/_sandbox/"):
        return "sandbox"
    return "file" if call.path.startswith("/files/") else "api"
