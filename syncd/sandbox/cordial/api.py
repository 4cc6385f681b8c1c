"""The API's answers: who may ask, what of, in which troubled mood."""

from __future__ import annotations

import base64
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson

from syncd.sandbox.contentsquare.traffic import Traffic
from syncd.sandbox.cordial import rows
from syncd.sandbox.cordial.jobs import KINDS, Job, Jobs, moment, now
from syncd.sandbox.cordial.trouble import Offer, Trouble
from syncd.sandbox.server import CUT, Answer, Call, Cut

NEEDED = {
    "sftp": ("server", "port", "username", "path"),
    "ftp": ("server", "port", "username", "password", "path"),
    "s3": ("aws_bucket", "aws_region", "path"),
    "gcs": ("gcs_bucket", "path"),
    "azureblob": ("account", "container", "path"),
    "aws": (),
}


class Refused(Exception):
    """An answer that is no 200."""

    def __init__(self, status: int, message: str, key: str = "GENERIC_ERROR_KEY") -> None:
        super().__init__(message)
        self.status, self.key = status, key


class Api:
    """The vendor behind the server. Any thread."""

    def __init__(self, offer: Offer, trouble: Trouble) -> None:
        self.key = sha256(f"cordial {offer.seed}".encode()).hexdigest()[:32]
        self.jobs = Jobs(offer, trouble)
        self.traffic = Traffic()
        self.bodies: list[dict[str, Any]] = []  # of every export asked for
        self._counts: Counter[str] = Counter()

    @property
    def trouble(self) -> Trouble:
        return self.jobs.trouble

    def begin(self, call: Call) -> None:
        self.traffic.begin(kind(call))

    def end(self, call: Call, status: int) -> None:
        self.traffic.end(kind(call), call, status)

    def answer(self, call: Call) -> Answer | Cut:
        try:
            if kind(call) == "sandbox":
                return self._pull_lever(call)
            self._admit(call)
            match call.method, call.path.strip("/").split("/"):
                case "POST", [_, endpoint] if endpoint in KINDS:
                    return self._export(endpoint, call)
                case "GET", [_, "jobs"]:
                    return said(200, self._listed(call.query))
                case "GET", [_, "jobs", id]:
                    return said(200, self._job(id))
            raise Refused(404, "record not found", "RECORD_NOT_FOUND")
        except Refused as refused:
            return self._refusal(refused)

    def _refusal(self, refused: Refused) -> Answer:
        headers = {"X-Rate-Limit-Limit": "100", "X-Rate-Limit-Remaining": "0"} if refused.status == 429 else {}
        if self.trouble.retry_after >= 0:
            headers["Retry-After"] = f"{self.trouble.retry_after:g}"
        if self.trouble.rate_reset >= 0:
            headers["X-Rate-Limit-Reset"] = f"{self.trouble.rate_reset:g}"
        if refused.status == 401:
            return said(401, {"error": str(refused)}, headers)
        return said(refused.status, {"error": True, "errorKey": refused.key, "message": str(refused)}, headers)

    def _admit(self, call: Call) -> None:
        expected = base64.b64encode(f"{self.key}:".encode()).decode()
        if call.headers.get("authorization") != f"Basic {expected}":
            raise Refused(int(self.trouble.wrong_key), "Access Denied: Authentication Failure")
        if call.method == "POST" and call.headers.get("content-type") != "application/json":
            raise Refused(415, "Unsupported Media Type", "UNSUPPORTED_MEDIA_TYPE")
        verb = "post" if call.method == "POST" else "get"
        self._counts[verb] += 1
        if self._counts[verb] <= getattr(self.trouble, f"{verb}_fails"):
            raise Refused(getattr(self.trouble, f"{verb}_status"), "The service is out of sorts.")

    def _export(self, endpoint: str, call: Call) -> Answer | Cut:
        try:
            asked = orjson.loads(call.body)
        except orjson.JSONDecodeError as error:
            raise Refused(400, f"The body is no JSON: {error}") from error
        for status, message in wrong(endpoint, asked):
            raise Refused(status, message)
        self.bodies.append(asked)
        job = self.jobs.add(endpoint, asked)
        self._counts["cut"] += 1
        return CUT if self._counts["cut"] <= self.trouble.post_cuts else said(200, {"jobId": job.id})

    def _job(self, id: str) -> dict[str, Any]:
        job = self.jobs.named(id)
        if job is None or (self.trouble.forgotten and job.ended_at):
            raise Refused(404, "record not found", "RECORD_NOT_FOUND")
        return job.told(self.trouble)

    def _listed(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        trouble = self.trouble
        since = query.get("times[start][gte]")
        if since and trouble.no_iso_filter:
            raise Refused(422, "Time value is incorrect")
        found = [job for job in self.jobs.all if query.get("jobName") in (None, KINDS[job.endpoint])]
        found = [job for job in found if query.get("status") in (None, job.status)]
        found = [job for job in found if not since or job.began_at >= moment(since).replace(microsecond=0)]
        found += [stranger(number) for number in range(trouble.strangers)]
        found.sort(key=lambda job: job.number, reverse=trouble.list_order == "new")
        if trouble.list_order == "random":
            random.shuffle(found)
        size = min(int(query.get("per_page") or 25), trouble.page_cap)
        page = int(query.get("page") or trouble.page_base) - trouble.page_base
        return [job.told(trouble) for job in found[max(page, 0) * size : (max(page, 0) + 1) * size]]

    def _pull_lever(self, call: Call) -> Answer:
        match call.method, call.path.split("/")[2:]:
            case "GET", ["truth"]:
                return said(200, {"vendor": "cordial", "jobs": [job.truth() for job in self.jobs.all]})
            case "GET", ["log"]:
                return said(200, self.traffic.told())
            case "GET", ["files", id, number] if (job := self.jobs.named(id)) and int(number) < len(job.contents):
                return Answer(200, job.contents[int(number)], {"Content-Type": "application/octet-stream"})
            case "POST", ["trouble"]:
                try:
                    self.set_trouble(orjson.loads(call.body))
                except (TypeError, ValueError) as error:
                    raise Refused(400, str(error)) from error
                return said(200, vars(self.trouble))
        raise Refused(404, "levers: GET truth, log, files/JOB/NUMBER; POST trouble")

    def set_trouble(self, changed: Mapping[str, Any]) -> None:
        """Turn some knobs; jobs under way keep theirs. TypeError, ValueError: no such knob or choice."""
        self.jobs.trouble = replace(self.trouble, **changed)
        self._counts.clear()


def wrong(endpoint: str, asked: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """What the vendor finds wrong with a request, as it says it."""
    destination = asked.get("destination")
    if not isinstance(destination, dict) or not destination.get("type"):
        yield 400, "The destination.transport field is required."
        return
    needed = NEEDED.get(str(destination["type"]).lower())
    if needed is None:
        yield 400, "The selected destination.transport is invalid."
    for key in needed or ():
        if destination.get(key) in (None, ""):
            yield 400, f"The destination.{key} field is required."
    if destination["type"] == "sftp" and not (destination.get("password") or destination.get("savedKey")):
        yield 400, "The destination.password is not set."
    if not set(str(asked.get("name") or "")) <= set(ALLOWED):
        yield 400, "The name may only contain letters, numbers, and dashes."
    if asked.get("columnHeaders") == []:
        yield 400, "The columns field is required."
    if endpoint in ("contactactivityexport", "contactexports", "audiencetrendsexport") and not asked.get("exportType"):
        yield 406, "exportType is required"
    yield from clashes(asked)
    if endpoint != "contactexports":
        yield from out_of_time(asked)


ALLOWED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def clashes(asked: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    if asked.get("selected_action_name") and asked.get("selected_action_names"):
        yield 406, "selected_action_name and selected_action_names can't be used together"
    if asked.get("selected_message_id") and not asked.get("selected_message_type"):
        yield 406, "selected_message_type is required"
    if asked.get("selected_audience_key") and asked.get("selected_contact"):
        yield 406, "selected_audience_key and selected_contact can't be used together"
    if asked.get("selected_audience_key") == "unknown":
        yield 406, "The audience unknown does not exist"


def out_of_time(asked: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    try:
        start, end = moment(asked["selected_timeframe_start"]), moment(asked["selected_timeframe_end"])
    except (KeyError, ValueError):
        yield 422, "Time value is incorrect"
        return
    if end < start:
        yield 406, "selected_timeframe_end is before selected_timeframe_start"


def stranger(number: int) -> Job:
    """An export that somebody else asked for."""
    asked = {"name": f"nightly-{number}", "destination": {"type": "aws"}}
    return Job(rows.hexed(f"stranger {number}")[:24], -number, "contactactivityexport", asked, now(), "Done")


def said(status: int, told: Any, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, orjson.dumps(told), {"Content-Type": "application/json", **(headers or {})})


def kind(call: Call) -> str:
    return "sandbox" if call.path.startswith("/_sandbox/") else "api"
